"""A role that may create functions in a schema of the search path gets none of them called."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.change_probe import any_row_changed
from ar_sync_pipeline.export.selection import Selection
from ar_sync_pipeline.merge import filling
from ar_sync_pipeline.sync.setup.draft_catalog import draft_catalog
from ar_sync_pipeline.sync.watch.compare import compare_databases
from ar_sync_pipeline.sync.watch.database_findings import check_receiver, check_sender
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    execute,
    recent_window,
    watermark_of,
)
from ar_sync_pipeline_tests.hostile_overloads import hostile_calls, install_hostile_overloads
from ar_sync_pipeline_tests.situations.running import Running, Servers
from ar_sync_pipeline_tests.situations.situation import Mode, Situation, complete, partial
from ar_sync_pipeline_tests.sync.fix_changed_chunks import changes, complete_after, equal_pair
from ar_sync_pipeline_tests.sync.fix_differential import assert_equal
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

EVERY_TYPE = (
    "id int8 PRIMARY KEY, i2 int2 UNIQUE, i4 int4 UNIQUE, i8 int8 UNIQUE, n numeric UNIQUE,"
    " f4 real, f8 double precision UNIQUE, b bool, t text UNIQUE, v varchar(9) UNIQUE,"
    " c char(3) UNIQUE, d date UNIQUE, at timestamptz UNIQUE, ts timestamp UNIQUE, tm time,"
    " iv interval, u uuid UNIQUE, y bytea UNIQUE, j jsonb, x xml, m money, ip inet UNIQUE,"
    " a text[], e mood"
)
ROW = (
    "{0}, {0}, {0}, {0}, {0}.5, {0}.5, {0}.5, true, 'a{0}', 'a{0}', 'a{0}', '2026-01-0{0}',"
    " '2026-01-0{0} 10:00Z', '2026-01-0{0} 10:00', '10:00', '1 day',"
    " '00000000-0000-4000-8000-00000000000{0}', '\\x0{0}', '[{0}]', '<a/>', '{0}', '10.0.0.{0}',"
    " ARRAY['a'], 'good'"
)
UNIQUE = ("i2", "i4", "i8", "n", "f8", "t", "v", "c", "d", "at", "ts", "u", "y", "ip")
# Each unique value goes from the first row to the second.
MOVED = "UPDATE t_all SET {0} = NULL WHERE id = 1; UPDATE t_all SET {0} = {1} WHERE id = 2;"
SITUATIONS = (
    Situation(
        "every_type_and_unique_values_that_move",
        f"CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t_all ({EVERY_TYPE})",
        "INSERT INTO t_all VALUES " + ", ".join(f"({ROW.format(n)})" for n in range(1, 4)),
        steps=(
            partial(
                "CREATE TEMP TABLE old AS SELECT * FROM t_all WHERE id = 1;"
                + "".join(MOVED.format(name, f"(SELECT {name} FROM old)") for name in UNIQUE)
            ),
            complete("DELETE FROM t_all WHERE id = 3; UPDATE t_all SET e = 'bad', x = '<b/>'"),
        ),
    ),
    Situation(
        "keys_references_and_rows_without_a_key",
        "CREATE TABLE t_a (id int, k text, PRIMARY KEY (id, k), u text UNIQUE NOT NULL);"
        "CREATE TABLE t_b (id smallint PRIMARY KEY, u text REFERENCES t_a (u) ON UPDATE CASCADE);"
        "CREATE TABLE t_bag (v int, w text);"
        "CREATE TABLE t_part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_part_1 PARTITION OF t_part FOR VALUES FROM (0) TO (100)",
        "INSERT INTO t_a VALUES (1, 'x', 'a'), (2, 'y', 'b'), (3, 'z', 'c');"
        "INSERT INTO t_b VALUES (1, 'a'), (2, 'b'); INSERT INTO t_bag VALUES (1, 'a'), (1, 'a');"
        "INSERT INTO t_part VALUES (1, 'a'), (2, 'b')",
        receiver="CREATE TABLE own (id int PRIMARY KEY, part int REFERENCES t_part_1,"
        " u text REFERENCES t_a (u) ON UPDATE CASCADE)",
        own="INSERT INTO own VALUES (1, 2, 'c')",
        steps=(
            partial(
                "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                "UPDATE t_a SET u = 'b' WHERE id = 1; UPDATE t_part SET v = 'c'"
            ),
            complete(
                "DELETE FROM t_a WHERE id = 3; INSERT INTO t_bag VALUES (2, 'b');"
                "DELETE FROM t_bag WHERE v = 1; DELETE FROM t_b WHERE id = 1"
            ),
        ),
    ),
)


@pytest.mark.long
@pytest.mark.parametrize("direct", [True, False], ids=["direct", "staged"])
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.name)
def test_a_load_calls_no_function_of_others(
    database_factory: DatabaseFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    situation: Situation,
    direct: bool,
) -> None:
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 1 if direct else 1_000_000)
    servers = Servers(database_factory(), database_factory())
    # The statements of the situation have the usual path.
    install_hostile_overloads(servers.receiver, "hostile")
    loads_as = f"{servers.receiver}?options=-c%20search_path%3Dpublic,hostile"
    Running(situation, Mode.SUPERUSER, servers, loads_as, tmp_path).run()
    assert hostile_calls(servers.receiver, "hostile") == 0


# Every function of `mask`, and each way in which it is computed for a type.
MASKS: dict[str, tuple[str, str, object]] = {
    "nulled": ("text", "'a'", "null"),
    "fixed": ("varchar(9)", "'a'", {"constant": "b"}),
    "p_text": ("text", "'a'", "pseudonym"),
    "p_short": ("varchar(20)", "'a'", "pseudonym"),
    "p_id": ("bigint", "7", "pseudonym"),
    "p_uuid": ("uuid", "gen_random_uuid()", "pseudonym"),
    "start": ("varchar(20)", "'abcdef'", {"truncate": 2}),
    "day": ("timestamptz", "now()", {"truncate": "day"}),
    "month": ("date", "now()", {"truncate": "month"}),
    "clock": ("time", "'10:20'", {"truncate": "hour"}),
    "fast": ("double precision", "1.23456", {"round": 2}),
    "tens": ("double precision", "123.456", {"round": -1}),
    "f4": ("real", "1.23456", {"round": 2}),
    "number": ("numeric", "1.23456", {"round": 2}),
    "limited": ("numeric(5,2)", "123.45", {"round": 1}),
    "small": ("smallint", "32767", {"round": -1}),
    "whole": ("bigint", "12345", {"round": -2}),
}
DUMPED = (
    "CREATE TABLE t_masked (id smallint PRIMARY KEY, "
    + ", ".join(f"{name} {one[0]}" for name, one in MASKS.items())
    + ")",
    f"CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t_all ({EVERY_TYPE})",
    "CREATE TABLE t_far (id bigint PRIMARY KEY, v text)",
    "CREATE TABLE t_local (k varchar(9) PRIMARY KEY, changed timestamp, file varchar(99))",
    (
        "CREATE TABLE t_day (a int, b bpchar(3), d date, PRIMARY KEY (a, b),"
        " k varchar(9) REFERENCES t_local)"
    ),
    "CREATE TABLE t_bag (v int, w text)",
    "CREATE TABLE django_migrations (app varchar(255), name varchar(255))",
)
ROWS_DUMPED = (
    (
        f"INSERT INTO t_masked SELECT n, {', '.join(one[1] for one in MASKS.values())}"
        " FROM generate_series(1, 3) n"
    ),
    f"INSERT INTO t_all VALUES ({ROW.format(1)})",
    "INSERT INTO t_far SELECT (n::bigint << 40) - n, 'a' FROM generate_series(-300, 300) n",
    "INSERT INTO t_far VALUES (9223372036854775807, 'last')",
    "INSERT INTO t_local VALUES ('a', now(), 'a.jpeg'), ('b', now(), 'lost.jpeg')",
    "INSERT INTO t_day VALUES (1, 'x', '2026-03-01', 'a')",
    "INSERT INTO t_bag VALUES (1, 'a'), (1, 'a')",
    "INSERT INTO django_migrations VALUES ('app', '0001')",
)
RULES = {
    "t_masked": {"mask": {name: mask for name, (_, _, mask) in MASKS.items()}},
    "t_local": {
        "changed_at": "changed",
        "changed_at_zone": "America/Santiago",
        "media_columns": ["file"],
        "no_media_values": ["none"],
        "children": ["t_day"],
    },
    "t_day": {"changed_at": "d", "changed_at_zone": "America/Santiago"},
    "t_all": {"changed_at": "at", "watermark": False},
}


@pytest.mark.long
def test_a_dump_calls_no_function_of_others(
    database_factory: DatabaseFactory, tmp_path: Path
) -> None:
    """With each mask, each type of a time, keys of one and several columns, and media files."""
    sender, receiver = database_factory(), database_factory()
    for url in (sender, receiver):
        execute(url, *DUMPED)
        install_hostile_overloads(url, "hostile")
    execute(sender, *ROWS_DUMPED)
    path = "?options=-c%20search_path%3Dpublic,hostile"
    catalog = Catalog.model_validate(
        {"name": "hostile", "tables": ["t_*"], "django_app": "app", "table": RULES}
    )
    sites = TwoSites(sender + path, receiver + path, catalog, tmp_path, pseudonym_key="k" * 32)
    (sites.sender_media / "a.jpeg").write_bytes(b"a")
    since = watermark_of(sites.complete())
    selection = Selection(recent_window(), since, timedelta(minutes=5))
    assert not any_row_changed(sites.sender, catalog, selection)
    execute(sender, "UPDATE t_bag SET v = 2", "UPDATE t_masked SET fast = 2 WHERE id = 1")
    since = watermark_of(sites.partial(recent_window(), since=since))
    sites.partial(recent_window(), since=since)  # It looks again for the lost file.
    sites.complete(since)
    sites.load()
    check_sender(sites.sender, catalog)
    check_receiver(sites.receiver, catalog)
    draft_catalog(sites.sender, sites.receiver, sites.sender_media)
    found = compare_databases(sites.sender, sites.receiver, catalog, pseudonym_key="k" * 32)
    assert all(table.equal for table in found)
    assert hostile_calls(sender, "hostile") == 0
    assert hostile_calls(receiver, "hostile") == 0


@pytest.mark.long
def test_a_differential_complete_calls_no_function_of_others(media_sender: MediaSender) -> None:
    pair = equal_pair(media_sender)
    sites = pair.sites
    for url in (sites.sender, sites.receiver):
        install_hostile_overloads(url)
    manifest = complete_after(
        pair,
        "UPDATE app_child SET amount = 7 WHERE id = 65536 + 9",
        "DELETE FROM app_child WHERE id = 65536 + 11",
    )
    assert changes(manifest) == {1: 1}
    sites.load()
    assert_equal(pair)
    assert hostile_calls(sites.sender) == 0
    assert hostile_calls(sites.receiver) == 0


@pytest.mark.long
def test_no_job_of_either_side_calls_a_function_of_others(filled: TwoSites) -> None:
    """With receiver-only columns, values that the transform changes, and rows that come late."""
    sites = replace(filled, environ={"AR_SYNC_MEDIA_DELETE": "true"})
    for url in (sites.sender, sites.receiver):
        install_hostile_overloads(url)
    since = watermark_of(sites.complete())
    sites.load()
    sites.at_receiver(
        "UPDATE app_parent SET label = upper(label), transformed = true",
        "INSERT INTO app_note (parent_id, maybe_id, text) VALUES (1, 1, 'mine'), (50, 2, 'gone')",
    )
    sites.at_sender(
        "UPDATE app_parent SET code = 'x' WHERE id = 1",
        "UPDATE app_parent SET code = 'c1', label = 'other' WHERE id = 2",
        "UPDATE app_parent SET code = 'c2' WHERE id = 1",
        "DELETE FROM app_child WHERE parent_id = 50",
        "DELETE FROM app_parent WHERE id = 50",
    )
    partial_ = sites.partial(recent_window(), since=since)
    late = partial_.rename(sites.folder / partial_.name)
    sites.at_sender("UPDATE app_child SET amount = 7 WHERE id < 9")
    sites.partial(recent_window(), since=since)
    sites.load()
    late.rename(partial_)
    sites.load()
    sites.complete()
    report = sites.load()
    assert len(report.loaded) == 1
    assert equal(sites)
    assert equal(sites, PARENTS.replace("label", "id"))
    assert hostile_calls(sites.sender) == 0
    assert hostile_calls(sites.receiver) == 0
