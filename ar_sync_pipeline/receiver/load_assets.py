"""The receiver's tables and media folder: what a load brings up to date, all or nothing."""

from collections.abc import Iterator, Mapping

import dagster as dg

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    qualified_name,
    receiver_media_key,
    receiver_table_key,
    unlisted_receiver_key,
)
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.space_check import space_check_result, space_check_spec
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.heartbeat import give_sign_of_life
from ar_sync_pipeline.receiver.load_checks import (
    load_check_results,
    load_check_specs,
)
from ar_sync_pipeline.receiver.load_metadata import (
    load_metadata,
    media_metadata,
    rows_by_table,
    table_metadata,
    unlisted_metadata,
)
from ar_sync_pipeline.receiver.site import OWNERS, POOL, ReceiverSite
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline.visible_text import listed


def load_assets(site: ReceiverSite) -> dg.AssetsDefinition:
    """The second step of both load jobs: one transaction for the rows, pictures before it."""
    catalog = site.catalog
    keys = {table: receiver_table_key(catalog, table) for table in catalog.named_tables()}
    tables = {_output(key): _table_out(catalog, table, key) for table, key in keys.items()}
    if not tables:
        tables = {_output(unlisted_receiver_key()): _unlisted_out(catalog)}

    @dg.multi_asset(
        name="load",
        ins={"names": dg.AssetIn(admitted_key(), dagster_type=list)},
        outs={
            "media": dg.AssetOut(
                key=receiver_media_key(),
                description="The receiver's media folder. A picture is there before the row that"
                " names it becomes visible.",
                kinds={"files"},
                owners=OWNERS,
                metadata={"dagster/uri": site.settings.receiver_media_fldr.as_uri()},
                group_name=GROUP,
                dagster_type=dg.Nothing,
                is_required=False,
            ),
            "applied_archives": dg.AssetOut(
                key=applied_archives_key(),
                description="The ledger: which archives the receiver has applied, written in the"
                " transaction that applies their rows; up to when its data is whole, and how far"
                " behind that is.",
                kinds={"postgres"},
                owners=OWNERS,
                group_name=GROUP,
                dagster_type=dg.Nothing,
                is_required=False,
                metadata={"dagster/table_name": "ar_sync.applied_archive"},
            ),
            **tables,
        },
        # The ledger is written in the transaction of the tables, and behind the pictures. Other
        # than theirs its output is there after every load, so the transform hangs on it.
        internal_asset_deps={
            **{name: {admitted_key()} for name in ("media", *tables)},
            "applied_archives": {receiver_media_key(), *_keys(tables)},
        },
        check_specs=[
            *load_check_specs(),
            space_check_spec(applied_archives_key(), "the spool and the media folder"),
        ],
        pool=POOL,
        can_subset=False,
    )
    def load(
        context: dg.AssetExecutionContext, names: list[str]
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        with operator_errors():
            report = load_archives(site.settings, catalog, names, site.clock)
            if report.loaded:
                give_sign_of_life(context, site.settings)
            space = space_check_result(
                applied_archives_key(),
                {
                    "spool": site.settings.remote_bkp_fldr,
                    "media": site.settings.receiver_media_fldr,
                },
                site.settings.free_space_floor,
            )
        yield from load_check_results(report, site.settings.partial_interval)
        yield space
        if report.refused and not report.loaded:
            raise dg.Failure(
                description=" ".join(listed([str(refusal.error) for refusal in report.refused])),
                metadata={refusal.name: refusal.error.remedy for refusal in report.refused},
                allow_retries=False,
            )
        for warning in filter(None, (report.media.warning, report.left_out)):
            dg.get_dagster_logger().warning(warning)
        yield dg.Output(None, "media", metadata=media_metadata(report))
        for table, plans in rows_by_table(report).items():
            if table in keys:
                shown = table_metadata(report, plans)
                yield dg.Output(None, _output(keys[table]), metadata=shown)
        if not keys and report.loaded:
            shown = unlisted_metadata(report, catalog)
            yield dg.Output(None, _output(unlisted_receiver_key()), metadata=shown)
        summary = load_metadata(report, catalog, site.clock())
        yield dg.Output(None, "applied_archives", metadata=summary)

    return load


def _table_out(catalog: Catalog, table: str, key: dg.AssetKey) -> dg.AssetOut:
    return _out(
        key,
        f"`{table}` at the receiver: equal to the sender's in every shared column, as of the newest"
        " applied archive. The receiver's own columns keep their values.",
        {"dagster/table_name": qualified_name(catalog, table)},
    )


def _unlisted_out(catalog: Catalog) -> dg.AssetOut:
    """One asset for all tables, without which a catalog of patterns would show none."""
    patterns = ", ".join(f"`{pattern}`" for pattern in catalog.tables)
    return _out(
        unlisted_receiver_key(),
        f"Every table at the receiver that matches {patterns}: equal to the sender's in every"
        " shared column, as of the newest applied archive. The catalog names no table; one with a"
        " section in it gets an asset of its own.",
    )


def _out(key: dg.AssetKey, description: str, metadata: dict[str, str] | None = None) -> dg.AssetOut:
    return dg.AssetOut(
        key=key,
        description=description,
        kinds={"postgres"},
        owners=OWNERS,
        group_name=GROUP,
        dagster_type=dg.Nothing,
        is_required=False,
        metadata=metadata,
    )


def _keys(outs: Mapping[str, dg.AssetOut]) -> Iterator[dg.AssetKey]:
    return (out.key for out in outs.values() if out.key is not None)


def _output(key: dg.AssetKey) -> str:
    return "table_" + key.path[-1]
