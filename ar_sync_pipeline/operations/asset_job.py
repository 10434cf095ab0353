"""The type of a job over assets, which Dagster makes but does not export, and who owns jobs."""

import warnings

from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)

__all__ = ["JOB_OWNERS", "AssetJob"]

JOB_OWNERS = ["team:operators"]
# Dagster resolves jobs late, so nowhere closer: an operator can do nothing about a beta feature.
warnings.filterwarnings("ignore", message=r"Parameter `owners` of (function|class|initializer)")
