"""Owners of jobs."""

import warnings

JOB_OWNERS = ["team:operators"]
# Global, because Dagster resolves jobs late. Users can do nothing about a beta feature.
warnings.filterwarnings("ignore", message=r"Parameter `owners` of (function|class|initializer)")
