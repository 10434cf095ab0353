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

# What a dump and restore makes of ('a', 'b') for a varchar.
RESTORED_LIST = "ANY (ARRAY[('a'::character varying)::text, ('b'::character varying)::text])"
BOUND = "b" * 7_000
OF_BOTH = (
    Situation(
        "receiver_made_by_a_dump_and_restore",
        "CREATE DOMAIN kind AS varchar CHECK (VALUE IN ('a', 'b'));"
        "CREATE TABLE t_a (id int PRIMARY KEY, k kind, c varchar, u text);"
        "CREATE UNIQUE INDEX partly ON t_a (u) WHERE c IN ('a', 'b')",
        rows="INSERT INTO t_a VALUES (1, 'a', 'a', 'x'), (2, 'b', 'b', 'y')",
        receiver="ALTER DOMAIN kind DROP CONSTRAINT kind_check;"
        f"ALTER DOMAIN kind ADD CHECK ((VALUE)::text = {RESTORED_LIST}); DROP INDEX partly;"
        f"CREATE UNIQUE INDEX partly ON t_a (u) WHERE (c)::text = {RESTORED_LIST}",
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (3, 'b', 'a', 'x')",
                deletes={"t_a": 1},
            ),
            complete("UPDATE t_a SET u = 'z' WHERE id = 3"),
        ),
    ),
    Situation(
        "default_partition_has_a_unique_index_of_its_own",
        "CREATE DOMAIN short AS text CHECK (VALUE <> '" + "d" * 21_000 + "');"
        "CREATE TABLE t_a (id int, area text, u short) PARTITION BY LIST (area);"
        + "".join(
            f"CREATE TABLE t_a_{n} PARTITION OF t_a FOR VALUES IN ('{n}{BOUND}');" for n in range(3)
        )
        + "CREATE TABLE t_a_others PARTITION OF t_a DEFAULT;"
        "ALTER TABLE t_a ADD PRIMARY KEY (area, id);"
        "CREATE UNIQUE INDEX of_others ON t_a_others (u)",
        rows="INSERT INTO t_a VALUES (1, 'x', 'a'), (2, 'y', 'b')",
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (3, 'z', 'a')",
                deletes={"t_a": 1},
            ),
            complete("DELETE FROM t_a WHERE id = 2", deletes={"t_a": 1}),
        ),
    ),
    Situation(
        "partitions_by_an_expression_have_keys_of_their_own",
        "CREATE TABLE t_a (id int, at timestamp, region text, v text)"
        " PARTITION BY RANGE (date(at));"
        "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
        " PARTITION BY LIST (lower(region));"
        "CREATE TABLE t_a_1_a PARTITION OF t_a_1 (PRIMARY KEY (id)) FOR VALUES IN ('a')",
        rows="INSERT INTO t_a VALUES (1, '2026-03-01', 'A', 'x'), (2, '2026-03-02', 'a', 'y')",
        steps=(
            partial("UPDATE t_a SET v = 'z' WHERE id = 1", deletes={"t_a": 1}),
            complete("DELETE FROM t_a WHERE id = 1; UPDATE t_a SET id = 1", deletes={"t_a": 2}),
        ),
    ),
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
    Situation(
        "columns_of_types_other_than_text_are_reset_within_a_key",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text)",
        receiver="CREATE TYPE state AS ENUM ('new', 'done'); ALTER TABLE t_a ADD state state,"
        " ADD due date, ADD left_at timestamptz, ADD UNIQUE (u, state, due),"
        " ADD EXCLUDE (u WITH =) WHERE (left_at IS NULL) DEFERRABLE",
        rows="INSERT INTO t_a SELECT n, 'u' || n FROM generate_series(1, 5) n",
        own="UPDATE t_a SET state = 'done' WHERE id = 2",
        steps=(
            partial(
                rotate(5),
                finds=[
                    ask("SELECT DISTINCT state::text, due::text FROM t_a", ("new", "2026-01-01"))
                ],
            ),
        ),
        rules={
            "t_a": {
                "receiver_columns": ["state", "due", "left_at"],
                "reset_on_change": {"state": "new", "due": "2026-01-01"},
                "clear_on_change": ["left_at"],
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


@pytest.mark.long
@cases(OF_BOTH)
def test_one_definition_may_have_two_texts_and_any_length(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
