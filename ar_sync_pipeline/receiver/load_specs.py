"""Specifications of the assets of a load."""

from collections.abc import Sequence

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    qualified_name,
    receiver_media_key,
    receiver_table_key,
    unlisted_receiver_key,
)
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.receiver.admission_asset import GROUP
from ar_sync_pipeline.receiver.site import ReceiverSite

TABLES_GROUP = "receiver_tables"
_WHOLE = " Materializing it does a whole load."


def load_step(names: PairNames) -> str:
    """Return the name of the step of a load."""
    return names.name("load")


def media_spec(site: ReceiverSite) -> dg.AssetSpec:
    """Return the specification of the media folder."""
    return dg.AssetSpec(
        receiver_media_key(site.names),
        deps=[admitted_key(site.names)],
        description="The receiver's media folder. A file is there before the row that names it"
        " becomes visible." + _WHOLE,
        kinds={"files"},
        group_name=site.names.name(GROUP),
        skippable=True,
        metadata={"dagster/uri": site.settings.receiver_media_fldr.as_uri()},
    )


def ledger_spec(site: ReceiverSite, tables: Sequence[dg.AssetKey]) -> dg.AssetSpec:
    """Return the specification of the ledger, which is written after every load.

    This includes a load that brings nothing for some tables.
    """
    return dg.AssetSpec(
        applied_archives_key(site.names),
        deps=[receiver_media_key(site.names), *tables],
        description="The ledger: which archives the receiver has applied, and which wait, are"
        " parked or quarantined; up to when its data is complete, and how far behind that is."
        + _WHOLE,
        kinds={"postgres"},
        group_name=site.names.name(GROUP),
        skippable=True,
        metadata={"dagster/table_name": "ar_sync.applied_archive"},
    )


def table_specs(site: ReceiverSite) -> list[dg.AssetSpec]:
    """Return the tables that the catalog names, or one asset for all if it has only patterns."""
    named = [
        _table_spec(
            site,
            receiver_table_key(site.catalog, table, site.names),
            f"`{table}` in the receiver's database: equal to the sender's in every shared column,"
            " as of the newest applied archive. Receiver-only columns keep their values." + _WHOLE,
            {"dagster/table_name": qualified_name(site.catalog, table)},
        )
        for table in site.catalog.named_tables()
    ]
    return named or [_unlisted_spec(site)]


def _unlisted_spec(site: ReceiverSite) -> dg.AssetSpec:
    """Return one asset for all tables; otherwise a catalog of only patterns would have none."""
    patterns = ", ".join(f"`{pattern}`" for pattern in site.catalog.tables)
    return _table_spec(
        site,
        unlisted_receiver_key(site.names),
        f"Every table that matches {patterns} in the receiver's database: equal to the sender's in"
        " every shared column, as of the newest applied archive. The catalog names no table; one"
        " with a section in it gets an asset of its own." + _WHOLE,
        {},
    )


def _table_spec(
    site: ReceiverSite, key: dg.AssetKey, description: str, metadata: dict[str, str]
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[admitted_key(site.names)],
        description=description,
        kinds={"postgres"},
        group_name=site.names.name(TABLES_GROUP),
        skippable=True,
        metadata=metadata,
    )
