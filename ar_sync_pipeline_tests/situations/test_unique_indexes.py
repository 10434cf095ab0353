"""Values that move under every kind of unique index and exclusion constraint."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.exchanged_values import (
    BOTH_NOTES,
    HAS_MANY,
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

# A unique index of each kind, over t_a (id int, u text), in which rows 1 and 2 can exchange.
PLAIN_KINDS = {
    "unique": "u text UNIQUE",
    "not_null": "u text NOT NULL UNIQUE",
    "varchar": "u varchar(2) NOT NULL UNIQUE",
    "short_domain": "u short NOT NULL UNIQUE",
    "lower_case_only": "u text NOT NULL UNIQUE CHECK (u ~ '^[a-z]+$')",
    "nulls_not_distinct": "u text UNIQUE NULLS NOT DISTINCT",
    "deferrable": "u text UNIQUE DEFERRABLE",
    "initially_deferred": "u text UNIQUE DEFERRABLE INITIALLY DEFERRED",
    "including": "u text, w int, UNIQUE (u) INCLUDE (w)",
}
INDEX_KINDS = {
    "lower": "CREATE UNIQUE INDEX ON t_a (lower(u));",
    "coalesce": "CREATE UNIQUE INDEX ON t_a (coalesce(u, ''));",
    "length_and_value": "CREATE UNIQUE INDEX ON t_a (length(u), u);",
    "whole_predicate": "CREATE UNIQUE INDEX ON t_a (u) WHERE id > 0;",
    "two_indexes": "CREATE UNIQUE INDEX ON t_a (u); CREATE UNIQUE INDEX ON t_a (upper(u));",
    "exclusion": "ALTER TABLE t_a ADD EXCLUDE USING btree (u WITH =);",
    "exclusion_of_hash": "ALTER TABLE t_a ADD EXCLUDE USING hash (u WITH =);",
    "pattern_ops": "CREATE UNIQUE INDEX ON t_a (u text_pattern_ops);",
    "collated": 'CREATE UNIQUE INDEX ON t_a (u COLLATE "C" DESC NULLS LAST);',
    "concatenation": "CREATE UNIQUE INDEX ON t_a ((u || '!'));",
}
TAKE_OVERS = (
    # A deleted row's value for a new row, then for an old one, then a row that comes back.
    partial("DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (4, 'c')", deletes={"t_a": 1}),
    partial(
        "DELETE FROM t_a WHERE id = 2; UPDATE t_a SET u = 'b' WHERE id = 4", deletes={"t_a": 1}
    ),
    complete("DELETE FROM t_a WHERE id = 4; UPDATE t_a SET u = 'b' WHERE id = 1"),
    complete("INSERT INTO t_a VALUES (2, 'a'), (3, 'x')"),
)


def of_kind(name: str, table: str) -> Situation:
    return Situation(
        f"kind_{name}",
        "CREATE DOMAIN short AS text CHECK (length(VALUE) <= 2 AND VALUE <> '');" + table,
        rows="INSERT INTO t_a (id, u) VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        receiver="ALTER TABLE t_a ADD seen int;" + HAS_MANY,
        own="UPDATE t_a SET seen = id;" + WRITE_NOTES,
        steps=(
            partial(
                swap("u"),
                finds=[BOTH_NOTES, ask("SELECT sum(seen) FROM t_a WHERE seen = id", (6,))],
            ),
            complete(swap("u", "b", "a"), deletes={}, finds=[BOTH_NOTES]),
            *(
                step if name != "including" else partial("UPDATE t_a SET w = id")
                for step in TAKE_OVERS
            ),
        ),
        modes=EVERY_MODE if name in {"not_null", "lower"} else (Mode.SUPERUSER,),
    )


KINDS = (
    *(
        of_kind(name, f"CREATE TABLE t_a (id int PRIMARY KEY, {column});")
        for name, column in PLAIN_KINDS.items()
    ),
    *(
        of_kind(name, "CREATE TABLE t_a (id int PRIMARY KEY, u text);" + index)
        for name, index in INDEX_KINDS.items()
    ),
)

INDEXES = (
    Situation(
        "ranges_that_may_not_overlap",
        "CREATE TABLE t_a (id int PRIMARY KEY, during int4range NOT NULL,"
        " EXCLUDE USING gist (during WITH &&))",
        rows="INSERT INTO t_a SELECT n, int4range(10 * n, 10 * n + 10)"
        " FROM generate_series(1, 9) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            # All move by a half, into each other's place; two exchange; one takes two places.
            partial(
                "UPDATE t_a SET during = int4range(lower(during) + 1005, upper(during) + 1005);"
                "UPDATE t_a SET during = int4range(lower(during) - 1000, upper(during) - 1000)",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET during = '[900,910)' WHERE id = 1;"
                "UPDATE t_a SET during = '[15,25)' WHERE id = 2;"
                "UPDATE t_a SET during = '[25,35)' WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            partial(
                "DELETE FROM t_a WHERE id IN (5, 6);INSERT INTO t_a VALUES (20, '[57,67)')",
                deletes={"t_a": 2},
                finds=[BOTH_NOTES],
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "circles_and_a_predicate_in_an_exclusion",
        "CREATE TABLE t_a (id int PRIMARY KEY, c circle NOT NULL, off boolean NOT NULL,"
        " EXCLUDE USING gist (c WITH &&) WHERE (NOT off))",
        rows="INSERT INTO t_a SELECT n, circle(point(10 * n, 0), 3), n > 4"
        " FROM generate_series(1, 6) n; UPDATE t_a SET c = circle(point(10, 0), 4) WHERE id = 5",
        steps=(
            partial("UPDATE t_a SET off = id = 1 WHERE id IN (1, 5)"),
            partial(
                "UPDATE t_a SET off = true; UPDATE t_a SET c = circle(point(70 - 10 * id, 0), 3);"
                "UPDATE t_a SET off = false"
            ),
        ),
    ),
    Situation(
        "exclusion_that_is_deferred",
        "CREATE TABLE t_a (id int PRIMARY KEY, during int4range,"
        " EXCLUDE USING gist (during WITH &&) DEFERRABLE INITIALLY DEFERRED)",
        rows="INSERT INTO t_a SELECT n, int4range(10 * n, 10 * n + 10)"
        " FROM generate_series(1, 9) n",
        steps=(partial("UPDATE t_a SET during = int4range(105 - 10 * id, 115 - 10 * id)"),),
    ),
    Situation(
        "S8_lower_email",
        "CREATE TABLE t_a (id int PRIMARY KEY, email text); CREATE UNIQUE INDEX ON t_a"
        " (lower(email))",
        rows="INSERT INTO t_a VALUES (1, 'Ann@x'), (2, 'bob@x'), (3, NULL), (4, NULL)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                swap("email", "ANN@x", "Bob@x"),
                finds=[BOTH_NOTES],
            ),
            partial("UPDATE t_a SET email = lower(email)", finds=[BOTH_NOTES]),
            partial(
                "DELETE FROM t_a WHERE id = 2; UPDATE t_a SET email = 'ANN@X' WHERE id = 3",
                deletes={"t_a": 1},
            ),
            complete("DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (9, 'Ann@X')"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "S9_main_moves",
        "CREATE TABLE t_a (id int PRIMARY KEY, person int, main bool);"
        "CREATE UNIQUE INDEX ON t_a (person) WHERE main",
        rows="INSERT INTO t_a VALUES (1, 7, true), (2, 7, false), (3, 8, true), (4, 7, NULL)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET main = false WHERE id = 1; UPDATE t_a SET main = true WHERE id = 2",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET main = false WHERE id = 2; UPDATE t_a SET main = true WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            # Predicate and key at once: person 8's main row becomes that of person 7.
            partial(
                "UPDATE t_a SET main = NULL WHERE id = 1;"
                "UPDATE t_a SET person = 7 WHERE id = 3;"
                "UPDATE t_a SET person = 8, main = true WHERE id = 4",
                finds=[BOTH_NOTES],
            ),
            complete("UPDATE t_a SET main = false; UPDATE t_a SET main = true WHERE id = 1"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "soft_delete_gives_the_name_free",
        "CREATE TABLE t_a (id int PRIMARY KEY, name text NOT NULL, deleted_at timestamptz);"
        "CREATE UNIQUE INDEX ON t_a (name) WHERE deleted_at IS NULL",
        rows="INSERT INTO t_a VALUES (1, 'a', NULL), (2, 'b', NULL), (3, 'c', now())",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET deleted_at = now() WHERE id = 1;"
                "INSERT INTO t_a VALUES (4, 'a', NULL)",
                finds=[BOTH_NOTES],
            ),
            # Undeleted, while the other one is renamed.
            partial(
                "UPDATE t_a SET name = 'c' WHERE id = 4;"
                "UPDATE t_a SET deleted_at = NULL WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET deleted_at = now() WHERE id = 4;"
                "UPDATE t_a SET deleted_at = NULL WHERE id = 3",
                finds=[BOTH_NOTES],
            ),
            # An undeleted one is really gone.
            partial(
                "DELETE FROM t_a WHERE id = 3; UPDATE t_a SET deleted_at = NULL WHERE id = 4",
                deletes={"t_a": 1},
                finds=[BOTH_NOTES],
            ),
            # A deleted one is really gone; its name is not taken over from it.
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (5, 'x', NULL)", keeps=True
            ),
            complete(),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "one_row_of_all_is_the_current_one",
        "CREATE TABLE t_a (id int PRIMARY KEY, current bool NOT NULL);"
        "CREATE UNIQUE INDEX ON t_a ((true)) WHERE current",
        rows="INSERT INTO t_a SELECT n, n = 1 FROM generate_series(1, 5) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET current = false; UPDATE t_a SET current = true WHERE id = 4",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET current = false; UPDATE t_a SET current = true WHERE id = 2",
                finds=[BOTH_NOTES],
            ),
            partial(
                "DELETE FROM t_a WHERE id = 2; UPDATE t_a SET current = true WHERE id = 5",
                deletes={"t_a": 1},
            ),
        ),
    ),
    Situation(
        "null_may_be_there_once",
        "CREATE TABLE t_a (id int PRIMARY KEY, u int UNIQUE NULLS NOT DISTINCT)",
        rows="INSERT INTO t_a VALUES (1, NULL), (2, 2), (3, 3)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 1 WHERE id = 1; UPDATE t_a SET u = NULL WHERE id = 2",
                finds=[BOTH_NOTES],
            ),
            partial(
                "UPDATE t_a SET u = 9 WHERE id = 2; UPDATE t_a SET u = NULL WHERE id = 1;"
                "UPDATE t_a SET u = 1 WHERE id = 2",
                finds=[BOTH_NOTES],
            ),
            partial(
                "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (4, NULL)", deletes={"t_a": 1}
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "pairs_with_a_null_that_counts",
        "CREATE TABLE t_a (id int PRIMARY KEY, x int, y int, UNIQUE NULLS NOT DISTINCT (x, y))",
        rows="INSERT INTO t_a VALUES (1, 1, NULL), (2, NULL, 1), (3, NULL, NULL)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET x = 9, y = 9 WHERE id = 1; UPDATE t_a SET x = 1, y = NULL"
                " WHERE id = 2; UPDATE t_a SET x = NULL, y = 1 WHERE id = 3;"
                "UPDATE t_a SET x = NULL, y = NULL WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
    Situation(
        "generated_column_is_unique",
        "CREATE TABLE t_a (id int PRIMARY KEY, name text NOT NULL,"
        " slug text GENERATED ALWAYS AS (lower(name)) STORED UNIQUE)",
        rows="INSERT INTO t_a (id, name) VALUES (1, 'A'), (2, 'b'), (3, 'c')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(swap("name"), finds=[BOTH_NOTES]),
            complete(swap("name", "B", "A"), deletes={}, finds=[BOTH_NOTES]),
            partial(
                "DELETE FROM t_a WHERE id = 3; INSERT INTO t_a (id, name) VALUES (4, 'C')",
                deletes={"t_a": 1},
            ),
        ),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "expression_over_two_columns",
        "CREATE TABLE t_a (id int PRIMARY KEY, first text, last text);"
        "CREATE UNIQUE INDEX ON t_a (lower(first || ' ' || last)) WHERE first <> ''",
        rows="INSERT INTO t_a VALUES (1, 'A', 'b c'), (2, 'x', 'y'), (3, '', '')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            # Another division of the same text.
            partial(
                "UPDATE t_a SET first = 'q' WHERE id = 1; UPDATE t_a SET first = 'a b',"
                " last = 'C' WHERE id = 2; UPDATE t_a SET first = 'X', last = 'Y'"
                " WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
    Situation(
        "whole_row_in_a_predicate",
        "CREATE TABLE t_a (id int PRIMARY KEY, a int, b int);"
        "CREATE UNIQUE INDEX ON t_a (a) WHERE t_a IS NOT NULL;"
        'CREATE TABLE t_x (id int PRIMARY KEY, "t_x" int, whole text, old int);'
        "ALTER TABLE t_x DROP old; CREATE UNIQUE INDEX ON t_x (whole) WHERE t_x.* IS NOT NULL",
        rows="INSERT INTO t_a VALUES (1, 1, 1), (2, 2, 2), (3, 1, NULL);"
        "INSERT INTO t_x VALUES (1, 1, 'a'), (2, 2, 'b'), (3, NULL, 'a')",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET a = 9 WHERE id = 1; UPDATE t_a SET a = 1 WHERE id = 2;"
                "UPDATE t_a SET a = 2 WHERE id = 1;"
                "UPDATE t_x SET whole = 'z' WHERE id = 1; UPDATE t_x SET whole = 'a' WHERE id = 2;"
                "UPDATE t_x SET whole = 'b' WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            partial("UPDATE t_a SET b = NULL WHERE id = 2; UPDATE t_a SET b = 1 WHERE id = 3"),
            complete("DELETE FROM t_a WHERE id = 1; UPDATE t_a SET a = 2 WHERE id = 2"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "whole_row_in_an_element",
        "CREATE TABLE t_a (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) STORED);"
        "CREATE FUNCTION of_row(t_a) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1.a + $1.b';"
        "CREATE UNIQUE INDEX ON t_a (of_row(t_a));"
        "CREATE UNIQUE INDEX ON t_a (abs(a), of_row(t_a));"
        "CREATE TABLE t_x (a int NOT NULL, b int); CREATE UNIQUE INDEX ON t_x (a) WHERE t_x IS NOT"
        " NULL; CREATE UNIQUE INDEX ON t_x (hash_record_extended(t_x, 0))",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2), (3, 3);"
        "INSERT INTO t_x VALUES (1, 1), (1, NULL), (2, 2)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET a = 9 WHERE id = 1; UPDATE t_a SET a = 1 WHERE id = 2;"
                "UPDATE t_a SET a = 2 WHERE id = 1; UPDATE t_x SET b = 7 WHERE b = 1",
                deletes={"t_x": 1},
                finds=[BOTH_NOTES],
            ),
            partial(
                "DELETE FROM t_a WHERE id = 3; INSERT INTO t_a VALUES (4, 3)", deletes={"t_a": 1}
            ),
            complete("UPDATE t_a SET a = a + 10; UPDATE t_x SET a = a + 1"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "whole_row_in_an_exclusion_and_in_a_partition",
        "CREATE TABLE t_a (id int PRIMARY KEY, a int, b int4range,"
        " EXCLUDE USING gist (b WITH &&) WHERE (t_a IS NOT NULL));"
        "CREATE TABLE t_p (id int PRIMARY KEY, u int, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE x (v text, id int NOT NULL, u int);"
        "ALTER TABLE t_p ATTACH PARTITION x FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE t_rest PARTITION OF t_p DEFAULT;"
        "CREATE UNIQUE INDEX ON x (u) WHERE x IS NOT NULL",
        rows="INSERT INTO t_a VALUES (1, 1, '[1,5)'), (2, NULL, '[1,5)'), (3, 1, '[7,9)');"
        "INSERT INTO t_p VALUES (1, 1, 'a'), (2, 2, 'b'), (200, 1, 'c'), (3, 1, NULL)",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET b = '[20,21)' WHERE id = 1;"
                "UPDATE t_a SET b = '[1,5)' WHERE id = 3;"
                "UPDATE t_a SET b = '[7,9)' WHERE id = 1;"
                "UPDATE t_p SET u = 9 WHERE id = 1; UPDATE t_p SET u = 1 WHERE id = 2;"
                "UPDATE t_p SET u = 2 WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
            complete("DELETE FROM t_a WHERE id = 1; DELETE FROM t_p WHERE id = 1"),
        ),
        modes=(Mode.SUPERUSER, Mode.REPLICA),
    ),
    Situation(
        "md5_of_a_long_text_is_unique",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL);"
        "CREATE UNIQUE INDEX ON t_a (md5(u))",
        rows="INSERT INTO t_a SELECT n, repeat(n::text, 3000) FROM generate_series(1, 3) n",
        receiver=HAS_MANY,
        own=WRITE_NOTES,
        steps=(
            partial(
                "UPDATE t_a SET u = 'zz' WHERE id = 1;"
                "UPDATE t_a SET u = repeat('1', 3000) WHERE id = 2;"
                "UPDATE t_a SET u = repeat('2', 3000) WHERE id = 1",
                finds=[BOTH_NOTES],
            ),
        ),
    ),
)


@pytest.mark.long
@cases(KINDS)
def test_every_kind_of_unique_key_lets_its_values_move(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(INDEXES)
def test_values_move_under_expressions_predicates_and_exclusions(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
