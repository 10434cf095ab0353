"""What refers to what the receiver alone has: it follows its own rules, however far down."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

TWO = (Mode.SUPERUSER, Mode.LEAST)
SIX = "INSERT INTO t_a SELECT n, 'u' || n FROM generate_series(1, 6) n"
A = "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)"
RENAME = "UPDATE t_a SET u = 'new' WHERE id = 2"
NAMES_OWN = {Mode.SUPERUSER: ["own"], Mode.LEAST: ["own"]}

TWO_LEVELS = (
    Situation(
        "cascade_over_two_levels",
        A,
        rows=SIX,
        receiver="CREATE TABLE own1 (u text PRIMARY KEY REFERENCES t_a (u) ON UPDATE CASCADE);"
        "CREATE TABLE own2 (id int PRIMARY KEY, u text REFERENCES own1 ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES ('u2'), ('u3'); INSERT INTO own2 VALUES (1, 'u2')",
        steps=(partial(RENAME, finds=[ask("SELECT u FROM own2", ("new",))]),),
        modes=TWO,
    ),
    Situation(
        "second_level_without_an_action",
        A,
        rows=SIX,
        receiver="CREATE TABLE own1 (u text PRIMARY KEY REFERENCES t_a (u) ON UPDATE CASCADE);"
        "CREATE TABLE own2 (id int PRIMARY KEY, u text REFERENCES own1)",
        own="INSERT INTO own1 VALUES ('u2'), ('u3'); INSERT INTO own2 VALUES (1, 'u2')",
        steps=(
            partial(
                RENAME,
                may_wait=NAMES_OWN,
                finds=[ask("SELECT count(*) FROM own2 JOIN own1 USING (u)", (1,))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "deleted_parent_of_a_parent",
        "CREATE TABLE t_a (id int PRIMARY KEY)",
        rows="INSERT INTO t_a VALUES (1), (2)",
        receiver="CREATE TABLE own1 (a int UNIQUE REFERENCES t_a ON DELETE SET NULL);"
        "CREATE TABLE own2 (id int PRIMARY KEY, a int REFERENCES own1 (a) ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES (1), (2); INSERT INTO own2 VALUES (1, 1), (2, 2)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id = 1",
                finds=[ask("SELECT id, a FROM own2 ORDER BY id", (1, None), (2, 2))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "row_of_the_sender_may_not_lose_its_own_parent",
        A + "; CREATE TABLE t_b (id int PRIMARY KEY)",
        rows=SIX + "; INSERT INTO t_b VALUES (4), (5)",
        receiver="ALTER TABLE t_b ADD owner int NOT NULL DEFAULT 1 REFERENCES t_a",
        own="UPDATE t_b SET owner = 2 WHERE id = 5",
        rules={"t_b": {"receiver_columns": ["owner"]}},
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 2; INSERT INTO t_a VALUES (9, 'u2')",
                deletes={"t_a": 1},
                waits_for=["t_b", "owner cannot become NULL"],
                meanwhile=[ask("SELECT owner FROM t_b ORDER BY id", (1,), (2,))],
                then="ALTER TABLE t_b ALTER owner DROP NOT NULL",
                finds=[ask("SELECT owner FROM t_b ORDER BY id", (1,), (None,))],
            ),
            complete(
                "DELETE FROM t_a WHERE id = 1",
                waits_for=["t_b", "owner cannot become NULL"],
                receiver="UPDATE t_b SET owner = 3 WHERE owner IS NULL;"
                "ALTER TABLE t_b ALTER owner SET NOT NULL",
                then="UPDATE t_b SET owner = 4 WHERE owner = 1",
                finds=[ask("SELECT owner FROM t_b ORDER BY id", (4,), (3,))],
            ),
            complete("DELETE FROM t_a WHERE id = 4; DELETE FROM t_b WHERE id = 4"),
        ),
        modes=TWO,
    ),
    Situation(
        "row_of_the_sender_goes_with_its_parent_whatever_else_refers_to_it",
        A + "; CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL REFERENCES t_a)"
        "; CREATE TABLE t_c (id int PRIMARY KEY, b int NOT NULL REFERENCES t_b)",
        rows=SIX + "; INSERT INTO t_b VALUES (4, 1), (5, 2); INSERT INTO t_c VALUES (6, 5)",
        receiver="ALTER TABLE t_b ADD owner int NOT NULL DEFAULT 1"
        " CONSTRAINT a_first_fkey REFERENCES t_a;"
        "ALTER TABLE t_c ADD owner int NOT NULL DEFAULT 1 CONSTRAINT a_first_fkey REFERENCES t_a",
        own="UPDATE t_b SET owner = 2 WHERE id = 5; UPDATE t_c SET owner = 2",
        rules={name: {"receiver_columns": ["owner"]} for name in ("t_b", "t_c")},
        steps=(
            partial(
                "DELETE FROM t_c; DELETE FROM t_b WHERE id = 5; DELETE FROM t_a WHERE id = 2;"
                "INSERT INTO t_a VALUES (9, 'u2')",
                deletes={"t_a": 1, "t_b": 1, "t_c": 1},
                finds=[ask("SELECT id, owner FROM t_b", (4, 1))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "own_rows_without_a_key_refer_to_a_deleted_row",
        A,
        rows=SIX,
        receiver="CREATE TABLE own (a int REFERENCES t_a ON DELETE SET NULL)",
        own="INSERT INTO own VALUES (1), (1), (2)",
        steps=(
            complete("DELETE FROM t_a WHERE id = 1"),
            partial(
                "UPDATE t_a SET u = 'new' WHERE id = 3",
                finds=[ask("SELECT a FROM own ORDER BY a", (2,), (None,), (None,))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "receiver_only_column_is_referenced",
        A,
        rows=SIX,
        receiver="ALTER TABLE t_a ADD fav text UNIQUE REFERENCES t_a (u) ON UPDATE CASCADE;"
        "CREATE TABLE own2 (id int PRIMARY KEY, u text REFERENCES t_a (fav) ON UPDATE CASCADE)",
        own="UPDATE t_a SET fav = u WHERE id IN (2, 3); INSERT INTO own2 VALUES (1, 'u2')",
        steps=(
            partial(
                RENAME,
                may_wait=NAMES_OWN,
                finds=[ask("SELECT count(*) FROM own2 JOIN t_a ON fav = own2.u", (1,))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "cleared_column_is_referenced",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int)",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2)",
        receiver="ALTER TABLE t_a ADD code text UNIQUE;"
        "CREATE TABLE own1 (id int PRIMARY KEY, code text REFERENCES t_a (code))",
        own="UPDATE t_a SET code = 'c' || id; INSERT INTO own1 VALUES (1, 'c1'), (2, 'c2')",
        steps=(
            partial(
                "UPDATE t_a SET v = 9 WHERE id = 1",
                may_wait=NAMES_OWN,
                finds=[ask("SELECT count(*) FROM own1 JOIN t_a USING (code)", (2,))],
            ),
        ),
        modes=TWO,
        rules={"t_a": {"receiver_columns": ["code"], "clear_on_change": ["code"]}},
    ),
)

FOLLOWERS = (
    Situation(
        "chain_carries_its_followers_along",
        A,
        rows=SIX,
        receiver="CREATE TABLE own1 (id int PRIMARY KEY,"
        " u text REFERENCES t_a (u) ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES (1, 'u2'), (2, 'u3')",
        steps=(
            partial(
                f"{RENAME}; UPDATE t_a SET u = 'u2' WHERE id = 3",
                finds=[ask("SELECT u FROM own1 ORDER BY id", ("new",), ("u2",))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "both_columns_of_a_reference_follow",
        "CREATE TABLE t_a (id int PRIMARY KEY, x int, y int, UNIQUE (x, y))",
        rows="INSERT INTO t_a VALUES (1, 1, 1), (2, 2, 2)",
        receiver="CREATE TABLE own1 (id int PRIMARY KEY, x int, y int,"
        " FOREIGN KEY (x, y) REFERENCES t_a (x, y) ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES (1, 1, 1), (2, 2, 2)",
        steps=(
            partial(
                "UPDATE t_a SET y = 9 WHERE id = 1; UPDATE t_a SET x = 1, y = 1 WHERE id = 2;"
                "UPDATE t_a SET x = 2, y = 2 WHERE id = 1",
                finds=[ask("SELECT x, y FROM own1 ORDER BY id", (2, 2), (1, 1))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "only_the_named_column_becomes_null",
        "CREATE TABLE t_p (id int PRIMARY KEY);"
        "CREATE TABLE t_a (p int REFERENCES t_p, n int, PRIMARY KEY (p, n))",
        rows="INSERT INTO t_p VALUES (1), (2); INSERT INTO t_a VALUES (1, 1), (1, 2), (2, 1)",
        receiver="CREATE TABLE own1 (id int PRIMARY KEY, p int REFERENCES t_p, n int,"
        " FOREIGN KEY (p, n) REFERENCES t_a ON DELETE SET NULL (n))",
        own="INSERT INTO own1 VALUES (1, 1, 1), (2, 1, 2)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE n = 2",
                finds=[ask("SELECT p, n FROM own1 ORDER BY id", (1, 1), (1, None))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "match_full_is_verified",
        "CREATE TABLE t_a (id int PRIMARY KEY, x int, y int, UNIQUE (x, y))",
        rows="INSERT INTO t_a VALUES (1, 1, 1)",
        receiver="CREATE TABLE own1 (id int PRIMARY KEY, x int, y int, FOREIGN KEY (x, y)"
        " REFERENCES t_a (x, y) MATCH FULL ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES (1, 1, 1)",
        steps=(
            partial(
                "UPDATE t_a SET y = NULL WHERE id = 1",
                may_wait=NAMES_OWN,
                finds=[ask("SELECT x, y FROM own1", (1, 1))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "followers_are_unique_too",
        A,
        rows=SIX,
        receiver="CREATE TABLE own1 (id int PRIMARY KEY,"
        " u text UNIQUE NOT NULL REFERENCES t_a (u) ON UPDATE CASCADE)",
        own="INSERT INTO own1 VALUES (1, 'u2'), (2, 'u3')",
        steps=(
            partial(
                "UPDATE t_a SET u = 'x' WHERE id = 2; UPDATE t_a SET u = 'u2' WHERE id = 3;"
                "UPDATE t_a SET u = 'u3' WHERE id = 2",
                may_wait={Mode.SUPERUSER: ["own1_u_key", "DEFERRABLE"]},
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "equal_keys_of_other_bytes_are_not_overwritten",
        "CREATE TABLE t_a (k numeric PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, k numeric REFERENCES t_a ON UPDATE CASCADE)",
        rows="INSERT INTO t_a VALUES (1.0); INSERT INTO t_b VALUES (1, 1.00)",
        steps=(partial("UPDATE t_a SET k = 1.000; UPDATE t_b SET k = 1.0"),),
        modes=TWO,
    ),
    Situation(
        "reference_that_must_not_become_null",
        "CREATE TABLE t_a (id int PRIMARY KEY)",
        rows="INSERT INTO t_a VALUES (1), (2)",
        receiver="CREATE TABLE own1 (id int PRIMARY KEY,"
        " a int REFERENCES t_a ON DELETE CASCADE CHECK (a IS NOT NULL))",
        own="INSERT INTO own1 VALUES (1, 1)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id = 1",
                waits_for=["own1_a_check", "delete these rows"],
                then="DELETE FROM own1",
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "foreign_keys_of_one_name",
        A + "; CREATE TABLE t_b (id int PRIMARY KEY, u text UNIQUE)",
        rows=SIX + ";INSERT INTO t_b SELECT id, u FROM t_a",
        receiver="CREATE TABLE own1 (id int PRIMARY KEY, u text CONSTRAINT held"
        " REFERENCES t_a (u)); CREATE TABLE own2 (id int PRIMARY KEY, u text CONSTRAINT held"
        " REFERENCES t_b (u))",
        own="INSERT INTO own1 VALUES (1, 'u1'); INSERT INTO own2 VALUES (1, 'u2')",
        steps=(
            partial(
                "UPDATE t_b SET u = 'new' WHERE id = 2",
                waits_for=["rows of own2 refer by held"],
                then="DELETE FROM own2",
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "remedy_for_a_reference_without_an_action_is_true",
        A,
        rows=SIX,
        receiver="CREATE TABLE own1 (id int PRIMARY KEY, u text CONSTRAINT held"
        " REFERENCES t_a (u))",
        own="INSERT INTO own1 VALUES (1, 'u2')",
        steps=(
            partial(
                RENAME,
                waits_for=["held", "let held cascade"],
                then="ALTER TABLE own1 DROP CONSTRAINT held, ADD CONSTRAINT held"
                " FOREIGN KEY (u) REFERENCES t_a (u) ON UPDATE CASCADE",
                finds=[ask("SELECT u FROM own1", ("new",))],
            ),
        ),
        modes=TWO,
    ),
)


@pytest.mark.long
@cases(TWO_LEVELS)
def test_nothing_refers_to_nothing_however_far_down(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(FOLLOWERS)
def test_rows_of_the_receiver_follow_by_their_own_rule(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
