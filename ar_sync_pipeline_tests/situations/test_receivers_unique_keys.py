"""Unique keys and columns that only the receiver has, while values move."""

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

OF_THE_RECEIVER = (
    Situation(
        "unique_key_that_only_the_receiver_has",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text)",
        rows=THREE,
        receiver=HAS_MANY + "; CREATE UNIQUE INDEX only_here ON t_a (u)",
        own=WRITE_NOTES,
        steps=(
            partial(swap("u"), finds=[BOTH_NOTES]),
            partial(
                "UPDATE t_a SET u = 'a'",
                waits_for=["only_here"],
                meanwhile=[BOTH_NOTES, ask("SELECT count(*) FROM t_a", (3,))],
                then="DROP INDEX only_here",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
    Situation(
        "default_that_completes_a_key_of_the_receiver",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text); CREATE DOMAIN two AS int DEFAULT 2",
        rows=THREE,
        receiver="ALTER TABLE t_a ADD place int DEFAULT 1, ADD other two, ADD UNIQUE (u, place),"
        " ADD UNIQUE (other, u), ADD n int DEFAULT 7, ADD CONSTRAINT at_most EXCLUDE USING btree"
        " (u WITH =, n WITH =)",
        steps=(
            complete(
                "DELETE FROM t_a WHERE id IN (1, 3); INSERT INTO t_a VALUES (8, 'a'), (9, 'c')",
                finds=[ask("SELECT place, other, n FROM t_a WHERE id = 9", (1, 2, 7))],
            ),
            complete("DELETE FROM t_a WHERE id = 8; INSERT INTO t_a VALUES (7, 'a')"),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        # Its check at the end is a trigger, which a replica's session switches off.
        "deferrable_unique_key_that_only_the_receiver_has",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text)",
        rows=THREE,
        receiver=HAS_MANY + "; ALTER TABLE t_a ADD CONSTRAINT only_here UNIQUE (u) DEFERRABLE",
        own=WRITE_NOTES,
        steps=(
            partial(swap("u"), finds=[BOTH_NOTES]),
            partial(
                "UPDATE t_a SET u = 'a'",
                waits_for=["only_here"],
                meanwhile=[BOTH_NOTES],
                then="ALTER TABLE t_a DROP CONSTRAINT only_here",
                finds=[BOTH_NOTES],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "deferrable_exclusion_that_only_the_receiver_has",
        "CREATE TABLE t_a (id int PRIMARY KEY, during int4range)",
        rows="INSERT INTO t_a VALUES (1, '[1,5)'), (2, '[5,9)')",
        receiver="ALTER TABLE t_a ADD CONSTRAINT only_here EXCLUDE USING gist (during WITH &&)"
        " DEFERRABLE INITIALLY DEFERRED",
        steps=(
            partial(
                "UPDATE t_a SET during = '[4,9)' WHERE id = 2",
                waits_for=["only_here"],
                then="ALTER TABLE t_a DROP CONSTRAINT only_here",
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "unique_key_over_a_column_of_the_receiver",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text)",
        rows=THREE,
        receiver=HAS_MANY + "; ALTER TABLE t_a ADD place int DEFAULT 1, ADD UNIQUE (u, place)",
        own=WRITE_NOTES + "; UPDATE t_a SET place = id WHERE id < 3",
        steps=(
            partial(
                swap("u"),
                finds=[
                    BOTH_NOTES,
                    ask("SELECT id, place FROM t_a WHERE id < 3 ORDER BY 1", (1, 1), (2, 2)),
                ],
            ),
        ),
    ),
    Situation(
        "columns_that_the_receiver_adds_stay_with_their_row",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE)",
        rows=values(5),
        receiver="ALTER TABLE t_a ADD seen int NOT NULL DEFAULT 0, ADD mark text UNIQUE,"
        " ADD done bool DEFAULT false",
        own="UPDATE t_a SET seen = id, mark = 'm' || id, done = true",
        steps=(
            partial(
                rotate(5),
                finds=[
                    ask("SELECT count(*) FROM t_a WHERE seen = id AND mark = 'm' || id", (5,)),
                    ask("SELECT DISTINCT done FROM t_a", (False,)),
                ],
            ),
            complete(
                "UPDATE t_a SET u = u || 'x' WHERE id = 3",
                finds=[
                    ask("SELECT count(*) FROM t_a WHERE seen = id AND mark = 'm' || id", (5,)),
                ],
            ),
        ),
        rules={
            "t_a": {
                "receiver_columns": ["seen", "mark", "done"],
                "reset_on_change": {"done": False},
            }
        },
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
)


@pytest.mark.long
@cases(OF_THE_RECEIVER)
def test_the_receivers_own_keys_let_values_move(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
