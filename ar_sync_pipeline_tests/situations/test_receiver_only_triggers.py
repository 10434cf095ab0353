"""Triggers and rules that keep rows as they are when the row to which they refer goes or changes.

The server performs the action of a foreign key and does not look whether a trigger cancelled it.
"""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    Mode,
    Row,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

TABLE = "CREATE TABLE t_a (id int PRIMARY KEY, u int UNIQUE);"
ROWS = "INSERT INTO t_a SELECT n, n FROM generate_series(1, 3) n;"
TWO = (Mode.SUPERUSER, Mode.LEAST)
DISABLE = "ALTER TABLE own DISABLE TRIGGER keeps"
OTHER_REMEDY = "-> change or delete these rows at the receiver, or disable the trigger or rule"


def trigger(event: str, code: str, table: str = "own") -> str:
    return (
        f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {code} END$$;"
        f"CREATE TRIGGER keeps BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION keep();"
    )


CANCELLED = trigger("DELETE", "RETURN NULL;")
UNCHANGED = trigger("UPDATE", "NEW.a := OLD.a; RETURN NEW;")


def kept(
    name: str,
    column: str,
    code: str,
    *answer: Row,
    sender: str = "DELETE FROM t_a WHERE id = 1",
    then: str = DISABLE,
    modes: tuple[Mode, ...] = TWO,
) -> Situation:
    """A receiver-only row that refers to row 1 and stays as it is until ``then``."""
    return Situation(
        name,
        TABLE,
        rows=ROWS,
        receiver=f"CREATE TABLE own (id serial PRIMARY KEY, a int {column}); {code}",
        own="INSERT INTO own (a) VALUES (1), (2)",
        steps=(
            complete(
                sender,
                waits_for=["own_a_fkey", OTHER_REMEDY, "(keeps)"],
                then=then,
                finds=[ask("SELECT a FROM own ORDER BY a", *answer)],
            ),
        ),
        modes=modes,
    )


KEPT = (
    kept(
        "cascade_that_a_trigger_cancels",
        "NOT NULL REFERENCES t_a ON DELETE CASCADE",
        CANCELLED,
        (2,),
        modes=(Mode.LEAST,),
    ),
    kept(
        "reference_that_a_trigger_does_not_clear",
        "REFERENCES t_a ON DELETE SET NULL",
        UNCHANGED,
        *((2,), (None,)),
    ),
    kept(
        "reference_without_an_action_that_a_rule_does_not_clear",
        "REFERENCES t_a",
        "CREATE RULE keeps AS ON UPDATE TO own DO INSTEAD NOTHING",
        (2,),
        then="DELETE FROM own WHERE a = 1",
    ),
    kept(
        "cascade_of_a_change_that_a_trigger_undoes",
        "REFERENCES t_a (u) ON UPDATE CASCADE",
        UNCHANGED,
        *((2,), (9,)),
        sender="UPDATE t_a SET u = 9 WHERE id = 1",
    ),
    Situation(
        "cascade_that_a_trigger_of_a_partition_cancels",
        TABLE,
        rows=ROWS,
        receiver="CREATE TABLE own (a int NOT NULL REFERENCES t_a ON DELETE CASCADE) PARTITION BY"
        " LIST (a); CREATE TABLE own_1 PARTITION OF own DEFAULT;"
        + trigger("DELETE", "RETURN NULL;", "own_1"),
        own="INSERT INTO own (a) VALUES (1), (2)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id = 1",
                waits_for=["own_a_fkey"],
                then="DROP TRIGGER keeps ON own_1",
                finds=[ask("SELECT a FROM own", (2,))],
            ),
        ),
        modes=(Mode.LEAST,),
    ),
    Situation(
        "cascade_among_replicated_rows_that_a_trigger_cancels",
        TABLE + "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE)",
        rows=ROWS + "INSERT INTO t_b VALUES (1, 1), (2, 2)",
        receiver=trigger("DELETE", "RETURN NULL;", "t_b"),
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (4, 1)",
                deletes={"t_a": 1, "t_b": 1},
                waits_for=["t_b_a_fkey", "(keeps)"],
                then="ALTER TABLE t_b DISABLE TRIGGER keeps",
            ),
        ),
        modes=(Mode.LEAST,),
    ),
    Situation(
        "reference_to_a_receiver_only_row_that_follows",
        TABLE,
        rows=ROWS,
        receiver="CREATE TABLE own (u int UNIQUE REFERENCES t_a (u) ON UPDATE CASCADE);"
        "CREATE TABLE own2 (u int CONSTRAINT held REFERENCES own (u))",
        own="INSERT INTO own VALUES (1); INSERT INTO own2 VALUES (1)",
        steps=(
            partial(
                "UPDATE t_a SET u = 9 WHERE id = 1",
                waits_for=["let held cascade ON UPDATE"],
                then="ALTER TABLE own2 DROP CONSTRAINT held, ADD CONSTRAINT held"
                " FOREIGN KEY (u) REFERENCES own (u) ON UPDATE CASCADE",
                finds=[ask("TABLE own2", (9,))],
            ),
        ),
        modes=TWO,
    ),
)


@cases(KEPT)
@pytest.mark.long
def test_rows_that_are_kept_refer_to_nothing_in_no_load(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
