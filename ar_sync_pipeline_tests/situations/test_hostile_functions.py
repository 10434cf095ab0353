"""A role that may create functions in a schema of the search path gets none of them called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ar_sync_pipeline.merge import filling
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    watermark_of,
)
from ar_sync_pipeline_tests.hostile_overloads import hostile_calls, install_hostile_overloads
from ar_sync_pipeline_tests.situations.running import Running, Servers
from ar_sync_pipeline_tests.situations.situation import Mode, Situation, complete, partial

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
