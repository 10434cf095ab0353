"""Possible copies are sought in databases of many schemas, too."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.possible_copies import possible_copies

COLUMNS = [SimpleNamespace(name=f"c{n}", generated=False) for n in range(12)]


def facts(schema: str, name: str) -> SimpleNamespace:
    return SimpleNamespace(name=f"{schema}.{name}", place=(schema, name), columns=COLUMNS)


def test_thousand_schemas_with_equal_tables_take_no_time() -> None:
    """It runs while all tables are locked; a comparison of all pairs took half a minute."""
    schemas = [f"s{n}" for n in range(1_000)]
    found = [facts(schema, f"t_{n}_") for schema in schemas for n in range(20)]
    found.append(facts("s7", "t_0_old"))
    tables: Any = {one.name: one for one in found}
    section = {"exclude": ["c3"]}
    catalog = Catalog.model_validate(
        {"name": "x", "tables": ["*.*"], "table": {f"{one}.t_0_": section for one in schemas}}
    )
    connection: Any = SimpleNamespace(execute=lambda _: [])
    begin = time.process_time()
    (copy,) = possible_copies(connection, catalog, tables, set())
    assert time.process_time() - begin < 2
    assert (copy.label, copy.table) == ("s7.t_0_", "s7.t_0_old")
