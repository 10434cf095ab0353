"""The sender's schema changes first: the archive waits, says for what, and loads by itself."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.comparison import compare
from ar_sync_pipeline_tests.situations.fix_situations import RunSituation, StartSituation
from ar_sync_pipeline_tests.situations.running import run_sql
from ar_sync_pipeline_tests.situations.situation import (
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

A = "CREATE TABLE t_a (id int PRIMARY KEY, v int, u text);"
ROWS = "INSERT INTO t_a VALUES (1, 1, 'a'), (2, 2, 'b')"
OWN = "CREATE TABLE own (a int REFERENCES t_a ON DELETE CASCADE, note text)"
NOTES = "INSERT INTO own VALUES (1, 'on 1'), (2, 'on 2')"
HAS_NOTES = ask("SELECT a, note FROM own ORDER BY a", (1, "on 1"), (2, "on 2"))


def waits(
    name: str,
    change: str,
    *words: str,
    both: str = A,
    sender: str = "",
    then: str | None = None,
    rows: str = ROWS,
    modes: tuple[Mode, ...] = (Mode.SUPERUSER,),
) -> Situation:
    """``change`` at the sender, with rows that the receiver cannot take before its own."""
    return Situation(
        name,
        both,
        rows=rows,
        receiver=OWN if "TABLE t_a (" in both else "",
        own=NOTES if "TABLE t_a (" in both else "",
        steps=(
            partial(
                f"{change};;{sender}",
                waits_for=words,
                meanwhile=[HAS_NOTES] if "TABLE t_a (" in both else [],
                then=change if then is None else then,
            ),
            complete(),
        ),
        modes=modes,
    )


MOOD = "CREATE TYPE mood AS ENUM ('a');CREATE TABLE t_a (id int PRIMARY KEY, v mood, vs mood[]);"
MOODS = "INSERT INTO t_a VALUES (1, 'a', '{a}'), (2, 'a', NULL)"
POS = (
    "CREATE DOMAIN pos AS int CONSTRAINT above CHECK (VALUE > 0);"
    "CREATE TABLE t_a (id int PRIMARY KEY, v pos);"
)
POSITIVE = "INSERT INTO t_a VALUES (1, 1), (2, 2)"

WAITING = (
    waits(
        "S4_unique_constraint_dropped",
        "ALTER TABLE t_a DROP CONSTRAINT t_a_v_key",
        "t_a_v_key",
        both=A + "ALTER TABLE t_a ADD UNIQUE (v);",
        sender="INSERT INTO t_a VALUES (3, 1)",
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    waits(
        "unique_index_dropped",
        "DROP INDEX unique_u",
        "unique_u",
        both=A + "CREATE UNIQUE INDEX unique_u ON t_a (lower(u));",
        sender="INSERT INTO t_a VALUES (3, 3, 'A')",
    ),
    waits(
        "predicate_of_an_index_is_narrowed",
        "DROP INDEX unique_u; CREATE UNIQUE INDEX unique_u ON t_a (u) WHERE v > 5",
        "unique_u",
        both=A + "CREATE UNIQUE INDEX unique_u ON t_a (u) WHERE v > 0;",
        sender="INSERT INTO t_a VALUES (3, 3, 'a')",
    ),
    waits(
        "nulls_become_distinct",
        "DROP INDEX unique_u; CREATE UNIQUE INDEX unique_u ON t_a (u)",
        "unique_u",
        both=A + "CREATE UNIQUE INDEX unique_u ON t_a (u) NULLS NOT DISTINCT;",
        sender="INSERT INTO t_a VALUES (3, 3, NULL), (4, 4, NULL)",
    ),
    waits(
        "unique_key_gets_another_column",
        "DROP INDEX unique_u; CREATE UNIQUE INDEX unique_u ON t_a (u, v)",
        "unique_u",
        both=A + "CREATE UNIQUE INDEX unique_u ON t_a (u);",
        sender="INSERT INTO t_a VALUES (3, 3, 'a')",
    ),
    waits(
        "exclusion_dropped",
        "ALTER TABLE t_a DROP CONSTRAINT no_overlap",
        "no_overlap",
        both="CREATE TABLE t_a (id int PRIMARY KEY, v int4range,"
        " CONSTRAINT no_overlap EXCLUDE USING gist (v WITH &&));",
        rows="INSERT INTO t_a VALUES (1, '[1,5)'), (2, '[5,9)')",
        sender="INSERT INTO t_a VALUES (3, '[4,6)')",
    ),
    waits(
        "primary_key_gets_another_column",
        "ALTER TABLE t_b DROP CONSTRAINT t_b_pkey; ALTER TABLE t_b ADD PRIMARY KEY (id, v)",
        "t_b",
        both=A + "CREATE TABLE t_b (id int PRIMARY KEY, v int NOT NULL);",
        rows=ROWS + ";INSERT INTO t_b VALUES (1, 1)",
        sender="INSERT INTO t_b VALUES (1, 2)",
    ),
    waits(
        "not_null_dropped",
        "ALTER TABLE t_a ALTER u DROP NOT NULL",
        "t_a.u",
        both=A + "ALTER TABLE t_a ALTER u SET NOT NULL;",
        sender="UPDATE t_a SET u = NULL WHERE id = 1",
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    waits(
        "check_dropped",
        "ALTER TABLE t_a DROP CONSTRAINT positive",
        "positive",
        both=A + "ALTER TABLE t_a ADD CONSTRAINT positive CHECK (v > 0);",
        sender="UPDATE t_a SET v = -1 WHERE id = 1",
    ),
    waits(
        "check_relaxed",
        "ALTER TABLE t_a DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (v > -9)",
        "positive",
        both=A + "ALTER TABLE t_a ADD CONSTRAINT positive CHECK (v > 0);",
        sender="UPDATE t_a SET v = -1 WHERE id = 1",
    ),
    waits(
        "S13_label_added",
        "ALTER TYPE mood ADD VALUE 'b'",
        "mood",
        both=MOOD,
        rows=MOODS,
        sender="UPDATE t_a SET v = 'b' WHERE id = 1",
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    waits(
        "label_added_and_used_in_an_array",
        "ALTER TYPE mood ADD VALUE 'b'",
        "mood",
        both=MOOD,
        rows=MOODS,
        sender="UPDATE t_a SET vs = '{a,b}' WHERE id = 2",
    ),
    waits(
        "label_renamed",
        "ALTER TYPE mood RENAME VALUE 'a' TO 'z'",
        "mood",
        both=MOOD,
        rows=MOODS,
        sender="UPDATE t_a SET vs = '{z}' WHERE id = 2",
    ),
    waits(
        "label_of_a_composite_added",
        "ALTER TYPE mood ADD VALUE 'b'",
        "mood",
        both="CREATE TYPE mood AS ENUM ('a'); CREATE TYPE pair AS (x int, m mood);"
        "CREATE TABLE t_a (id int PRIMARY KEY, v pair);",
        rows="INSERT INTO t_a VALUES (1, '(1,a)'), (2, NULL)",
        sender="UPDATE t_a SET v = '(2,b)' WHERE id = 1",
    ),
    waits(
        "label_of_a_multirange_added",
        "ALTER TYPE mood ADD VALUE 'b'",
        "mood lacks the label b",
        both="CREATE TYPE mood AS ENUM ('a'); CREATE TYPE span AS RANGE (SUBTYPE = mood);"
        "CREATE TABLE t_a (id int PRIMARY KEY, v span_multirange);",
        rows="INSERT INTO t_a VALUES (1, '{[a,a]}'), (2, NULL)",
        sender="UPDATE t_a SET v = '{[a,b]}' WHERE id = 1",
    ),
    waits(
        "label_of_a_key_added",
        "ALTER TYPE mood ADD VALUE 'b' BEFORE 'a'",
        "mood",
        both="CREATE TYPE mood AS ENUM ('a');" + A + "CREATE TABLE t_b (m mood PRIMARY KEY);",
        rows=ROWS + ";INSERT INTO t_b VALUES ('a')",
        sender="INSERT INTO t_b VALUES ('b')",
    ),
    waits(
        "S14_domain_relaxed",
        "ALTER DOMAIN pos DROP CONSTRAINT above",
        "pos",
        both=POS,
        rows=POSITIVE,
        sender="INSERT INTO t_a VALUES (3, -1)",
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    waits(
        "domain_may_be_null",
        "ALTER DOMAIN pos DROP NOT NULL",
        "pos",
        both=POS.replace("CONSTRAINT", "NOT NULL CONSTRAINT"),
        rows=POSITIVE,
        sender="INSERT INTO t_a VALUES (3, NULL)",
    ),
    waits(
        "domain_within_a_domain",
        "ALTER DOMAIN pos DROP CONSTRAINT above",
        "above",
        both=POS.replace(
            "CREATE TABLE t_a (id int PRIMARY KEY, v pos)",
            "CREATE DOMAIN small AS pos CHECK (VALUE < 99);"
            "CREATE TABLE t_a (id int PRIMARY KEY, v small)",
        ),
        rows=POSITIVE,
        sender="INSERT INTO t_a VALUES (3, -1)",
    ),
    waits("column_added", "ALTER TABLE t_a ADD w int", "w", sender="UPDATE t_a SET w = 5"),
    waits(
        "column_renamed",
        "ALTER TABLE t_a RENAME v TO w",
        "w",
        sender="UPDATE t_a SET w = 5 WHERE id = 1",
    ),
    waits(
        "type_changed",
        "ALTER TABLE t_a ALTER v TYPE bigint",
        "v",
        sender="UPDATE t_a SET v = 5000000000 WHERE id = 1",
    ),
    waits(
        "type_of_the_key_changed",
        "ALTER TABLE t_a ALTER id TYPE bigint",
        "id",
        sender="INSERT INTO t_a VALUES (5000000000)",
    ),
    waits(
        "length_changed",
        "ALTER TABLE t_a ALTER u TYPE varchar(9)",
        "u",
        both=A + "ALTER TABLE t_a ALTER u TYPE varchar(3);",
        sender="UPDATE t_a SET u = 'longer' WHERE id = 1",
    ),
    waits(
        "scale_changed",
        "ALTER TABLE t_a ALTER v TYPE numeric(9, 3)",
        "v",
        both=A + "ALTER TABLE t_a ALTER v TYPE numeric(9, 1);",
        sender="UPDATE t_a SET v = 1.125 WHERE id = 1",
    ),
    waits(
        "table_added",
        "CREATE TABLE t_b (id int PRIMARY KEY)",
        "t_b",
        sender="INSERT INTO t_b VALUES (1)",
    ),
    waits(
        "exclusion_with_another_operator",
        "ALTER TABLE t_b DROP CONSTRAINT alone, ADD CONSTRAINT alone EXCLUDE USING gist (v WITH =)",
        "alone",
        both=A + "CREATE TABLE t_b (id int PRIMARY KEY, v int4range,"
        " CONSTRAINT alone EXCLUDE USING gist (v WITH &&));",
        rows=ROWS + ";INSERT INTO t_b VALUES (1, '[1,5)')",
        sender="INSERT INTO t_b VALUES (3, '[4,6)')",
    ),
    waits(
        "reference_to_another_table",
        "ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey, ADD CONSTRAINT t_b_a_fkey"
        " FOREIGN KEY (a) REFERENCES t_c",
        "t_b_a_fkey",
        both=A + "CREATE TABLE t_c (id int PRIMARY KEY);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a);",
        sender="INSERT INTO t_c VALUES (77); INSERT INTO t_b VALUES (1, 77)",
    ),
)

UNLIKE_VALUES = (
    Situation(
        "receivers_collation_calls_keys_equal",
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE t_a (k text PRIMARY KEY)",
        rows="INSERT INTO t_a VALUES ('a'), ('A')",
        receiver="ALTER TABLE t_a ALTER k TYPE text COLLATE ci",
        first_may_wait={Mode.SUPERUSER: ["parked", "collation ci"]},
    ),
    Situation(
        "labels_have_another_order_inside_a_range",
        "CREATE TYPE mood AS ENUM ('b', 'c'); CREATE TYPE moods AS RANGE (subtype = mood);"
        "CREATE TABLE t_a (id int PRIMARY KEY, m moods)",
        rows="ALTER TYPE mood ADD VALUE 'a' BEFORE 'b';;INSERT INTO t_a VALUES (1, '[a,b]')",
        receiver="ALTER TYPE mood ADD VALUE 'a' AFTER 'c'",
        first_may_wait={Mode.SUPERUSER: ["parked", "range lower bound"]},
    ),
)

BOTH_SIDES = (
    Situation(
        "type_changed_at_both",
        A,
        rows=ROWS,
        receiver=OWN,
        own=NOTES,
        steps=(
            complete(
                "ALTER TABLE t_a ALTER v TYPE text USING 'n' || v",
                receiver="ALTER TABLE t_a ALTER v TYPE text USING 'm' || v",
                finds=[HAS_NOTES],
            ),
            partial(
                "ALTER TABLE t_a ALTER v TYPE varchar(50), ALTER id TYPE bigint;;"
                "UPDATE t_a SET v = 'x' WHERE id = 1",
                receiver="ALTER TABLE t_a ALTER v TYPE varchar(50), ALTER id TYPE bigint",
                finds=[HAS_NOTES],
            ),
        ),
    ),
    Situation(
        "S20_same_constant_at_both",
        "CREATE TABLE t_a (id int PRIMARY KEY, v text)",
        rows="INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, 20) n",
        steps=(
            partial(
                "ALTER TABLE t_a ADD made int NOT NULL DEFAULT 7;;"
                "UPDATE t_a SET v = 'x' WHERE id = 1",
                receiver="ALTER TABLE t_a ADD made int NOT NULL DEFAULT 7",
            ),
        ),
    ),
    Situation(
        "column_dropped_at_the_sender_stays_here",
        A,
        rows=ROWS,
        steps=(
            partial(
                "ALTER TABLE t_a DROP v;; UPDATE t_a SET u = 'x' WHERE id = 1",
                finds=[ask("SELECT id, v FROM t_a ORDER BY id", (1, 1), (2, 2))],
            ),
            complete("INSERT INTO t_a (id, u) VALUES (3, 'c')"),
        ),
    ),
    Situation(
        "default_that_differs_is_never_taken",
        A,
        rows=ROWS,
        receiver="ALTER TABLE t_a ALTER v SET DEFAULT 99, ALTER u SET DEFAULT 'wrong'",
        steps=(
            partial("INSERT INTO t_a VALUES (3, NULL, NULL)"),
            complete("INSERT INTO t_a VALUES (4, NULL, NULL); UPDATE t_a SET u = NULL"),
        ),
    ),
    Situation(
        "not_null_and_check_that_only_the_receiver_has",
        A,
        rows=ROWS,
        receiver="ALTER TABLE t_a ADD CONSTRAINT only_here CHECK (v < 100)",
        steps=(
            partial("UPDATE t_a SET v = 50 WHERE id = 1"),
            partial(
                "UPDATE t_a SET v = 500 WHERE id = 1",
                waits_for=["only_here"],
                then="ALTER TABLE t_a DROP CONSTRAINT only_here",
            ),
        ),
    ),
    *(
        Situation(
            # A replica's session would not check it.
            f"reference_that_only_the_receiver_has_{'deferred' if time else 'at_once'}",
            "CREATE TABLE t_a (id int PRIMARY KEY); CREATE TABLE t_b (id int PRIMARY KEY, a int)",
            rows="INSERT INTO t_a VALUES (1), (2); INSERT INTO t_b VALUES (1, 1), (2, 2)",
            receiver="ALTER TABLE t_b ADD CONSTRAINT only_here FOREIGN KEY (a) REFERENCES t_a"
            f" {time}",
            steps=(
                partial("INSERT INTO t_a VALUES (3); INSERT INTO t_b VALUES (3, 3)"),
                partial(
                    "INSERT INTO t_b VALUES (4, 404)",
                    waits_for=["only_here"],
                    then="ALTER TABLE t_b DROP CONSTRAINT only_here",
                ),
                complete("DELETE FROM t_a WHERE id = 1", deletes={"t_a": 1}),
            ),
            modes=tuple(Mode),
        )
        for time in ("", "DEFERRABLE INITIALLY DEFERRED")
    ),
    Situation(
        "others_load_while_one_waits",
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t_a (id int PRIMARY KEY, v mood);",
        rows="INSERT INTO t_a VALUES (1, 'a')",
        steps=(
            partial(
                "ALTER TYPE mood ADD VALUE 'b' ;; UPDATE t_a SET v = 'b'",
                waits_for=["mood"],
                then="ALTER TYPE mood ADD VALUE 'b'",
            ),
            partial("INSERT INTO t_a VALUES (2, 'a')"),
        ),
    ),
)


PLAIN = "CREATE TABLE t_a (id int PRIMARY KEY, v text)"
PARTITIONED = (
    "CREATE TABLE t_a (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
    "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (1) TO (1000)"
)
MADE_BY_EACH = {
    "time": "timestamptz NOT NULL DEFAULT now()",
    "random": "uuid NOT NULL DEFAULT gen_random_uuid()",
    "another_constant": "text NOT NULL DEFAULT '{server}'",
    "sequence": "serial",
    "identity": "int GENERATED ALWAYS AS IDENTITY",
}


@pytest.mark.long
@cases(WAITING)
def test_archive_waits_for_the_schema_and_then_loads_by_itself(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(UNLIKE_VALUES)
def test_values_that_the_receiver_cannot_tell_apart_or_order_wait(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(BOTH_SIDES)
def test_schemas_that_differ_in_what_does_not_matter(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@pytest.mark.parametrize(
    ("table", "column"),
    [
        pytest.param(table, column, id=f"{kind}-{name}")
        for kind, table in (("plain", PLAIN), ("partitioned", PARTITIONED))
        for name, column in MADE_BY_EACH.items()
        if (kind, name) != ("partitioned", "identity")  # PostgreSQL refuses that one
    ],
)
def test_s20_column_that_each_server_filled_for_itself_is_equal_or_waits_for_the_complete(
    start_situation: StartSituation, table: str, column: str
) -> None:
    """No transaction wrote what is in the old rows, so no row says that it has changed."""
    running = start_situation(
        Situation(
            "S20",
            table,
            rows="INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(20, 1, -1) n",
        ),
        Mode.SUPERUSER,
    )
    running.begin()
    add = f"ALTER TABLE t_a ADD made {column}"
    run_sql(running.servers.receiver, add.format(server="receiver"))
    run_sql(running.servers.sender, add.format(server="sender"))
    told = running.partial_that_may_tell("UPDATE t_a SET v = 'x' WHERE id = 1")
    differ = compare(running.servers.sender, running.servers.receiver)
    assert not differ or any("complete" in sentence for sentence in told), told
    running.step(complete("INSERT INTO t_a (id, v) VALUES (100, 'new')"))
