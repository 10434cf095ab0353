"""Assets of a complete: all tables from one snapshot, all media files, the archive in the spool."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import timedelta
from functools import partial

import dagster as dg

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import (
    qualified_name,
    snapshot_key,
    unlisted_snapshot_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.selected_outputs import Results, Step, whatever_is_selected
from ar_sync_pipeline.progress import progress_to
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
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.snapshot_metadata import (
    no_rows_metadata,
    table_metadata,
    unlisted_metadata,
)
from ar_sync_pipeline.sender.unchanged_chunks_check import (
    evaluate_unchanged_chunks,
    unchanged_chunks_check,
)
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline.sync.dump.sender_journal_file import DigestsOf
from ar_sync_pipeline.sync.dump.starting_point import StartingPoint, starting_point
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, TableDump
from ar_sync_pipeline.visible_text import visible

_LONGEST_SHOWN = 2000
KIND = ArchiveKind.COMPLETE
GROUP = "complete_dump"
PAUSES = 10
"""Half minutes between two attempts of a step: three times five minutes in all.

The next complete is a day away, so it waits for a receiver or a database that restarts.
"""


def complete_assets(site: SenderSite) -> list[dg.AssetsDefinition]:
    """Return the assets of job ``complete_dump``: three steps, each of which can be retried alone.

    A run of only some of them also makes the others, a re-execution all that follow: rows without
    their archive would never be loaded.
    """
    names = site.names
    tables = _table_specs(site)
    keys = [spec.key for spec in tables]
    steps = {
        names.name("complete_tables"): (tables, [], partial(_dump_tables, site)),
        names.name("complete_media_bundle"): (
            [media_spec(site, KIND, keys)],
            [references_check(site, KIND)],
            partial(_bundle_media, site),
        ),
        names.name("complete_archive"): (
            [archive_spec(site, KIND, keys)],
            [unchanged_chunks_check(site)],
            partial(_publish, site),
        ),
    }  # fmt: skip
    chain = [(name, {spec.key for spec in specs}, work) for name, (specs, _, work) in steps.items()]
    return [
        _step(site, name, specs, checks, partial(_work_of, chain, number))
        for number, (name, (specs, checks, _)) in enumerate(steps.items())
    ]


def _step(
    site: SenderSite,
    name: str,
    specs: Sequence[dg.AssetSpec],
    checks: Sequence[dg.AssetCheckSpec],
    work_of: Callable[[dg.AssetExecutionContext], Iterable[Step]],
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=name, specs=specs, check_specs=checks, pool=site.pool(KIND), can_subset=len(specs) > 1
    )
    @whatever_is_selected
    def step(context: dg.AssetExecutionContext) -> Results:
        for work in work_of(context):
            yield from work(context)

    return step


def _work_of(
    chain: Sequence[tuple[str, AbstractSet[dg.AssetKey], Step]],
    number: int,
    context: dg.AssetExecutionContext,
) -> Iterator[Step]:
    """Yield the work of one step, and of adjacent steps that are not in the run.

    A run from a failed or selected step finds the results of the steps before it.
    """
    asked = context.job_def.asset_layer.executable_asset_keys
    steps = context.run.step_keys_to_execute
    in_job = [place for place, (_, keys, _) in enumerate(chain) if not keys.isdisjoint(asked)]
    in_run = [place for place in in_job if steps is None or chain[place][0] in steps]
    made = [place for place in in_job if place in in_run or place < in_run[0]]
    first = max((place + 1 for place in made if place < number), default=0)
    last = number if number < in_run[-1] else len(chain) - 1
    return (work for _, _, work in chain[first : last + 1])


def _bundle_media(site: SenderSite, context: dg.AssetExecutionContext) -> Results:
    with operator_errors(pauses=PAUSES):
        yield materialize_media(context, site, KIND, site.build(context, KIND))


def _publish(site: SenderSite, context: dg.AssetExecutionContext) -> Results:
    with operator_errors(pauses=PAUSES):
        build = site.build(context, KIND)
        dump = build.read(TableDump)
        result = materialize_archive(context, site, KIND, build)
    # A dump of an earlier version computed all digests.
    at = dump.watermark.snapshot_at
    digests = dump.digests or DigestsOf(snapshot_at=at, computed_at=at)
    yield result._replace(check_results=[evaluate_unchanged_chunks(site, digests)])
    # The result is recorded now. Before, a retry of this step alone would need the members; after a
    # kill before the success of the step is recorded, it needs the rest.
    build.remove_members()


def _dump_tables(site: SenderSite, context: dg.AssetExecutionContext) -> Results:
    with operator_errors(pauses=PAUSES):
        clean_build_folders(site, context, KIND)
        with record_failed_link(context, site):
            start = starting_point(site.settings, site.clock())
        context.log.info("%s", _carries(start))
        verify_after = timedelta(days=site.settings.complete_verify_days)
        request = CompleteRequest(
            start.acknowledged, start.base, start.after, start.reported, verify_after
        )
        build = site.build(context, KIND)
        with longer_dump(context, build) as longer, progress_to(longer.progress):
            dump = dump_complete(site.database, build, request)
    for omission in dump.omissions:
        context.log.warning("Not replicated alike: %s", visible(omission, _LONGEST_SHOWN))
    for reference in dump.references_out:
        context.log.warning("%s", visible(reference, _LONGEST_SHOWN))
    yield from _tables(context, site, {table.name: table for table in dump.tables})


def _carries(start: StartingPoint) -> str:
    if start.base is None:
        return "The archive carries everything."
    name = start.base.manifest.name.applied
    return f"The archive carries what differs from {name}, and what the receiver says it lacks."


def _tables(
    context: dg.AssetExecutionContext, site: SenderSite, found: Mapping[str, TableManifest]
) -> Results:
    """Yield the dumped tables, as results of the assets of the catalog's tables."""
    catalog = site.catalog
    named = catalog.named_tables()
    for table in named:
        if table in found:
            metadata = table_metadata(found[table], catalog)
        else:
            context.log.warning("The sender has no table %s.", table)
            metadata = no_rows_metadata(None, table, catalog)
        key = snapshot_key(catalog, KIND, table, site.names)
        yield dg.MaterializeResult(asset_key=key, metadata=metadata)
    unlisted = [table for name, table in sorted(found.items()) if name not in named]
    if not named:
        yield dg.MaterializeResult(
            asset_key=unlisted_snapshot_key(site.names),
            metadata=unlisted_metadata(unlisted, catalog),
        )
    elif unlisted:
        names = visible(", ".join(table.name for table in unlisted), _LONGEST_SHOWN)
        context.log.info("Tables in the archive that the catalog does not name: %s.", names)


def _table_specs(site: SenderSite) -> list[dg.AssetSpec]:
    specs = [_table_spec(site, table) for table in site.catalog.named_tables()]
    return specs or [_unlisted_spec(site)]


def _table_spec(site: SenderSite, table: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        snapshot_key(site.catalog, KIND, table, site.names),
        description=f"`{table}` at the sender: all rows, as of the snapshot that the newest"
        " complete archive was made from. Materializing it does a whole complete.",
        kinds={"postgres"},
        group_name=site.names.name(GROUP),
        metadata={"dagster/table_name": qualified_name(site.catalog, table)},
    )


def _unlisted_spec(site: SenderSite) -> dg.AssetSpec:
    """Return one asset for all tables; otherwise a catalog of only patterns would have none."""
    patterns = ", ".join(f"`{pattern}`" for pattern in site.catalog.tables)
    return dg.AssetSpec(
        unlisted_snapshot_key(site.names),
        description=f"Every table at the sender that matches {patterns}: all rows, as of the"
        " snapshot that the newest complete archive was made from. The catalog names no table; one"
        " with a section in it gets an asset of its own.",
        kinds={"postgres"},
        group_name=site.names.name(GROUP),
    )
