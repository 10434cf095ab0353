"""The type of a job over assets, which Dagster makes but does not export."""

from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)

__all__ = ["AssetJob"]
