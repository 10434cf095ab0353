"""Assets of a partial, partitioned by window: changed rows, their media files, the archive."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import (
    archive_key,
    qualified_name,
    referenced_rows_key,
    snapshot_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_history import forget_planned
from ar_sync_pipeline.operations.selected_outputs import whatever_is_selected
from ar_sync_pipeline.operations.space_check import space_check_result, space_check_spec
from ar_sync_pipeline.progress import progress_to
from ar_sync_pipeline.sender.acknowledgement_check import (
    acknowledgement_check_result,
    acknowledgement_check_spec,
)
from ar_sync_pipeline.sender.archive_assets import (
    archive_spec,
    longer_dump,
    materialize_archive,
    materialize_media,
    media_spec,
    references_check,
)
from ar_sync_pipeline.sender.build_cleaning import clean_build_folders
from ar_sync_pipeline.sender.endpoint_asset import record_failed_link
from ar_sync_pipeline.sender.missing_windows import before_the_grid, no_window_yet
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import (
    no_rows_metadata,
    referenced_metadata,
    table_metadata,
)
from ar_sync_pipeline.sftp.retry_budget import CONNECTION_ERRORS
from ar_sync_pipeline.sync.dump.announce_changes import announce_when_changed
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.dump_tables import dump_partial
from ar_sync_pipeline.sync.dump.starting_point import StartingPoint, starting_point
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest, TableDump
from ar_sync_pipeline.sync.dump.window_end import wait_for_end
from ar_sync_pipeline.sync.watch.disk_space import filled_folders

KIND = ArchiveKind.PARTIAL
GROUP = "partial_dump"


def partial_assets(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """Return the assets of job ``partial_dump``; a range of windows is one run and one archive.

    They are one step, because it runs every few minutes and its results are small.
    """
    catalog, names = site.catalog, site.names
    keys = {table: snapshot_key(catalog, KIND, table, names) for table in catalog.tracked()}
    tables = [*keys.values(), referenced_rows_key(names)]
    space = space_check_spec(archive_key(KIND, names), "the sender's scratch folder")

    @dg.multi_asset(
        name=names.name("partial_archive"),
        specs=[
            *_specs(site, keys),
            media_spec(site, KIND, tables),
            archive_spec(site, KIND, tables),
        ],
        check_specs=[
            references_check(site, KIND),
            acknowledgement_check_spec(names),
            space,
        ],
        pool=site.pool(KIND),
        partitions_def=windows,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    @whatever_is_selected
    def partial_archive(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        # If the link is down, the run of the next window sends all changes, by the watermark.
        with operator_errors(not_again=CONNECTION_ERRORS):
            build = site.build(context, KIND)
            clean_build_folders(site, context, KIND)
            with record_failed_link(context, site):
                start = starting_point(site.settings, site.clock())
            yield acknowledgement_check_result(start, site)
            yield space_check_result(
                context.instance,
                space,
                filled_folders(site.settings),
                site.settings.free_space_floor,
            )
            request = _request(site, _window(site, context, windows), start)
            _wait_for_end(context, site, request)
            dump = _dump(site, context, build, request)
            made = [
                *_tables(dump, keys, site),
                materialize_media(context, site, KIND, build),
            ]
            try:
                archive = materialize_archive(context, site, KIND, build)
            finally:
                # A retry makes another archive; without the folder this one counts as given up.
                build.remove()
                # After the upload, because recording these events takes as long as it.
                yield from made
            yield archive

    return [partial_archive]


def _tables(
    dump: TableDump, keys: dict[str, dg.AssetKey], site: SenderSite
) -> Iterator[dg.MaterializeResult]:
    catalog = site.catalog
    found = {table.name: table for table in dump.tables}
    for table, key in keys.items():
        if table in found:
            metadata = table_metadata(found[table], catalog)
        else:
            columns = dump.columns.get(table)
            metadata = no_rows_metadata(columns, table, catalog)
        count = metadata.pop("dagster/row_count")
        metadata = {"dagster/partition_row_count": count, **metadata}
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    others = [table for name, table in sorted(found.items()) if name not in keys]
    yield dg.MaterializeResult(
        asset_key=referenced_rows_key(site.names),
        metadata=referenced_metadata(others, dump, catalog),
    )


def _specs(site: SenderSite, keys: dict[str, dg.AssetKey]) -> list[dg.AssetSpec]:
    tracked = [
        dg.AssetSpec(
            key,
            description=f"`{table}`: rows that changed in the window"
            f" (`{site.catalog.rules(table).changed_at}`), or since the newest archive that the"
            " receiver is known to have.",
            kinds={"postgres"},
            group_name=site.names.name(GROUP),
            metadata={"dagster/table_name": qualified_name(site.catalog, table)},
        )
        for table, key in keys.items()
    ]
    referenced = dg.AssetSpec(
        referenced_rows_key(site.names),
        description="Rows of the other tables: all that the changed rows refer"
        " to, by the database's own foreign keys, and changes found without a time stamp.",
        kinds={"postgres"},
        group_name=site.names.name(GROUP),
    )
    return [*tracked, referenced]


def _request(site: SenderSite, window: Window, start: StartingPoint) -> PartialRequest:
    return PartialRequest(
        window=window,
        look_back=timedelta(minutes=site.settings.time),
        since=start.since,
        after=start.after,
        reported=start.reported,
    )


def _dump(
    site: SenderSite,
    context: dg.AssetExecutionContext,
    build: BuildFolder,
    request: PartialRequest,
) -> TableDump:
    with longer_dump(context, build) as longer, progress_to(longer.progress):
        dump = dump_partial(site.database, build, request)
    if dump.since is None:
        context.log.warning(
            "No point is known from which to carry every change: the window alone counts, and the"
            " next complete repairs what it misses."
        )
    if dump.untracked_tables:
        context.log.warning(
            "Changes in these large tables may wait for the next complete: %s. Grant"
            " pg_read_all_stats to the sender's role, let track_activities be on for the"
            " application's sessions, name a changed_at column, or set watermark = true in the"
            " catalog; after a migration of such a table start a complete_dump, and if the"
            " database's clock was set back while it or this machine was started.",
            ", ".join(dump.untracked_tables),
        )
    if dump.reread_tables:
        context.log.info(
            "These large tables were read for the watermark: %s. This machine or the database"
            " server was started since the point from which the archive carries every change, or"
            " the scratch folder is new, or this machine's boots have no ids, so that a clock may"
            " have been set back unnoticed.",
            ", ".join(dump.reread_tables),
        )
    return dump


def _wait_for_end(
    context: dg.AssetExecutionContext, site: SenderSite, request: PartialRequest
) -> None:
    """Wait in a run that was started early; every other window has ended."""
    end = request.window.end
    if end <= site.clock():
        return
    context.log.info(
        "Waiting until %s UTC, the end of the window; the snapshot is taken then.",
        f"{end:%H:%M:%S}",
    )
    # Nothing is examined while the run waits, so what was found before stays shown.
    forget_planned(context.instance, context.run.run_id)
    problem = announce_when_changed(site.settings, site.catalog, site.clock, request)
    if problem is not None:
        context.log.info("The archive is not announced, so its load starts later. %s", problem)
    wait_for_end(end, site.clock)


def _window(
    site: SenderSite, context: dg.AssetExecutionContext, windows: dg.TimeWindowPartitionsDefinition
) -> Window:
    """Return the run's window or range of windows; the newest closed one for a run without any."""
    if context.has_partition_key or context.has_partition_key_range:
        start, end = context.partition_time_window
        if start < windows.start:
            # Dagster would fail when it records the windows, after the archive was sent.
            raise dg.Failure(before_the_grid(windows, start), allow_retries=False)
        return Window(start=start, end=end)
    newest = windows.get_last_partition_window()
    if newest is None:
        raise dg.Failure(no_window_yet(windows, site.clock()))
    context.log.info("No window was asked for; taking the newest closed one.")
    return Window(start=newest.start, end=newest.end)
