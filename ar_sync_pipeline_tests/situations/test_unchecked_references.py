"""Foreign keys that are NOT VALID at the receiver: what they permit is what the sender may have."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation, StartSituation
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
PARENTS = "CREATE TABLE t_a (id int PRIMARY KEY, code text UNIQUE);"
CHILDREN = PARENTS + (
    "CREATE TABLE t_b (id int PRIMARY KEY, a int NOT NULL REFERENCES t_a ON DELETE CASCADE)"
)
WITHOUT_A_LONG_LOCK = (
    "ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey,"
    " ADD FOREIGN KEY (a) REFERENCES t_a ON DELETE CASCADE NOT VALID"
)
ROWS = "INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c'); INSERT INTO t_b VALUES (1, 1), (2, 2)"
REPLACE_1 = "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (9, 'a')"

UNCHECKED = (
    Situation(
        "reference_that_only_the_receiver_has_not_checked",
        CHILDREN,
        receiver=WITHOUT_A_LONG_LOCK,
        rows=ROWS,
        steps=(
            partial(REPLACE_1, deletes={"t_a": 1, "t_b": 1}),
            complete("DELETE FROM t_a WHERE id = 2", deletes={"t_a": 1, "t_b": 1}),
        ),
        modes=TWO,
    ),
    Situation(
        "unchecked_reference_of_a_receiver_only_column_that_the_sender_has_too",
        PARENTS + "CREATE TABLE t_b (id int PRIMARY KEY, v int, a int);"
        "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a ON DELETE SET NULL NOT VALID",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c');"
        "INSERT INTO t_b VALUES (1), (2), (3)",
        own="UPDATE t_b SET a = id",
        rules={"t_b": {"receiver_columns": ["a"]}},
        steps=(
            complete(
                # The servers have the same references, though none is replicated.
                "UPDATE t_b SET a = id; DELETE FROM t_a WHERE id = 1",
                deletes={"t_a": 1},
                finds=[ask("SELECT a FROM t_b ORDER BY id", (None,), (2,), (3,))],
            ),
            complete(
                "DELETE FROM t_a WHERE id = 2; UPDATE t_b SET v = 1",
                deletes={"t_a": 1},
                finds=[ask("SELECT a FROM t_b ORDER BY id", (None,), (None,), (3,))],
            ),
        ),
        modes=EVERY_MODE,
    ),
)


@pytest.mark.long
@cases(UNCHECKED)
def test_rows_are_those_of_the_sender_whatever_the_receiver_has_checked(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
def test_no_orphan_is_restored_of_a_reference_that_the_sender_has_checked(
    start_situation: StartSituation,
) -> None:
    steps = (partial(REPLACE_1), partial("UPDATE t_a SET code = 'd' WHERE id = 2"))
    situation = Situation("both_together", CHILDREN, receiver=WITHOUT_A_LONG_LOCK, rows=ROWS)
    running = start_situation(situation, Mode.SUPERUSER)
    running.begin()
    for step in steps:
        running.dump_after(step)
    running.load_together(steps)
