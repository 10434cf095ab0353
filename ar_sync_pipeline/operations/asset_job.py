"""Who owns jobs."""

import warnings

JOB_OWNERS = ["team:operators"]
# Dagster resolves jobs late, so nowhere closer: an operator can do nothing about a beta feature.
warnings.filterwarnings("ignore", message=r"Parameter `owners` of (function|class|initializer)")
