"""Rows that only their place identifies: they are found again, whatever else the load updates."""

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

A = "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
FOUR = "INSERT INTO t_a SELECT n, 'u' || n FROM generate_series(1, 4) n"

WITHOUT_A_KEY = (
    Situation(
        "unique_by_another_collation",
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE t_a (k text COLLATE ci NOT NULL, v int);"
        'CREATE UNIQUE INDEX ON t_a (k COLLATE "C")',
        rows="INSERT INTO t_a VALUES ('a', 1), ('b', 2)",
        steps=(
            partial("INSERT INTO t_a VALUES ('A', 3)"),
            partial("UPDATE t_a SET v = v + 5", deletes={"t_a": 3}),
            partial(
                "UPDATE t_a SET k = 'x' WHERE v = 6; UPDATE t_a SET k = 'a' WHERE v = 8;"
                "UPDATE t_a SET k = 'A' WHERE v = 6",
                deletes={"t_a": 2},
            ),
            complete("DELETE FROM t_a WHERE v = 6"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "unique_by_the_bytes_of_a_composite",
        "CREATE TYPE number AS (n numeric); CREATE TABLE t_a (k number NOT NULL, v int);"
        "CREATE UNIQUE INDEX ON t_a (k record_image_ops)",
        rows="INSERT INTO t_a VALUES ('(1.0)', 1), ('(2.0)', 2)",
        steps=(
            partial("INSERT INTO t_a VALUES ('(1.00)', 3), ('(2.00)', 4)"),
            partial("UPDATE t_a SET v = v + 5", deletes={"t_a": 4}),
            complete("DELETE FROM t_a WHERE v = 7", deletes={"t_a": 1}),
            complete("INSERT INTO t_a VALUES ('(3.0)', 1), ('(3.00)', 1)"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "deferrable_unique_column_that_may_be_null",
        "CREATE TABLE t_a (u text UNIQUE DEFERRABLE, v int)",
        rows="INSERT INTO t_a VALUES ('a', 1), ('b', 2), (NULL, 3)",
        steps=(
            partial(
                "UPDATE t_a SET v = v + 1; INSERT INTO t_a VALUES ('c', 4)", deletes={"t_a": 3}
            ),
            complete("DELETE FROM t_a WHERE u = 'a'; INSERT INTO t_a VALUES ('a', 9)"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "deferrable_exclusion",
        "CREATE TABLE t_a (during int4range, EXCLUDE USING gist (during WITH &&) DEFERRABLE)",
        rows="INSERT INTO t_a VALUES ('[1,5)'), ('[5,9)'), (NULL)",
        steps=(complete("UPDATE t_a SET during = '[5,8)' WHERE during = '[5,9)'"),),
        modes=EVERY_MODE,
    ),
    Situation(
        "deferrable_unique_column_of_the_receiver",
        "CREATE TABLE t_a (u text, v int)",
        rows="INSERT INTO t_a VALUES ('a', 1), ('b', 2)",
        receiver="ALTER TABLE t_a ADD CONSTRAINT only_here UNIQUE (u) DEFERRABLE",
        steps=(
            complete(
                "INSERT INTO t_a VALUES ('a', 3)",
                waits_for=["only_here"],
                then="ALTER TABLE t_a DROP CONSTRAINT only_here",
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "own_row_loses_a_reference_and_goes_by_another",
        A,
        rows=FOUR,
        receiver="CREATE TABLE own (a int NOT NULL REFERENCES t_a ON DELETE CASCADE,"
        " b int REFERENCES t_a ON DELETE SET NULL)",
        own="INSERT INTO own VALUES (1, 1), (1, 2), (1, 3), (3, 2), (3, 4)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id < 3",
                finds=[ask("SELECT a, b FROM own ORDER BY b", (3, 4), (3, None))],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "own_row_loses_a_reference_and_goes_by_another_that_does_not_act",
        A,
        rows=FOUR,
        receiver="CREATE TABLE own (a int NOT NULL REFERENCES t_a, b int REFERENCES t_a)",
        own="INSERT INTO own VALUES (1, 1), (1, 2), (1, 3), (3, 2), (3, 4)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id < 3",
                finds=[ask("SELECT a, b FROM own ORDER BY b", (3, 4), (3, None))],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "shared_row_changes_or_goes_with_the_row_that_the_receiver_lets_it_refer_to",
        A + "CREATE TABLE t_log (v text)",
        rows=FOUR + "; INSERT INTO t_log VALUES ('a'), ('b'), ('c')",
        receiver="ALTER TABLE t_log ADD fav int REFERENCES t_a",
        own="UPDATE t_log SET fav = CASE v WHEN 'c' THEN 3 ELSE 1 END",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id = 1; DELETE FROM t_log WHERE v = 'a';"
                "UPDATE t_log SET v = 'bb' WHERE v = 'b'",
                deletes={"t_a": 1, "t_log": 2},
                finds=[ask("SELECT v, fav FROM t_log ORDER BY v", ("bb", None), ("c", 3))],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "row_that_goes_is_moved_by_the_placeholder_of_its_parent",
        A + "CREATE TABLE t_log (u text REFERENCES t_a (u) ON UPDATE CASCADE, v int)",
        rows=FOUR + "; INSERT INTO t_log VALUES ('u1', 1), ('u2', 2), ('u2', 3), ('u3', 4)",
        steps=(
            partial(
                "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'u1' WHERE id = 2;"
                "UPDATE t_a SET u = 'u2' WHERE id = 1",
                deletes={"t_log": 3},
            ),
        ),
        modes=EVERY_MODE,
    ),
)


@pytest.mark.long
@cases(WITHOUT_A_KEY)
def test_rows_without_a_key_are_the_senders(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
