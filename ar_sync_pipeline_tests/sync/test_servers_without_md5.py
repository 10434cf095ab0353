"""A server in FIPS mode has no md5: ``could not compute MD5 hash: unsupported``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.watch.compare import compare_databases
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    watermark_of,
)

TABLES = (
    "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE, b bytea NOT NULL UNIQUE)",
    "CREATE TABLE t_b (v text)",
)
WITHOUT = "ALTER FUNCTION pg_catalog.md5({}) RENAME TO md5_that_is_refused"
EXCHANGE = (
    "UPDATE t_a SET u = 'z', b = 'z' WHERE id = 1; UPDATE t_a SET u = 'a', b = 'a' WHERE id = 2;"
    "UPDATE t_a SET u = 'b', b = 'b' WHERE id = 1"
)


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, *TABLES, *(WITHOUT.format(kind) for kind in ("text", "bytea")))
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(sender, receiver, catalog, tmp_path)
    sites.at_sender(
        "INSERT INTO t_a VALUES (1, 'a', 'a'), (2, 'b', 'b')",
        "INSERT INTO t_b VALUES ('x'), ('x'), (NULL), ('ñ\\\\')",
    )
    return sites


def test_rows_without_a_key_and_values_that_move_arrive(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    sites.at_sender(EXCHANGE, "INSERT INTO t_b VALUES ('y'), ('x')")
    since = watermark_of(sites.partial(recent_window(), since=since))
    assert sites.load().refused == ()
    sites.at_sender("DELETE FROM t_b WHERE v IS NULL", "UPDATE t_a SET u = 'c' WHERE id = 1")
    sites.partial(recent_window(), since=since)
    sites.complete()
    assert sites.load().refused == ()
    for table in ("t_a", "t_b"):
        assert equal(sites, f"SELECT * FROM {table} ORDER BY 1")
    found = compare_databases(sites.sender, sites.receiver, sites.catalog)
    assert all(table.equal for table in found)
