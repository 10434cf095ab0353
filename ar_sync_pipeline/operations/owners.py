"""Who owns assets and jobs."""

import warnings

OWNERS = ["team:operators"]
# Global, because Dagster resolves jobs late. Users can do nothing about a beta feature.
warnings.filterwarnings("ignore", message=r"Parameter `owners` of (function|class|initializer)")
