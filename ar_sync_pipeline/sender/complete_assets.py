"""Assets of a complete: every table under one snapshot, all media, the archive in the spool."""

from collections.abc import Iterator

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.asset_keys import (
    qualified_name,
    snapshot_key,
    unlisted_snapshot_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.sender.archive_assets import (
    archive_spec,
    materialize_archive,
    materialize_media,
    media_spec,
    references_check,
)
from ar_sync_pipeline.sender.endpoint_asset import record_failed_link
from ar_sync_pipeline.sender.site import OWNERS, SenderSite, pool
from ar_sync_pipeline.sender.snapshot_metadata import (
    no_rows_metadata,
    table_metadata,
    unlisted_metadata,
)
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline.sync.dump.omissions import omissions_of_dump
from ar_sync_pipeline.sync.dump.scratch import clean_scratch
from ar_sync_pipeline.sync.dump.watermark import starting_point
from ar_sync_pipeline.visible_text import visible

_LONGEST_SHOWN = 2000
KIND = ArchiveKind.COMPLETE
GROUP = "complete_dump"
# The next complete is a day away, and this one is built: worth the wait for a receiver's restart.
UPLOAD_RETRY_DELAY_SECONDS = 300


def complete_assets(site: SenderSite) -> list[dg.AssetsDefinition]:
    """The assets of job ``complete_dump``: three steps, each of which can be tried again alone."""
    tables = _table_snapshots(site)
    keys = list(tables.keys)

    @dg.multi_asset(
        name="complete_media_bundle",
        specs=[media_spec(KIND, keys)],
        check_specs=[references_check(KIND)],
        pool=pool(KIND),
    )
    def media_bundle(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with operator_errors():
            return materialize_media(site, KIND, site.build(context))

    @dg.multi_asset(
        name="complete_archive", specs=[archive_spec(site, KIND, keys)], pool=pool(KIND)
    )
    def archive(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with operator_errors(retry_delay_seconds=UPLOAD_RETRY_DELAY_SECONDS):
            return materialize_archive(context, site, KIND, site.build(context))

    return [tables, media_bundle, archive]


def _table_snapshots(site: SenderSite) -> dg.AssetsDefinition:
    catalog = site.catalog
    keys = {table: snapshot_key(catalog, KIND, table) for table in catalog.named_tables()}

    @dg.multi_asset(
        name="complete_tables",
        specs=[_table_spec(catalog, table, key) for table, key in keys.items()]
        or [_unlisted_spec(catalog)],
        pool=pool(KIND),
    )
    def complete_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        with operator_errors():
            for omission in omissions_of_dump(site.url, catalog):
                context.log.warning("Not replicated: %s", omission)
            clean_scratch(site.settings.tmp_bkp_fldr, site.clock())
            with record_failed_link(context):
                start = starting_point(site.settings, site.clock())
            dump = dump_complete(
                site.url,
                catalog,
                site.build(context),
                site.clock,
                since=start.acknowledged,
                after=start.after,
                claimed=start.claimed,
                max_blocking_seconds=site.settings.max_blocking_seconds,
            )
        for sentence in dump.references_out:
            context.log.warning("%s.", visible(sentence, _LONGEST_SHOWN))
        found = {table.name: table for table in dump.tables}
        for table, key in keys.items():
            if table in found:
                yield dg.MaterializeResult(
                    asset_key=key, metadata=table_metadata(found[table], catalog)
                )
            else:
                context.log.warning("The sender has no table %s.", table)
                metadata = no_rows_metadata(None, table, catalog)
                yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        unlisted = [table for name, table in sorted(found.items()) if name not in keys]
        if not keys:
            yield dg.MaterializeResult(
                asset_key=unlisted_snapshot_key(), metadata=unlisted_metadata(unlisted, catalog)
            )
        elif unlisted:
            names = ", ".join(table.name for table in unlisted)
            shown = visible(names, _LONGEST_SHOWN)
            context.log.info("Tables in the archive that the catalog does not name: %s.", shown)

    return complete_tables


def _table_spec(catalog: Catalog, table: str, key: dg.AssetKey) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        description=f"All rows of `{table}` at the sender, as of the snapshot that the"
        " newest complete archive was made from.",
        kinds={"postgres"},
        owners=OWNERS,
        group_name=GROUP,
        metadata={"dagster/table_name": qualified_name(catalog, table)},
    )


def _unlisted_spec(catalog: Catalog) -> dg.AssetSpec:
    """One asset for all tables, without which a catalog of patterns would show none."""
    patterns = ", ".join(f"`{pattern}`" for pattern in catalog.tables)
    return dg.AssetSpec(
        unlisted_snapshot_key(),
        description=f"All rows of every table at the sender that matches {patterns}, as of the"
        " snapshot that the newest complete archive was made from. The catalog names no table; one"
        " with a section in it gets an asset of its own.",
        kinds={"postgres"},
        owners=OWNERS,
        group_name=GROUP,
    )
