"""Unique values that move from row to row: nothing is deleted, nothing is lost."""

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

NOTES = "SELECT a, note FROM own ORDER BY note"
BOTH_NOTES = ask(NOTES, (1, "on 1"), (2, "on 2"))
WRITE_NOTES = "INSERT INTO own (a, note) VALUES (1, 'on 1'), (2, 'on 2')"
HAS_MANY = (
    "CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE, note text)"
)
THREE = "INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c');"


def swap(column: str, one: str = "a", other: str = "b", *, table: str = "t_a") -> str:
    """Exchange the values of rows 1 and 2 through a value that nobody has."""
    return (
        f"UPDATE {table} SET {column} = 'zz' WHERE id = 1;"
        f"UPDATE {table} SET {column} = '{one}' WHERE id = 2;"
        f"UPDATE {table} SET {column} = '{other}' WHERE id = 1;"
    )


def rotate(last: int) -> str:
    """Give each of the rows 1 to ``last`` the value of the next one, the last that of the first."""
    return (
        f"UPDATE t_a SET u = 'x' || u WHERE id <= {last};"
        f"UPDATE t_a SET u = 'v' || 1 + id % {last} WHERE id <= {last};"
    )


def values(count: int) -> str:
    return f"INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, {count}) n;"


def with_children(action: str) -> str:
    return (
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
        f"CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a {action})"
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
@cases(SWAPS)
def test_unique_values_move_without_a_deletion(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(KINDS)
def test_every_kind_of_unique_key_lets_its_values_move(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
