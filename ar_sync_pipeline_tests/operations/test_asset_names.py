"""Every table of a catalog has its own asset keys, whatever its name."""

from __future__ import annotations

import re

import dagster as dg
from hypothesis import example, given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.operations.asset_keys import (
    asset_name,
    receiver_table_key,
    referenced_rows_key,
    snapshot_key,
    unlisted_receiver_key,
    unlisted_snapshot_key,
)
from ar_sync_pipeline.operations.pair_names import ALONE

names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("_0x2ef./"),
    min_size=1,
    max_size=12,
)


def catalog_of(*tables: str, app: str | None = None) -> Catalog:
    sections: dict[str, object] = {table: {} for table in tables}
    return Catalog.model_validate(
        {"name": "x", "tables": ["*.*"], "django_app": app, "table": sections}
    )


def test_names_of_android_requests_are_those_that_people_use() -> None:
    catalog = load_catalog()
    assert [asset_name(catalog, table) for table in catalog.named_tables()] == [
        *("activetoken", "busassignment", "busstop", "busv2", "devicepositionintime", "event"),
        *("eventforbusstop", "eventforbusv2", "gtfs", "level", "nearbybuseslog"),
        *("poseintrajectoryoftoken", "report", "route", "scoreevent", "scorehistory", "service"),
        *("servicelocation", "servicesbybusstop", "servicestopdistance"),
        *("stadisticdatafromregistrationbus", "stadisticdatafromregistrationbusstop"),
        *("token", "transappuser"),
    ]


def test_other_characters_become_their_code_points() -> None:
    catalog = catalog_of()
    assert asset_name(catalog, "in/out 5%") == "in_0x2f_out_0x20_5_0x25_"
    assert asset_name(catalog, "x.bus") == "x_0x2e_bus"
    assert asset_name(catalog, "ñ🚌") == "_0xf1__0x1f68c_"
    assert asset_name(catalog, "x_0x2e_bus") == "x_0x5f_0x2e_bus"


@given(names, names)
@example("a-b", "a.b")
@example("app_a", "a")
@example("app_app_a", "app_a")
@example("T", "t")
@example("referenced_rows", "referenced_0x5f_rows")
@example("app_unlisted_tables", "unlisted_tables")
@example("/0x2f_", "_0x2f_/")
def test_two_tables_never_have_the_same_asset(one: str, other: str) -> None:
    catalog = catalog_of(one, other, app="app")
    tables = catalog.named_tables()
    named = {asset_name(catalog, table) for table in tables}
    assert len(named) == len(tables)
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", name) for name in named)
    keys = {snapshot_key(catalog, ArchiveKind.PARTIAL, table, ALONE) for table in tables}
    keys |= {snapshot_key(catalog, ArchiveKind.COMPLETE, table, ALONE) for table in tables}
    keys |= {receiver_table_key(catalog, table, ALONE) for table in tables}
    reserved = {
        referenced_rows_key(ALONE),
        unlisted_snapshot_key(ALONE),
        unlisted_receiver_key(ALONE),
    }
    assert not keys & reserved
    assert len({key.to_python_identifier() for key in keys | reserved}) == 3 * len(tables) + 3
    assert all(dg.AssetKey.from_user_string(key.to_user_string()) == key for key in keys)
