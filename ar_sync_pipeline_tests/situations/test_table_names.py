"""Names of tables, columns and schemas are only names."""

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

TWO = (Mode.SUPERUSER, Mode.LEAST)
WORDS = (
    *("action", "n", "t", "d", "s", "k", "key", "order", "select", "value", "kept", "staged"),
    *("existing", "new", "old", "target", "source", "number", "chunk", "digest", "excluded"),
    *("ctid_", "row", "user", "a b", 'quo"te', "per%cent", "%s", "{}", "Upper", "ñandú", "a.b"),
    *("a/b", "'", "$1", "\\", ":x", "id_", "x" * 63),
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


TEMPORARY = (
    *("image", "ar_sync_image", "action", "copy", "kept", "value", "number", "chunk", "place"),
    *("digest", "index", "period", "rows", "first_key", "before", "v1", "o1", "n1", "h", "x"),
    *("ar_sync key 1", "_ar_sync key 2", "ar_sync parent 1", "ar_sync row"),
)
"""Columns that the temporary tables and queries of a dump or load have, or had."""
ALL_COLUMNS = ", ".join(quoted(word) + " int" for word in WORDS)
TABLE_NAMES = ("t_a/b", "t_a b", "t_a.b", 't_a"b', "t_A", "t_a%s", "t_{}", "t_ñ", "t_" + "x" * 61,
               "t_../x", "t_\\")  # fmt: skip


def each_table(template: str) -> str:
    return "".join(template.replace("<T>", quoted(table)) for table in TABLE_NAMES)


def each_word(template: str) -> str:
    return "".join(
        template.replace("<T>", f"t_{number}")
        .replace("<OWN>", f"own_{number}")
        .replace("<W>", quoted(word))
        for number, word in enumerate(TEMPORARY)
    )


KEY_OF_ALL = ", ".join(map(quoted, TEMPORARY))

NAMES = (
    Situation(
        "S16_columns_named_like_the_words_of_a_query",
        f"CREATE TABLE t_a (action text PRIMARY KEY, v int);"
        "CREATE TABLE t_b (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY);"
        f"CREATE TABLE t_c (id int PRIMARY KEY, {ALL_COLUMNS});"
        f"CREATE UNIQUE INDEX ON t_c ({', '.join(map(quoted, WORDS[:8]))})",
        rows="INSERT INTO t_a VALUES ('x', 1); INSERT INTO t_b (id) VALUES (1), (2);"
        "INSERT INTO t_c VALUES (1, 1), (2, 2)",
        steps=(
            partial(
                "UPDATE t_a SET v = 2; UPDATE t_b SET n = DEFAULT WHERE id = 1; UPDATE t_c SET "
                + ", ".join(f"{quoted(word)} = {number}" for number, word in enumerate(WORDS))
                + " WHERE id = 1"
            ),
            complete(
                "UPDATE t_a SET action = 'y'; DELETE FROM t_b WHERE id = 1; INSERT INTO t_b (id)"
                ' VALUES (1); UPDATE t_c SET "select" = 7, "per%cent" = 9'
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "columns_named_like_those_of_temporary_tables",
        each_word(
            "CREATE TABLE <T> (<W> int PRIMARY KEY, u int NOT NULL UNIQUE, parent int REFERENCES"
            " <T>, made timestamptz DEFAULT now());"
        )
        + f"CREATE TABLE t_all (v int, {each_word('<W> int, ')} PRIMARY KEY ({KEY_OF_ALL}));"
        f"CREATE TABLE t_bag (id int, {each_word('<W> int, ')} UNIQUE ({KEY_OF_ALL}));"
        'CREATE TABLE t_row (id int PRIMARY KEY, "ar_sync row" int);'
        "CREATE FUNCTION printed(t_row) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text';"
        'CREATE UNIQUE INDEX ON t_row (printed(t_row), "ar_sync row")',
        rows=each_word("INSERT INTO <T> VALUES (1, 1), (2, 2), (3, 3), (4, 4);")
        + f"INSERT INTO t_all SELECT n, {each_word('n, ')[:-2]} FROM generate_series(1, 4) n;"
        f"INSERT INTO t_bag SELECT n, {each_word('n, ')[:-2]} FROM generate_series(1, 4) n;"
        "INSERT INTO t_row VALUES (1, 1), (2, 2)",
        receiver=each_word(
            "CREATE TABLE <OWN> (id int PRIMARY KEY, <W> int REFERENCES <T> (u) ON UPDATE CASCADE"
            " ON DELETE CASCADE, u int REFERENCES <T> ON DELETE SET NULL);"
        ),
        own=each_word("INSERT INTO <OWN> VALUES (1, 1, 1), (3, 3, 4);"),
        steps=(
            partial(
                each_word(
                    "UPDATE <T> SET u = 9 WHERE u = 1; UPDATE <T> SET u = 1 WHERE u = 2;"
                    "UPDATE <T> SET u = 2, parent = 3 WHERE u = 9;"
                )
                + 'UPDATE t_row SET "ar_sync row" = id + 1;'
                "UPDATE t_all SET v = 7 WHERE image = 2; UPDATE t_bag SET copy = 9 WHERE id = 1",
                deletes={"t_bag": 1},
            ),
            complete(
                each_word("DELETE FROM <T> WHERE <W> = 4;")
                + "UPDATE t_all SET v = 8 WHERE image = 2; DELETE FROM t_all WHERE image = 1;"
                "DELETE FROM t_bag WHERE id = 2",
                finds=[
                    ask(f"SELECT {quoted(word)}, u FROM own_{number} ORDER BY 1", (2, 1), (3, None))
                    for number, word in enumerate(TEMPORARY)
                ],
            ),
        ),
        modes=TWO,
    ),
    *(
        Situation(
            f"key_named_{name}",
            f"CREATE TABLE t_a ({quoted(word)} int PRIMARY KEY, u int NOT NULL UNIQUE,"
            f" parent int REFERENCES t_a);"
            f"CREATE TABLE t_b ({quoted(word)} text, v int, PRIMARY KEY (v, {quoted(word)}))",
            rows="INSERT INTO t_a VALUES (1, 1), (2, 2), (3, 3); INSERT INTO t_b VALUES ('a', 1)",
            steps=(
                partial(
                    "UPDATE t_a SET u = 9 WHERE u = 1; UPDATE t_a SET u = 1 WHERE u = 2;"
                    "UPDATE t_a SET u = 2, parent = 3 WHERE u = 9; INSERT INTO t_b VALUES ('b', 1)"
                ),
                complete("DELETE FROM t_a WHERE u = 2; UPDATE t_b SET v = 3", deletes=None),
            ),
        )
        for name, word in (
            *((word, word) for word in ("action", "n", "key", "d", "ctid_")),
            ("with_upper_case_and_percent", "Upper %s"),
            ("with_quotes", 'q"%'),
        )
    ),
    Situation(
        "tables_named_oddly",
        each_table("CREATE TABLE <T> (id int PRIMARY KEY, u text UNIQUE, made timestamptz);"),
        rows=each_table("INSERT INTO <T> VALUES (1, 'a', now()), (2, 'b', now());"),
        receiver=each_table("ALTER TABLE <T> ADD seen int;"),
        own=each_table("UPDATE <T> SET seen = id;"),
        steps=(
            partial(
                each_table(
                    "UPDATE <T> SET u = 'z' WHERE id = 1; UPDATE <T> SET u = 'a' WHERE id = 2;"
                    "UPDATE <T> SET u = 'b', made = now() WHERE id = 1;"
                ),
                finds=[
                    ask(f"SELECT id, seen FROM {quoted(table)} ORDER BY id", (1, 1), (2, 2))
                    for table in TABLE_NAMES
                ],
            ),
            complete(each_table("DELETE FROM <T> WHERE id = 1; INSERT INTO <T> VALUES (3);")),
        ),
        rules={
            table: {"changed_at": "made", "receiver_columns": ["seen"]} for table in TABLE_NAMES
        },
        modes=TWO,
    ),
    Situation(
        "S18_pattern_without_a_section",
        "CREATE TABLE t_a (id serial PRIMARY KEY, v text); CREATE TABLE other (id int)",
        rows="INSERT INTO t_a (v) VALUES ('a')",
        steps=(partial("INSERT INTO t_a (v) VALUES ('b')"), complete("DELETE FROM t_a")),
        modes=EVERY_MODE,
    ),
    Situation(
        "table_without_any_row_and_table_of_keys_only",
        "CREATE TABLE t_a (id int PRIMARY KEY, v text);"
        "CREATE TABLE t_b (x int, y int, PRIMARY KEY (y, x)); CREATE TABLE t_c (id int UNIQUE)",
        steps=(
            partial("INSERT INTO t_b VALUES (1, 2), (2, 1)"),
            complete("DELETE FROM t_b WHERE x = 1", deletes={"t_b": 1}),
            complete("DELETE FROM t_b; INSERT INTO t_a VALUES (1)", deletes={"t_b": 1}),
        ),
    ),
    Situation(
        "S23_two_schemas",
        "CREATE SCHEMA x; CREATE SCHEMA y; CREATE TABLE x.t_a (id int PRIMARY KEY, u text UNIQUE);"
        "CREATE TABLE y.t_b (id int PRIMARY KEY, a int REFERENCES x.t_a ON DELETE CASCADE);"
        "CREATE TABLE y.t_a (id int PRIMARY KEY); CREATE TABLE t_a (id int PRIMARY KEY)",
        rows="INSERT INTO x.t_a VALUES (1, 'a'), (2, 'b'); INSERT INTO y.t_b VALUES (1, 1), (2, 2);"
        "INSERT INTO y.t_a VALUES (7); INSERT INTO t_a VALUES (8)",
        receiver="CREATE TABLE own (a int REFERENCES x.t_a ON DELETE CASCADE, note text)",
        own="INSERT INTO own VALUES (1, 'on 1'), (2, 'on 2')",
        steps=(
            partial(
                "INSERT INTO x.t_a VALUES (3, 'c'); INSERT INTO y.t_b VALUES (3, 3);"
                "UPDATE x.t_a SET u = 'z' WHERE id = 1; UPDATE x.t_a SET u = 'a' WHERE id = 2;"
                "UPDATE x.t_a SET u = 'b' WHERE id = 1",
                finds=[ask("SELECT a FROM own ORDER BY a", (1,), (2,))],
            ),
            partial("INSERT INTO x.t_a VALUES (4, NULL); INSERT INTO y.t_b VALUES (4, 4)"),
            complete(
                "DELETE FROM x.t_a WHERE id = 3; INSERT INTO y.t_a VALUES (9);DELETE FROM t_a",
                deletes={"x.t_a": 1, "y.t_b": 1, "t_a": 1},
            ),
        ),
        tables=("t_*", "x.t_*", "y.t_*"),
        rules={"x.t_a": {"children": ["y.t_b"]}, "t_a": {}},
        modes=EVERY_MODE,
    ),
    Situation(
        "schemas_that_need_quotes_and_types_that_live_in_them",
        'CREATE SCHEMA "X y"; CREATE SCHEMA "z%s"; CREATE TYPE "X y".mood AS ENUM (\'a\', \'b\');'
        'CREATE DOMAIN "z%s"."Pos" AS int CHECK (VALUE > 0);'
        'CREATE TABLE "X y".t_a (id int PRIMARY KEY, m "X y".mood UNIQUE, p "z%s"."Pos");'
        'CREATE TABLE "z%s".t_a (id serial PRIMARY KEY, m "X y".mood[], a int'
        ' REFERENCES "X y".t_a)',
        rows="""INSERT INTO "X y".t_a VALUES (1, 'a', 1), (2, 'b', 2);"""
        """INSERT INTO "z%s".t_a (m, a) VALUES ('{a,b}', 1)""",
        steps=(
            partial(
                """UPDATE "X y".t_a SET m = NULL WHERE id = 1; UPDATE "X y".t_a SET m = 'a'"""
                """ WHERE id = 2; UPDATE "X y".t_a SET m = 'b' WHERE id = 1;"""
                """UPDATE "z%s".t_a SET m = '{b}'"""
            ),
            complete("""DELETE FROM "z%s".t_a; DELETE FROM "X y".t_a WHERE id = 1"""),
        ),
        tables=("X y.t_*", "z%s.t_*"),
        modes=TWO,
    ),
    Situation(
        "receiver_only_tables_in_another_schema",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        receiver="CREATE SCHEMA mine; CREATE TABLE mine.own (id serial PRIMARY KEY,"
        " a int NOT NULL REFERENCES public.t_a ON DELETE CASCADE, note text)",
        own="INSERT INTO mine.own (a) VALUES (1), (2), (3)",
        steps=(
            partial(
                "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                "UPDATE t_a SET u = 'b' WHERE id = 1",
                finds=[ask("SELECT count(*) FROM mine.own", (3,))],
            ),
            complete(
                "DELETE FROM t_a WHERE id = 3",
                may_wait={Mode.LEAST: ["mine"]},
                finds=[ask("SELECT a FROM mine.own ORDER BY a", (1,), (2,))],
            ),
        ),
        modes=TWO,
    ),
)

# PostgreSQL has no update of such a column, and a deletion would cascade.


@cases(NAMES)
@pytest.mark.long
def test_names_are_only_names(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
