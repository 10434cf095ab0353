"""Unique values that move from row to row: nothing is deleted, nothing is lost."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.exchanged_values import (
    BOTH_NOTES,
    HAS_MANY,
    THREE,
    WRITE_NOTES,
    rotate,
    swap,
    values,
    with_children,
)
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

SWAPS = (
    Situation(
        "S1_swap_under_cascade",
        with_children("ON DELETE CASCADE"),
        rows=THREE + "INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(swap("u"), finds=[BOTH_NOTES]),
            partial("UPDATE t_a SET u = 'new' WHERE id = 3", finds=[BOTH_NOTES]),
            complete(swap("u", "b", "a"), deletes={}, finds=[BOTH_NOTES]),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "S2_change_under_set_null",
        with_children("ON DELETE SET NULL"),
        rows=THREE + "INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3)",
        receiver=HAS_MANY.replace("CASCADE", "SET NULL"),
        own=WRITE_NOTES,
        steps=(
            partial("UPDATE t_a SET u = 'new' WHERE id = 3", finds=[BOTH_NOTES]),
            partial(swap("u"), finds=[BOTH_NOTES]),
            complete(swap("u", "b", "a"), deletes={}, finds=[BOTH_NOTES]),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "swap_under_set_default",
        with_children("ON DELETE SET DEFAULT ON UPDATE SET DEFAULT").replace(
            "a int REF", "a int DEFAULT 3 REF"
        ),
        rows=THREE + "INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3)",
        receiver=HAS_MANY.replace("a int", "a int DEFAULT 3").replace("CASCADE", "SET DEFAULT"),
        own=WRITE_NOTES,
        steps=(
            partial(swap("u"), finds=[BOTH_NOTES]),
            complete(swap("u", "b", "a"), deletes={}, finds=[BOTH_NOTES]),
        ),
    ),
    Situation(
        "ring_of_ten",
        with_children("ON DELETE CASCADE"),
        rows=values(12) + "INSERT INTO t_b SELECT id, id FROM t_a",
        receiver=HAS_MANY,
        own="INSERT INTO own (a, note) SELECT id, u FROM t_a",
        steps=(
            partial(rotate(3), finds=[ask("SELECT count(*) FROM own", (12,))]),
            partial(rotate(10), finds=[ask("SELECT count(*) FROM own", (12,))]),
            complete(rotate(11), deletes={}, finds=[ask("SELECT count(*) FROM own", (12,))]),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "chain_of_a_thousand",
        "CREATE TABLE t_a (id int PRIMARY KEY, u int NOT NULL UNIQUE)",
        rows="INSERT INTO t_a SELECT n, n FROM generate_series(1, 1000) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = -u; UPDATE t_a SET u = 1 - u",
                finds=[BOTH_NOTES, ask("SELECT min(u), max(u) FROM t_a", (2, 1001))],
            ),
            complete("UPDATE t_a SET u = -u; UPDATE t_a SET u = -1 - u", deletes={}),
            partial("UPDATE t_a SET u = -u; UPDATE t_a SET u = 1001 + u", finds=[BOTH_NOTES]),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "two_unique_columns_in_opposite_rings",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE, w text NOT NULL UNIQUE)",
        rows="INSERT INTO t_a SELECT n, 'v' || n, 'w' || n FROM generate_series(1, 5) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 'x' || u, w = 'x' || w;"
                "UPDATE t_a SET u = 'v' || 1 + id % 5, w = 'w' || 1 + (id + 3) % 5",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET w = 'x' || w; UPDATE t_a SET w = 'w' || id",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
    Situation(
        "multi_column_key_exchanges_one_half",
        "CREATE TABLE t_a (id int PRIMARY KEY, list int NOT NULL, place int NOT NULL,"
        " UNIQUE (list, place))",
        rows="INSERT INTO t_a SELECT n, n % 3, n / 3 FROM generate_series(1, 30) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            # acts_as_list: to the top, to the bottom, into another list.
            partial(
                "UPDATE t_a SET place = place + 1000 WHERE list = 1;"
                "UPDATE t_a SET place = CASE place WHEN 1007 THEN 0 ELSE place - 999 END"
                " WHERE list = 1",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET list = list + 10; UPDATE t_a SET list = (list - 9) % 3",
                finds=[BOTH_NOTES],
            ),
            complete(
                "UPDATE t_a SET place = -1 - place; UPDATE t_a SET place = 20 + place",
                deletes={},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "two_booleans_change_places",
        "CREATE TABLE t_a (id int PRIMARY KEY, u boolean NOT NULL UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, true), (2, false)",
        receiver="ALTER TABLE t_a ADD seen int;" + HAS_MANY,
        own="UPDATE t_a SET seen = id;" + WRITE_NOTES,
        steps=(
            partial(
                "DELETE FROM t_a; INSERT INTO t_a VALUES (1, false), (2, true)",
                may_wait={Mode.LEAST: ["t_a_u_key"], Mode.REPLICA: ["t_a_u_key"]},
                finds=[BOTH_NOTES, ask("SELECT id, seen FROM t_a ORDER BY 1", (1, 1), (2, 2))],
            ),
            complete(
                "DELETE FROM t_a; INSERT INTO t_a VALUES (1, true), (2, false)",
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "all_labels_of_an_enum_change_places",
        "CREATE TYPE mood AS ENUM ('low', 'mid', 'high');"
        "CREATE TABLE t_a (id int PRIMARY KEY, u mood NOT NULL UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 'low'), (2, 'mid'), (3, 'high')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "DELETE FROM t_a; INSERT INTO t_a VALUES (1, 'mid'), (2, 'high'), (3, 'low')",
                may_wait={Mode.LEAST: ["t_a_u_key"], Mode.REPLICA: ["t_a_u_key"]},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "all_values_of_a_small_domain_change_places",
        "CREATE DOMAIN digit AS smallint CHECK (VALUE IN (1, 2));"
        "CREATE TABLE t_a (id int PRIMARY KEY, u digit NOT NULL UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2); INSERT INTO t_b VALUES (1, 1), (2, 2)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "DELETE FROM t_a; INSERT INTO t_a VALUES (1, 2), (2, 1);"
                "INSERT INTO t_b VALUES (1, 1), (2, 2)",
                may_wait={Mode.LEAST: ["t_a_u_key"], Mode.REPLICA: ["t_a_u_key"]},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "one_letter_each",
        "CREATE TABLE t_a (id int PRIMARY KEY, u char(1) NOT NULL UNIQUE CHECK (u ~ '[a-c]'))",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            # Only 'c' is free, and then nothing is.
            partial(swap("u").replace("zz", "c"), finds=[BOTH_NOTES]),
            partial("INSERT INTO t_a VALUES (3, 'c')"),
            partial(
                "DELETE FROM t_a; INSERT INTO t_a VALUES (1, 'c'), (2, 'a'), (3, 'b')",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
    Situation(
        "check_between_columns_forbids_a_value_of_nobody",
        "CREATE TABLE t_a (id int PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('a', 'b')),"
        " u text NOT NULL UNIQUE, CHECK (left(u, 1) = kind AND u ~ '^[ab][0-9]$'))",
        rows="INSERT INTO t_a VALUES (1, 'a', 'a1'), (2, 'b', 'b1'), (3, 'a', 'a2')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 'a9' WHERE id = 1; UPDATE t_a SET u = 'a1' WHERE id = 3;"
                "UPDATE t_a SET u = 'a2' WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET u = 'a9' WHERE id = 1; UPDATE t_a SET kind = 'a', u = 'a2'"
                " WHERE id = 2; UPDATE t_a SET kind = 'b', u = 'b1' WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "one_to_one_partners_are_exchanged",
        "CREATE TABLE t_a (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL UNIQUE REFERENCES t_a"
        " ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1), (2), (3); INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3)",
        receiver="CREATE TABLE own (b int REFERENCES t_b ON DELETE CASCADE, note text)",
        own="INSERT INTO own VALUES (1, 'on 1'), (2, 'on 2')",
        steps=(
            # No value of nobody exists: all parents have their child.
            partial(
                "DELETE FROM t_b; INSERT INTO t_b VALUES (1, 2), (2, 1), (3, 3)",
                may_wait={Mode.LEAST: ["t_b_a_key"]},
                finds=[ask("SELECT b, note FROM own ORDER BY b", (1, "on 1"), (2, "on 2"))],
            ),
            partial(
                "DELETE FROM t_b WHERE id = 3; UPDATE t_b SET a = 3 WHERE id = 1;"
                "INSERT INTO t_b VALUES (4, 2)",
                deletes={"t_b": 1},
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "one_to_one_by_the_primary_key",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY REFERENCES t_a ON DELETE CASCADE,"
        " u text NOT NULL UNIQUE)",
        rows=THREE + "INSERT INTO t_b SELECT id, u FROM t_a",
        receiver=HAS_MANY.replace("t_a", "t_b"),
        own=WRITE_NOTES,
        steps=(
            partial(swap("u") + swap("u", table="t_b"), finds=[BOTH_NOTES]),
            complete(swap("u", "b", "a") + swap("u", "b", "a", table="t_b"), deletes={}),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "ring_through_a_deleted_and_a_new_row",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL REFERENCES t_a)",
        rows=values(6) + "INSERT INTO t_b VALUES (1, 1), (2, 2)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            # 6 is gone, 5 takes its value, 4 that of 5, a new one that of 4.
            partial(
                "DELETE FROM t_a WHERE id = 6; UPDATE t_a SET u = 'v6' WHERE id = 5;"
                "UPDATE t_a SET u = 'v5' WHERE id = 4; INSERT INTO t_a VALUES (7, 'v4')",
                deletes={"t_a": 1},
                finds=[BOTH_NOTES],
            ),
            complete(
                "DELETE FROM t_a WHERE id = 7; UPDATE t_a SET u = 'v4' WHERE id = 1;"
                "INSERT INTO t_a VALUES (8, 'v1'), (9, 'v9')",
                finds=[BOTH_NOTES],
            ),
            # A row that is gone may have children that are gone, too.
            partial(
                "DELETE FROM t_b WHERE id = 1; DELETE FROM t_a WHERE id = 1;"
                "UPDATE t_a SET u = 'v4' WHERE id = 9",
                deletes={"t_a": 1, "t_b": 1},
                finds=[ask("SELECT a, note FROM own WHERE a IS NOT NULL", (2, "on 2"))],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "numbers_that_are_equal_but_not_the_same_change_places",
        "CREATE TABLE t_a (id int PRIMARY KEY, u numeric NOT NULL UNIQUE, f float8 UNIQUE,"
        " d interval UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 1.0, '-0', '24:00'), (2, 2.0, 5, '1 mon')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 9, f = 9, d = '9 s' WHERE id = 1;"
                "UPDATE t_a SET u = 1.00, f = 0, d = '1 day' WHERE id = 2;"
                "UPDATE t_a SET u = 2.000, f = 5, d = '30 days' WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            # In place: nothing moves but the looks.
            complete(
                "UPDATE t_a SET u = 1.0, f = '-0', d = '24:00' WHERE id = 2",
                deletes={},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "prices_change_places",
        "CREATE TABLE t_a (id int PRIMARY KEY, u money NOT NULL UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, '1'), (2, '2')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(swap("u", "1", "2").replace("'zz'", "'9'"), finds=[BOTH_NOTES]),
            complete(swap("u", "2", "1").replace("'zz'", "'9'"), finds=[BOTH_NOTES]),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "object_ids_for_which_no_placeholder_is_computed_change_places",
        "CREATE TABLE t_a (id int PRIMARY KEY, u oid NOT NULL UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                swap("u", "1", "2").replace("'zz'", "'9'"),
                may_wait={Mode.LEAST: ["t_a_u_key", "no temporary value"]},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
)


@pytest.mark.long
@cases(SWAPS)
def test_unique_values_move_without_a_deletion(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
