"""Defaults, checks and triggers of the receiver are computed as in the application's sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge import filling
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)
from ar_sync_pipeline_tests.open_sessions import close_sessions, session

SETTINGS = {"TimeZone": "America/Santiago", "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601"}
# The day and the text by the settings of the database, not by those of the product.
TABLE = (
    "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE, at timestamptz, day date,"
    " price money, span interval, CHECK (day = at::date), CHECK (at::text LIKE '13/05/2026 22%'))"
)
EVENING = "'2026-05-14 02:30Z', '2026-05-13', '1', '-1 year 2 mon'"
HERE = ("America/Santiago", "P1D", True)
DEFAULTS = (
    "ALTER TABLE t_a ADD loaded timestamp DEFAULT now(), ADD zone text"
    " DEFAULT current_setting('TimeZone'), ADD style text DEFAULT interval '1 day'::text"
)
COMPUTED = (
    "SELECT id, zone, style, abs(extract(epoch FROM loaded - now() AT TIME ZONE"
    " 'America/Santiago')) < 600 FROM t_a ORDER BY id"
)
SHARED = "SELECT id, u, at::text, day::text, price::text, span::text FROM t_a ORDER BY id"


@pytest.fixture(params=["direct", "staged"])
def sites(
    request: pytest.FixtureRequest,
    database_factory: DatabaseFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> TwoSites:
    """Return a pair whose databases have settings of their own, and rows to load."""
    if request.param == "direct":
        monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 1)
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        with session(url) as connection:
            name = connection.info.dbname
            for setting, value in SETTINGS.items():
                connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
        close_sessions(url)
        execute(url, TABLE)
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"]})
    sites = TwoSites(sender, receiver, catalog, tmp_path)
    sites.at_sender(f"INSERT INTO t_a VALUES (1, 'a', {EVENING}), (2, 'b', {EVENING})")
    sites.at_receiver(DEFAULTS)
    return sites


def test_rows_get_the_defaults_and_pass_the_checks_of_the_database(sites: TwoSites) -> None:
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    assert rows(sites.receiver, COMPUTED) == [(1, *HERE), (2, *HERE)]
    sites.at_sender(
        "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
        "UPDATE t_a SET u = 'b' WHERE id = 1",
        f"INSERT INTO t_a VALUES (3, 'c', {EVENING})",
    )
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert rows(sites.receiver, COMPUTED) == [(1, *HERE), (2, *HERE), (3, *HERE)]
    sites.at_sender("UPDATE t_a SET price = '2'")
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, SHARED)


def test_index_is_created_again_as_it_was_printed(sites: TwoSites) -> None:
    """A condition with a time is printed, and read again, by the settings of the product."""
    sites.at_receiver(
        "CREATE INDEX late ON t_a (u) WHERE at > '2026-03-04 05:00'::timestamptz"
        " AND span > '-1 year 2 mon'::interval AND price > '1.50'::money"
    )
    definition = "SELECT pg_get_indexdef('late'::regclass)"
    before = rows(sites.receiver, definition)
    sites.complete()
    assert sites.load().refused == ()
    assert rows(sites.receiver, definition) == before


def test_trigger_that_fires_computes_in_the_time_zone_of_the_database(sites: TwoSites) -> None:
    sites.at_receiver(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.zone := NEW.at::text; RETURN NEW; END$$",
        "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION touch()",
        "ALTER TABLE t_a ENABLE ALWAYS TRIGGER touch",
    )
    sites.complete()
    assert sites.load().refused == ()
    assert rows(sites.receiver, "SELECT DISTINCT zone FROM t_a") == [("13/05/2026 22:30:00 -04",)]
