"""Placeholders that the receiver's own code refuses, and waits that no placeholder ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.errors import DatabaseFailedError, LockWaitError
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, rows
from ar_sync_pipeline_tests.fix_sites import watermark_of as mark
from ar_sync_pipeline_tests.open_sessions import session

EXCHANGE = (
    "UPDATE t_a SET u = 'x' WHERE id = 1",
    "UPDATE t_a SET u = 'a' WHERE id = 2",
    "UPDATE t_a SET u = 'b' WHERE id = 1",
)


def count_changes(code: str, settings: str = "") -> tuple[str, ...]:
    """A trigger that counts its calls, also those that are rolled back, and then runs code."""
    return (
        "CREATE SEQUENCE calls",
        "CREATE TABLE counter (n int)",
        "INSERT INTO counter VALUES (0)",
        (
            f"CREATE FUNCTION count_call() RETURNS trigger LANGUAGE plpgsql {settings} AS $$BEGIN"
            f" PERFORM nextval('calls'); {code} RETURN NULL; END$$"
        ),
        "CREATE TRIGGER fires AFTER UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION count_call()",
        "ALTER TABLE t_a ENABLE ALWAYS TRIGGER fires",
    )


@pytest.fixture
def sites(database_factory: DatabaseFactory, tmp_path: Path) -> TwoSites:
    """Two servers, between which a partial exchanges two unique values."""
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)")
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(sender, receiver, catalog, tmp_path)
    sites.at_sender("INSERT INTO t_a VALUES (1, 'a'), (2, 'b')")
    since = mark(sites.complete())
    sites.load()
    sites.at_sender(*EXCHANGE)
    sites.partial(recent_window(), since=since)
    return sites


def test_wait_for_a_lock_in_a_trigger_ends_the_load(sites: TwoSites) -> None:
    sites.at_receiver(*count_changes("UPDATE counter SET n = n + 1;", "SET lock_timeout = '100ms'"))
    with session(sites.receiver) as other, other.transaction():
        other.execute("SELECT FROM counter FOR UPDATE")
        with pytest.raises(LockWaitError):
            sites.load()
    assert rows(sites.receiver, "SELECT last_value FROM calls") == [(1,)]
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")


def test_cancelled_statement_of_a_trigger_ends_the_load(sites: TwoSites) -> None:
    sites.at_receiver(*count_changes("PERFORM pg_cancel_backend(pg_backend_pid());"))
    with pytest.raises(DatabaseFailedError, match="user request"):
        sites.load()
    assert rows(sites.receiver, "SELECT last_value FROM calls") == [(1,)]


def test_next_placeholder_is_tried_if_a_trigger_refuses_one(sites: TwoSites) -> None:
    sites.at_receiver(
        *count_changes(
            "IF NEW.u IS NULL THEN RAISE EXCEPTION 'never' USING ERRCODE = '55P03'; END IF;"
        )
    )
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_a ORDER BY id")
