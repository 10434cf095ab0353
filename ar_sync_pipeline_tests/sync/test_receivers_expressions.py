"""The receiver computes with the settings of its database, as in the application's sessions.

Defaults, checks, triggers, generated columns, indexes on expressions and domains do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge import filling
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline.transform.untransformed import count_waiting_rows
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


def test_value_of_reset_on_change_is_read_as_the_application_reads_it(sites: TwoSites) -> None:
    sites.at_receiver("ALTER TABLE t_a ADD due date")
    rules = {"t_a": {"receiver_columns": ["due"], "reset_on_change": {"due": "13/05/2026"}}}
    catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": rules})
    sites.catalog = catalog
    assert [one for one in check_receiver(sites.receiver, catalog) if "due" in one.problem] == []
    sites.complete()
    assert sites.load().refused == ()
    assert rows(sites.receiver, "SELECT DISTINCT due - '2026-05-13'::date FROM t_a") == [(0,)]
    now, limit = datetime.now(UTC), timedelta(hours=1)
    with connect(sites.receiver, application="test") as connection:
        (waiting,) = count_waiting_rows(connection, catalog, now=now, limit=limit)
    assert waiting.rows == 2


def test_value_of_reset_on_change_within_a_unique_key_is_read_likewise(sites: TwoSites) -> None:
    """The rows that an incoming one conflicts with are searched by the value that is written."""
    sites.at_receiver(
        "ALTER TABLE t_a ADD due date, ADD fee money, ADD UNIQUE (u, due),"
        " ADD UNIQUE (u, fee) DEFERRABLE"
    )
    reset: dict[str, object] = {"due": "13/05/2026", "fee": "1"}
    rules = {"t_a": {"receiver_columns": [*reset], "reset_on_change": reset}}
    sites.catalog = Catalog.model_validate({"name": "c", "tables": ["t_*"], "table": rules})
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    sites.at_sender(
        "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
        "UPDATE t_a SET u = 'b' WHERE id = 1"
    )
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert equal(sites, SHARED)
    assert rows(sites.receiver, "SELECT DISTINCT due - '2026-05-13'::date FROM t_a") == [(0,)]


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


# Casts of these types to text are immutable, so that columns and indexes may be computed by them.
PRINTED = {"extra_float_digits": "0", "bytea_output": "escape", "enable_seqscan": "off"}
COMPUTED_TEXTS = (
    "CREATE TABLE t_f (id int PRIMARY KEY, f float8, code bytea, label text GENERATED ALWAYS AS"
    " (f::text || ' ' || code::text) STORED); CREATE INDEX of_f ON t_f ((f::text))"
)
FOUND_BY_TEXT = "SELECT id, label FROM t_f WHERE f::text = '0.3' ORDER BY id"


def set_at_both(sites: TwoSites, settings: dict[str, str]) -> None:
    for url in (sites.sender, sites.receiver):
        with session(url) as connection:
            name = connection.info.dbname
            for setting, value in settings.items():
                connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
        close_sessions(url)


def test_generated_columns_and_indexes_have_the_texts_of_the_database(sites: TwoSites) -> None:
    set_at_both(sites, PRINTED)
    sites.at_sender(COMPUTED_TEXTS, "INSERT INTO t_f VALUES (1, 0.1::float8 + 0.2, 'a')")
    sites.at_receiver(COMPUTED_TEXTS)
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    assert rows(sites.receiver, FOUND_BY_TEXT) == [(1, "0.3 a")]
    sites.at_sender("INSERT INTO t_f VALUES (2, 0.1::float8 + 0.2, 'b')")
    sites.partial(recent_window(), since=since)
    assert sites.load().refused == ()
    assert rows(sites.receiver, FOUND_BY_TEXT) == [(1, "0.3 a"), (2, "0.3 b")]


def test_function_reads_its_texts_by_the_settings_of_the_database(sites: TwoSites) -> None:
    r"""Where backslashes escape, a body with ``\\s`` has the pattern ``\s``."""
    set_at_both(sites, {"standard_conforming_strings": "off", "transform_null_equals": "on"})
    slug = (
        "CREATE FUNCTION slug(text) RETURNS text IMMUTABLE LANGUAGE sql AS"
        r" $$SELECT regexp_replace($1, '\\s', '-') || ($1 = NULL)::text$$;"
        "CREATE TABLE t_s (id int PRIMARY KEY, u text, made text GENERATED ALWAYS AS"
        " (public.slug(u)) STORED)"
    )
    sites.at_sender(slug, "INSERT INTO t_s VALUES (1, 'a b')")
    sites.at_receiver(slug)
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT * FROM t_s")
    assert rows(sites.receiver, "SELECT made FROM t_s") == [("a-bfalse",)]


def test_domain_checks_by_the_time_zone_of_the_database(sites: TwoSites) -> None:
    """The row of a Friday in Chile, which is Saturday in UTC, is staged and loaded."""
    table = (
        "CREATE DOMAIN weekday AS timestamptz CHECK (extract(isodow FROM VALUE) < 6);"
        "CREATE TABLE t_w (at weekday, days weekday[], PRIMARY KEY (at))"
    )
    friday = "INSERT INTO t_w SELECT at, ARRAY[at] FROM (SELECT '{} 02:00Z'::timestamptz) AS d (at)"
    sites.at_sender(table, friday.format("2026-05-16"))
    sites.at_receiver(table)
    since = watermark_of(sites.complete())
    assert sites.load().refused == ()
    sites.at_sender(friday.format("2026-05-23"))
    since = watermark_of(sites.partial(recent_window(), since=since))
    assert sites.load().refused == ()
    sites.at_sender(friday.format("2026-05-30"))
    sites.complete()
    assert sites.load().refused == ()
    assert equal(sites, "SELECT at::text, days::text FROM t_w ORDER BY 1")
