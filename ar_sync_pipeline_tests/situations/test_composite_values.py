"""Composite values whose fields are all NULL: ``IS NULL`` holds for them, and they are no NULL."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    EVERY_MODE,
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

ADDRESS = "CREATE TYPE address AS (street text, number int);"
HOUSES = "INSERT INTO t_a VALUES ('(,)', 'a'), ('(x,1)', 'b'), ('(x,)', 'c')"

EMPTY = (
    Situation(
        "composite_key",
        ADDRESS + "CREATE TABLE t_a (k address PRIMARY KEY, v text)",
        rows=HOUSES,
        receiver="ALTER TABLE t_a ADD seen text",
        own="UPDATE t_a SET seen = k::text",
        steps=(
            partial("UPDATE t_a SET v = v || '1'"),
            complete(
                "UPDATE t_a SET v = v || '2'",
                deletes={},
                finds=[ask("SELECT count(*) FROM t_a WHERE seen = k::text", (3,))],
            ),
            partial("DELETE FROM t_a WHERE v = 'a12'", keeps=True),
            partial("INSERT INTO t_a VALUES ('(,)', 'd')"),
            complete("DELETE FROM t_a WHERE v = 'd'", deletes={"t_a": 1}),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "key_of_a_domain_over_a_composite_and_of_another_column",
        ADDRESS + "CREATE DOMAIN place AS address;"
        "CREATE TABLE t_a (k place, n int, v text, PRIMARY KEY (k, n));"
        "CREATE TABLE t_b (k place NOT NULL, v text); CREATE UNIQUE INDEX ON t_b (k)",
        rows="INSERT INTO t_a VALUES ('(,)', 1, 'a'), ('(,)', 2, 'b');"
        "INSERT INTO t_b VALUES ('(,)', 'a'), ('(x,)', 'b')",
        steps=(
            partial("UPDATE t_a SET v = v || '1'; UPDATE t_b SET v = v || '1'"),
            complete("UPDATE t_a SET v = v || '2'; UPDATE t_b SET v = v || '2'", deletes={}),
            complete("DELETE FROM t_a WHERE n = 1", deletes={"t_a": 1}),
        ),
    ),
    Situation(
        "columns_transformed_in_place_beside_a_composite_key",
        ADDRESS + "CREATE TABLE t_a (k address PRIMARY KEY, v text)",
        rows=HOUSES,
        own="UPDATE t_a SET v = upper(v)",
        steps=(
            partial(
                "UPDATE t_a SET v = 'q' WHERE v = 'b'",
                compared=False,
                finds=[ask("SELECT v FROM t_a ORDER BY v", ("A",), ("C",), ("q",))],
            ),
            complete("UPDATE t_a SET v = v || '1'"),
        ),
        rules={"t_a": {"rewritten_by_transform": ["v"]}},
    ),
    Situation(
        "references_to_a_composite_value",
        ADDRESS + "CREATE TABLE t_a (id int PRIMARY KEY, u address UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a address REFERENCES t_a (u) ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1, '(,)'), (2, '(x,1)'), (3, NULL);"
        "INSERT INTO t_b VALUES (1, '(,)'), (2, '(x,1)'), (3, NULL)",
        receiver="CREATE TABLE own (id int PRIMARY KEY, a address REFERENCES t_a (u)"
        " ON DELETE SET NULL ON UPDATE CASCADE)",
        own="INSERT INTO own VALUES (1, '(,)'), (2, '(x,1)'), (3, NULL)",
        steps=(
            partial("UPDATE t_a SET u = '(t,)' WHERE id = 3"),
            complete(
                "ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey;"
                "UPDATE t_a SET u = '(q,)' WHERE id = 1; UPDATE t_a SET u = '(,)' WHERE id = 2;"
                "UPDATE t_a SET u = '(x,1)' WHERE id = 1;"
                "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a (u) ON DELETE CASCADE"
            ),
            complete("DELETE FROM t_b WHERE id = 1; DELETE FROM t_a WHERE id = 2"),
        ),
        modes=(Mode.SUPERUSER, Mode.REPLICA),
    ),
    Situation(
        "null_that_counts_beside_an_empty_composite",
        ADDRESS + "CREATE TABLE t_a (id int PRIMARY KEY, u address UNIQUE NULLS NOT DISTINCT)",
        rows="INSERT INTO t_a VALUES (1, '(,)'), (2, NULL), (3, '(x,1)')",
        receiver="CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own (a) SELECT id FROM t_a",
        steps=(
            partial(
                "UPDATE t_a SET u = '(z,)' WHERE id = 1; UPDATE t_a SET u = '(,)' WHERE id = 2;"
                "UPDATE t_a SET u = NULL WHERE id = 1",
                finds=[ask("SELECT count(*) FROM own", (3,))],
            ),
            partial("UPDATE t_a SET u = '(,2)' WHERE id = 2"),
        ),
    ),
    Situation(
        "bag_of_empty_composites",
        ADDRESS + "CREATE TABLE t_a (a address, v text)",
        rows="INSERT INTO t_a VALUES ('(,)', 'x'), (NULL, 'x'), ('(,)', 'x'), ('(a,)', 'y')",
        steps=(
            partial("UPDATE t_a SET a = NULL WHERE v = 'x'", deletes={"t_a": 2}),
            complete("UPDATE t_a SET a = '(,)'"),
        ),
    ),
)


@pytest.mark.long
@cases(EMPTY)
def test_empty_composite_value_is_no_null(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
