"""Rows that refer to themselves and to each other: trees, pairs and circles."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.exchanged_values import (
    BOTH_NOTES,
    HAS_MANY,
    THREE,
    WRITE_NOTES,
    swap,
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

TWO = (Mode.SUPERUSER, Mode.LEAST)
UNCHECKED = "SET LOCAL session_replication_role = replica;"
NOT_VALID_IS_CHECKED = {Mode.LEAST: ["t_b_a_fkey is NOT VALID", "GRANT SET ON PARAMETER"]}
SIX_OWN = ask("SELECT count(*) FROM t_b WHERE own = 'own ' || id", (6,))


def add_unchecked(action: str) -> str:
    return f"ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a {action} NOT VALID"


SELVES = (
    Situation(
        "S10_new_parent_and_swapped_names",
        "CREATE TABLE t_a (id int PRIMARY KEY, parent int REFERENCES t_a, name text UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "INSERT INTO t_a VALUES (10, NULL, 'j'); UPDATE t_a SET parent = 10"
                " WHERE id = 1;" + swap("name"),
                finds=[BOTH_NOTES],
            ),
            # The tree is turned round, and its root goes.
            partial(
                "UPDATE t_a SET parent = NULL WHERE id = 1; UPDATE t_a SET parent = 3"
                " WHERE id = 10; UPDATE t_a SET parent = 1 WHERE id = 3;" + swap("name", "b", "a"),
                finds=[BOTH_NOTES],
            ),
            complete(
                "UPDATE t_a SET parent = 3 WHERE parent = 10; DELETE FROM t_a WHERE id = 10",
                deletes={"t_a": 1},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
    *(
        Situation(
            f"tree_under_{action.lower().replace(' ', '_')}",
            "CREATE TABLE t_a (id int PRIMARY KEY, parent int DEFAULT 1 REFERENCES t_a"
            f" ON DELETE {action}, name text UNIQUE)",
            rows="INSERT INTO t_a SELECT n, nullif(n / 2, 0), 'v' || n"
            " FROM generate_series(1, 15) n",
            receiver=HAS_MANY,
            own="INSERT INTO own (a, note) SELECT id, name FROM t_a",
            steps=(
                partial(
                    "UPDATE t_a SET name = 'x' || name; UPDATE t_a SET name = 'v' || 16 - id",
                    finds=[ask("SELECT count(*) FROM own", (15,))],
                ),
                # A branch moves to another parent, and its old parent is deleted.
                complete(
                    "UPDATE t_a SET parent = 3 WHERE parent = 2; DELETE FROM t_a WHERE id = 2",
                    deletes={"t_a": 1},
                    finds=[ask("SELECT count(*) FROM own WHERE a IS NOT NULL", (14,))],
                ),
                # A row of the middle gives its name to a child, which moves up.
                partial(
                    "UPDATE t_a SET parent = 1 WHERE parent = 3; DELETE FROM t_a WHERE id = 3;"
                    "UPDATE t_a SET name = 'v13' WHERE id = 6",
                    deletes={"t_a": 1},
                    finds=[ask("SELECT count(*) FROM own WHERE a IS NOT NULL", (13,))],
                ),
            ),
            modes=TWO if action == "CASCADE" else (Mode.SUPERUSER,),
        )
        for action in ("CASCADE", "SET NULL", "NO ACTION", "RESTRICT")
    ),
    Situation(
        "long_list_of_new_rows_each_the_parent_of_the_one_before",
        "CREATE TABLE t_a (id int PRIMARY KEY, parent int REFERENCES t_a)",
        rows="INSERT INTO t_a VALUES (0, NULL)",
        steps=(
            partial(
                "INSERT INTO t_a VALUES (200, NULL); INSERT INTO t_a SELECT n, n + 1 FROM"
                " generate_series(199, 1, -1) n"
            ),
            complete(
                "UPDATE t_a SET parent = NULL; DELETE FROM t_a WHERE id BETWEEN 50 AND 99;"
                "UPDATE t_a SET parent = id - 1 WHERE id > 100"
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "row_that_is_its_own_parent",
        "CREATE TABLE t_a (id int PRIMARY KEY, parent int NOT NULL REFERENCES t_a, u text UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 1, 'c')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "INSERT INTO t_a VALUES (4, 4, 'd'); UPDATE t_a SET parent = 4 WHERE id = 1;"
                + swap("u"),
                finds=[BOTH_NOTES],
            ),
            complete(
                "UPDATE t_a SET parent = 2; DELETE FROM t_a WHERE id IN (3, 4)",
                deletes={"t_a": 2},
                finds=[BOTH_NOTES],
            ),
            # Two new rows that are each other's parent, made in one statement.
            partial("INSERT INTO t_a VALUES (5, 6, 'e'), (6, 5, 'f')"),
        ),
        modes=TWO,
    ),
)

PAIR = (
    "CREATE TABLE t_a (id int PRIMARY KEY, b int {null});"
    "CREATE TABLE t_b (id int PRIMARY KEY, a int {null} REFERENCES t_a {action});"
    "ALTER TABLE t_a ADD FOREIGN KEY (b) REFERENCES t_b {action};"
)

CYCLES = (
    *(
        Situation(
            f"S11_pair_of_tables_{action.lower().replace(' ', '_') or 'plain'}",
            PAIR.format(null="", action=action),
            rows="INSERT INTO t_a VALUES (1, NULL); INSERT INTO t_b VALUES (1, 1);"
            "UPDATE t_a SET b = 1",
            steps=(
                partial(
                    "INSERT INTO t_a VALUES (2, NULL); INSERT INTO t_b VALUES (2, 2);"
                    "UPDATE t_a SET b = 2 WHERE id = 2"
                ),
                partial("UPDATE t_a SET b = 3 - b; UPDATE t_b SET a = 3 - a"),
                complete(
                    "INSERT INTO t_b VALUES (3, 1); UPDATE t_a SET b = 3; UPDATE t_b SET"
                    " a = 1; DELETE FROM t_a WHERE id = 2; DELETE FROM t_b WHERE id < 3",
                    deletes={"t_a": 1, "t_b": 2},
                ),
                complete("UPDATE t_a SET b = NULL; DELETE FROM t_b; DELETE FROM t_a"),
            ),
            modes=EVERY_MODE if not action else (Mode.SUPERUSER,),
        )
        for action in ("", "ON DELETE CASCADE", "ON DELETE SET NULL", "DEFERRABLE")
    ),
    Situation(
        "S11_pair_that_may_not_be_null",
        # One statement can write both at the sender; each row needs the other first.
        PAIR.format(null="NOT NULL", action=""),
        rows="WITH a AS (INSERT INTO t_a VALUES (1, 1)) INSERT INTO t_b VALUES (1, 1)",
        first_may_wait={Mode.LEAST: ["t_a_b_fkey"]},
        steps=(
            partial(
                "WITH a AS (INSERT INTO t_a VALUES (2, 2)) INSERT INTO t_b VALUES (2, 2)",
                may_wait={Mode.LEAST: ["fkey"]},
            ),
            complete(
                "WITH a AS (DELETE FROM t_a WHERE id = 1) DELETE FROM t_b WHERE id = 1",
                may_wait={Mode.LEAST: ["fkey"]},
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "three_tables_in_a_circle_with_a_tail",
        "CREATE TABLE t_a (id int PRIMARY KEY, b int, u text NOT NULL UNIQUE);"
        "CREATE TABLE t_c (id int PRIMARY KEY, a int REFERENCES t_a);"
        "CREATE TABLE t_b (id int PRIMARY KEY, c int REFERENCES t_c);"
        "ALTER TABLE t_a ADD FOREIGN KEY (b) REFERENCES t_b;"
        "CREATE TABLE t_d (id int PRIMARY KEY, b int NOT NULL REFERENCES t_b ON DELETE CASCADE)",
        rows="INSERT INTO t_a SELECT n, NULL, 'v' || n FROM generate_series(1, 4) n;"
        "INSERT INTO t_c SELECT n, n FROM generate_series(1, 4) n;"
        "INSERT INTO t_b SELECT n, n FROM generate_series(1, 4) n;"
        "UPDATE t_a SET b = 5 - id; INSERT INTO t_d SELECT id, id FROM t_b",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 'x' || u; UPDATE t_a SET u = 'v' || 5 - id, b = id",
                finds=[BOTH_NOTES],
            ),
            partial(
                "INSERT INTO t_a VALUES (7, NULL, 'v7'); INSERT INTO t_c VALUES (7, 7);"
                "INSERT INTO t_b VALUES (7, 7); UPDATE t_a SET b = 7; UPDATE t_d SET b = 7"
            ),
            complete(
                "UPDATE t_b SET c = 7; DELETE FROM t_b WHERE id < 7; UPDATE t_c SET a = 1",
                deletes={"t_b": 4},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "rows_move_away_from_a_deleted_parent",
        "CREATE TABLE t_a (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL REFERENCES t_a ON DELETE CASCADE);"
        "CREATE TABLE t_c (id int PRIMARY KEY, b int NOT NULL REFERENCES t_b ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1), (2); INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 1);"
        "INSERT INTO t_c SELECT id, id FROM t_b",
        receiver="CREATE TABLE own (a int REFERENCES t_b ON DELETE CASCADE, note text)",
        own=WRITE_NOTES,
        steps=(
            complete(
                "UPDATE t_b SET a = 2 WHERE id = 1; DELETE FROM t_a WHERE id = 1",
                deletes={"t_a": 1, "t_b": 1, "t_c": 1},
                finds=[BOTH_NOTES],
            ),
            # To a parent that is new, from one that goes.
            complete(
                "INSERT INTO t_a VALUES (9); UPDATE t_b SET a = 9; DELETE FROM t_a WHERE id = 2",
                deletes={"t_a": 1},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "own_rows_of_own_rows_follow_deep",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)",
        rows=THREE,
        receiver=HAS_MANY + "; CREATE TABLE own_deeper (own int NOT NULL REFERENCES own"
        " ON DELETE CASCADE, note text)",
        own=WRITE_NOTES + "; INSERT INTO own_deeper SELECT id, note FROM own",
        steps=(
            partial(
                swap("u"),
                finds=[
                    BOTH_NOTES,
                    ask("SELECT note FROM own_deeper ORDER BY 1", ("on 1",), ("on 2",)),
                ],
            ),
            complete(
                "DELETE FROM t_a WHERE id = 2",
                deletes={"t_a": 1},
                finds=[
                    ask("SELECT a FROM own WHERE a IS NOT NULL", (1,)),
                ],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "reference_that_is_dropped_at_the_sender_first",
        "CREATE TABLE t_a (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a);"
        "CREATE TABLE t_c (id int PRIMARY KEY)",
        rows="INSERT INTO t_a VALUES (1); INSERT INTO t_b VALUES (1, 1)",
        steps=(
            partial(
                "ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey; INSERT INTO t_b VALUES (2, 77);"
                "INSERT INTO t_c VALUES (5)",
                waits_for=["t_b_a_fkey"],
                then="ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey",
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "reference_that_was_never_checked",
        "CREATE TABLE t_a (id int PRIMARY KEY); CREATE TABLE t_b (id int PRIMARY KEY, a int);"
        "INSERT INTO t_a VALUES (1); INSERT INTO t_b VALUES (1, 1), (2, 404);"
        "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a NOT VALID",
        steps=(
            # The orphan is as old as the server; nothing about it changes.
            partial("INSERT INTO t_b VALUES (3, 1)"),
            complete("DELETE FROM t_b WHERE id = 1", deletes={"t_b": 1}),
        ),
        modes=TWO,
    ),
    Situation(
        "orphan_of_a_reference_that_was_never_checked_changes",
        "CREATE TABLE t_a (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int, v int);"
        "INSERT INTO t_a VALUES (1), (2); INSERT INTO t_b VALUES (1, 1), (2, 404), (3, 2);"
        "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a NOT VALID",
        steps=(
            partial("UPDATE t_b SET v = 1 WHERE id = 2"),
            partial("UPDATE t_b SET v = 2; INSERT INTO t_b VALUES (4, 1, 1)"),
            complete(
                "DELETE FROM t_b WHERE id = 3; DELETE FROM t_a WHERE id = 2;"
                "UPDATE t_b SET v = 3 WHERE id = 2",
                deletes={"t_a": 1, "t_b": 1},
            ),
        ),
        modes=EVERY_MODE,
    ),
    *(
        Situation(
            f"reference_is_added_after_its_parents_have_gone_{action.lower().replace(' ', '_')}",
            "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
            "CREATE TABLE t_b (id int PRIMARY KEY, a int, v int)",
            rows="INSERT INTO t_a SELECT n, 'u' || n FROM generate_series(1, 6) n;"
            "INSERT INTO t_b SELECT n, n, 0 FROM generate_series(1, 6) n",
            receiver="ALTER TABLE t_b ADD own text",
            own="UPDATE t_b SET own = 'own ' || id",
            rules={"t_b": {"receiver_columns": ["own"]}},
            steps=(
                # Their children keep what people set at the receiver.
                partial(
                    "DELETE FROM t_a WHERE id = 2; UPDATE t_a SET u = 'u2' WHERE id = 3;"
                    + add_unchecked(action),
                    receiver=add_unchecked(action),
                    deletes={"t_a": 1},
                    may_wait=NOT_VALID_IS_CHECKED,
                    finds=[SIX_OWN],
                ),
                partial(
                    UNCHECKED + "DELETE FROM t_a WHERE id = 4; UPDATE t_a SET u = 'u4'"
                    " WHERE id = 3",
                    deletes={"t_a": 1},
                    finds=[SIX_OWN],
                ),
                complete(
                    UNCHECKED + "DELETE FROM t_a WHERE id = 5; UPDATE t_b SET v = 1;"
                    "UPDATE t_b SET a = 1 WHERE id = 2",
                    deletes={"t_a": 1},
                    finds=[SIX_OWN],
                ),
                complete(
                    UNCHECKED + "DELETE FROM t_a WHERE id = 6",
                    deletes={"t_a": 1},
                    finds=[SIX_OWN],
                ),
                complete("DELETE FROM t_b WHERE id IN (4, 6)", deletes={"t_b": 2}),
            ),
            modes=modes,
        )
        for action, modes in (
            ("", EVERY_MODE),
            ("ON DELETE CASCADE", EVERY_MODE),
            ("ON DELETE SET NULL", (Mode.LEAST,)),
        )
    ),
    Situation(
        "reference_that_was_never_checked_acts_on_no_row_that_moves_or_goes",
        "CREATE TABLE t_a (id int PRIMARY KEY); CREATE TABLE t_b (id int PRIMARY KEY, a int);"
        "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a ON DELETE CASCADE NOT VALID",
        rows="INSERT INTO t_a VALUES (1), (2); INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 2)",
        steps=(
            complete(
                "UPDATE t_b SET a = 1 WHERE id = 2; DELETE FROM t_a WHERE id = 2",
                deletes={"t_a": 1, "t_b": 1},
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "orphan_that_only_the_sender_has_had",
        "CREATE TABLE t_a (id int PRIMARY KEY); CREATE TABLE t_b (id int PRIMARY KEY, a int);"
        "INSERT INTO t_b VALUES (1); ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a NOT VALID",
        rows="ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey; INSERT INTO t_b VALUES (2, 404);"
        "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a NOT VALID",
        first_may_wait={Mode.LEAST: ["t_b_a_fkey is NOT VALID", "GRANT SET ON PARAMETER"]},
        steps=(partial("INSERT INTO t_a VALUES (404)"),),
        modes=EVERY_MODE,
    ),
    Situation(
        "two_references_to_one_parent",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL REFERENCES t_a ON DELETE CASCADE,"
        " other int REFERENCES t_a ON DELETE SET NULL, by_name text REFERENCES t_a (u)"
        " ON UPDATE CASCADE ON DELETE SET NULL)",
        rows=THREE + "INSERT INTO t_b VALUES (1, 1, 2, 'c'), (2, 2, 3, 'a'), (3, 3, 1, 'b')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(swap("u"), finds=[BOTH_NOTES]),
            partial(
                "UPDATE t_b SET a = 1 WHERE a = 3; DELETE FROM t_a WHERE id = 3;"
                "INSERT INTO t_a VALUES (4, 'c')",
                deletes={"t_a": 1},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "swap_across_two_tables",
        # Each row's unique value is the id of a row of the other table.
        "CREATE TABLE t_a (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL UNIQUE REFERENCES t_a);"
        "CREATE TABLE t_c (id int PRIMARY KEY, a int NOT NULL REFERENCES t_b (a)"
        " ON UPDATE CASCADE ON DELETE CASCADE)",
        rows="INSERT INTO t_a VALUES (1), (2), (3); INSERT INTO t_b VALUES (1, 1), (2, 2);"
        "INSERT INTO t_c VALUES (1, 1), (2, 2)",
        receiver="CREATE TABLE own (a int REFERENCES t_c ON DELETE CASCADE, note text)",
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_b SET a = 3 WHERE id = 1; UPDATE t_b SET a = 1 WHERE id = 2;"
                "UPDATE t_b SET a = 2 WHERE id = 1",
                may_wait={Mode.LEAST: ["fkey"]},
                finds=[BOTH_NOTES],
            ),
            complete(
                "UPDATE t_b SET a = 3 WHERE id = 1; DELETE FROM t_c WHERE id = 2;"
                "INSERT INTO t_c VALUES (2, 3)",
                deletes={},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
)


@pytest.mark.long
@cases(SELVES)
def test_trees_move_and_lose_their_roots(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(CYCLES)
def test_rows_that_need_each_other_arrive_together(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
