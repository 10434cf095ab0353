"""Assets of a partial, partitioned by window: changed rows, their media, the archive."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import (
    media_bundle_key,
    referenced_rows_key,
    snapshot_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.sender.archive_assets import archive_asset, media_asset
from ar_sync_pipeline.sender.site import OWNERS, POOL, SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import dump_summary, table_metadata
from ar_sync_pipeline.sync.dump_tables import PartialRequest, TableDump, dump_partial
from ar_sync_pipeline.sync.watermark import newest_known_watermark

KIND = ArchiveKind.PARTIAL
GROUP = "partial_dump"


def partial_assets(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The assets of job ``partial_dump``; a range of windows is one run and one archive."""
    tables = _changed_rows(site, windows)
    media = media_asset(site, KIND, GROUP, list(tables.keys), windows)
    archive = archive_asset(site, KIND, GROUP, [*tables.keys, media_bundle_key(KIND)], windows)
    return [tables, media, archive]


def _changed_rows(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    catalog = site.catalog
    keys = {table: snapshot_key(catalog, KIND, table) for table in catalog.tracked()}

    @dg.multi_asset(
        name="partial_tables",
        specs=_specs(site, keys),
        pool=POOL,
        partitions_def=windows,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def partial_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with operator_errors():
            dump = _dump(site, context)
        found = {table.name: table for table in dump.tables}
        for table, key in keys.items():
            metadata: dict[str, Any] = {"dagster/partition_row_count": 0}
            if table in found:
                metadata = table_metadata(found[table], catalog.schema_name)
                metadata["dagster/partition_row_count"] = metadata.pop("dagster/row_count")
            yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        others = [table for name, table in sorted(found.items()) if name not in keys]
        yield dg.MaterializeResult(
            asset_key=referenced_rows_key(), metadata=dump_summary(others, dump)
        )

    return partial_tables


def _specs(site: SenderSite, keys: dict[str, dg.AssetKey]) -> list[dg.AssetSpec]:
    schema = site.catalog.schema_name
    tracked = [
        dg.AssetSpec(
            key,
            description=f"Rows of `{table}` that changed in the window"
            f" (`{site.catalog.rules(table).changed_at}`), or since the newest archive that the"
            " receiver is known to have.",
            kinds={"postgres"},
            owners=OWNERS,
            group_name=GROUP,
            metadata={"dagster/table_name": f"{schema}.{table}"},
        )
        for table, key in keys.items()
    ]
    referenced = dg.AssetSpec(
        referenced_rows_key(),
        description="Rows of the other tables that come along: all that the changed rows refer"
        " to, by the database's own foreign keys, and changes found without a time stamp.",
        kinds={"postgres"},
        owners=OWNERS,
        group_name=GROUP,
    )
    return [*tracked, referenced]


def _dump(site: SenderSite, context: dg.AssetExecutionContext) -> TableDump:
    start, end = context.partition_time_window
    request = PartialRequest(
        window=Window(start=start, end=end),
        look_back=timedelta(minutes=site.settings.time),
        since=newest_known_watermark(site.settings),
    )
    return dump_partial(site.url, site.catalog, site.build(context), site.clock, request)
