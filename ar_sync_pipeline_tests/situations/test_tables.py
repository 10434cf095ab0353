"""Tables of every shape: names, keys, identities, partitions, inheritance, several schemas."""

from __future__ import annotations

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


ALL_COLUMNS = ", ".join(quoted(word) + " int" for word in WORDS)
TABLE_NAMES = ("t_a/b", "t_a b", "t_a.b", 't_a"b', "t_A", "t_a%s", "t_{}", "t_ñ", "t_" + "x" * 61,
               "t_../x", "t_\\")  # fmt: skip


def each_table(template: str, *, tables: tuple[str, ...] = TABLE_NAMES) -> str:
    return "".join(template.replace("<T>", quoted(table)) for table in tables)


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
        "own_tables_in_another_schema",
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
FIXED_MAY_WAIT = {Mode.LEAST: ["PostgreSQL does not update"]}

GENERATED = (
    Situation(
        "identity_keys",
        "CREATE TABLE t_a (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, u text UNIQUE);"
        "CREATE TABLE t_b (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, u text UNIQUE);"
        "CREATE TABLE t_c (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY UNIQUE);"
        "CREATE TABLE t_d (id int PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY, v text);"
        "CREATE TABLE t_e (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text)",
        rows="INSERT INTO t_a (u) VALUES ('a'), ('b'); INSERT INTO t_b (u) VALUES ('a'), ('b');"
        "INSERT INTO t_c (id) VALUES (1), (2); INSERT INTO t_d (id) VALUES (1), (2);"
        "INSERT INTO t_e (id) VALUES (1), (2), (3)",
        receiver="ALTER TABLE t_e ADD seen int;"
        "CREATE TABLE own (e int REFERENCES t_e ON DELETE CASCADE)",
        own="UPDATE t_e SET seen = id; INSERT INTO own SELECT id FROM t_e",
        steps=(
            partial(
                "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                "UPDATE t_a SET u = 'b' WHERE id = 1; INSERT INTO t_a (u) VALUES ('c');"
                "UPDATE t_b SET id = 7 WHERE id = 2; UPDATE t_d SET n = 40, v = 'x'"
                " WHERE id = 1; UPDATE t_e SET v = 'x'",
                deletes={"t_b": 1},
            ),
            # The same key again, with the next value that nobody may write.
            partial(
                "DELETE FROM t_e WHERE id = 2; INSERT INTO t_e (id) VALUES (2);"
                "DELETE FROM t_c WHERE id = 1; INSERT INTO t_c (id) VALUES (1)",
                may_wait=FIXED_MAY_WAIT,
                finds=[
                    ask("SELECT id, seen FROM t_e ORDER BY id", (1, 1), (2, 2), (3, 3)),
                    ask("SELECT count(*) FROM own", (3,)),
                ],
            ),
            complete(
                "DELETE FROM t_c; INSERT INTO t_c (id) VALUES (2), (1);"
                "UPDATE t_e SET n = DEFAULT WHERE id = 3",
                may_wait=FIXED_MAY_WAIT,
                finds=[
                    ask("SELECT count(*) FROM own", (3,)),
                    ask("SELECT nextval(pg_get_serial_sequence('t_a', 'id'))", (4,)),
                ],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "identity_values_change_places",
        "CREATE TABLE t_a (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY UNIQUE, v int)",
        rows="INSERT INTO t_a (id) VALUES (1), (2), (3)",
        receiver="CREATE TABLE own (a int REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own VALUES (1), (2)",
        steps=(
            partial(
                "DELETE FROM t_a; INSERT INTO t_a (id, n) OVERRIDING SYSTEM VALUE"
                " VALUES (1, 2), (2, 1), (3, 3)",
                may_wait=FIXED_MAY_WAIT,
                finds=[ask("SELECT a FROM own ORDER BY a", (1,), (2,))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "generated_columns",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2)"
        " STORED, even bool GENERATED ALWAYS AS (v % 2 = 0) STORED);"
        "CREATE UNIQUE INDEX ON t_a (twice) WHERE even",
        rows="INSERT INTO t_a (id, v) VALUES (1, 1), (2, 2), (3, 4)",
        receiver="CREATE TABLE own (a int REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own SELECT id FROM t_a",
        steps=(
            partial(
                "UPDATE t_a SET v = 9 WHERE id = 2; UPDATE t_a SET v = 2 WHERE id = 3;"
                "UPDATE t_a SET v = 4 WHERE id = 2",
                finds=[ask("SELECT count(*) FROM own", (3,))],
            ),
            complete(
                "UPDATE t_a SET v = NULL WHERE id = 2; INSERT INTO t_a (id, v) VALUES (4, 4)",
                deletes={},
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "generated_at_one_server_only",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int);CREATE TABLE t_b (id int PRIMARY KEY, v int)",
        rows="INSERT INTO t_a VALUES (1, 1); INSERT INTO t_b (id, v) VALUES (1, 1);;"
        "ALTER TABLE t_b ADD w int GENERATED ALWAYS AS (v + 1) STORED",
        receiver="ALTER TABLE t_a ADD w int GENERATED ALWAYS AS (v + 1) STORED UNIQUE",
        steps=(
            partial(
                "UPDATE t_a SET v = 5; UPDATE t_b SET v = 5",
                finds=[ask("SELECT w FROM t_a", (6,)), ask("SELECT v FROM t_b", (5,))],
            ),
            complete("INSERT INTO t_a VALUES (2, 2)"),
        ),
    ),
    Situation(
        "key_that_is_a_generated_column",
        "CREATE TABLE t_a (v int NOT NULL, k int GENERATED ALWAYS AS (v % 100) STORED PRIMARY KEY)",
        rows="INSERT INTO t_a VALUES (1), (2)",
        steps=(
            # Rows without a key of their own are compared as a bag.
            partial(
                "UPDATE t_a SET v = 101 WHERE v = 1; INSERT INTO t_a VALUES (3)",
                deletes={"t_a": 1},
            ),
            complete("DELETE FROM t_a WHERE v = 2; UPDATE t_a SET v = 4 WHERE v = 3"),
        ),
        modes=TWO,
    ),
)

PARTITIONS = (
    Situation(
        "list_partitions_and_a_row_that_moves",
        "CREATE TABLE t_a (id int, region text, u text, PRIMARY KEY (id, region),"
        " UNIQUE (region, u)) PARTITION BY LIST (region);"
        "CREATE TABLE t_a_n PARTITION OF t_a FOR VALUES IN ('n');"
        "CREATE TABLE t_a_s PARTITION OF t_a FOR VALUES IN ('s');"
        "CREATE TABLE t_a_rest PARTITION OF t_a DEFAULT",
        rows="INSERT INTO t_a SELECT n, CASE n % 3 WHEN 0 THEN 'n' WHEN 1 THEN 's' ELSE 'x' END,"
        " 'v' || n FROM generate_series(1, 30) n",
        steps=(
            partial("UPDATE t_a SET u = 'x' || u; UPDATE t_a SET u = 'v' || 1 + id % 30"),
            complete(
                "UPDATE t_a SET region = 's' WHERE id < 10 AND region = 'n';"
                "UPDATE t_a SET region = 'y' WHERE id > 25; DELETE FROM t_a WHERE id = 12"
            ),
            partial("INSERT INTO t_a VALUES (100, 'n', 'a'), (101, 'q', 'a')"),
        ),
        modes=TWO,
    ),
    Situation(
        "rows_move_to_another_partition_under_the_same_key",
        "CREATE TABLE t_a (id int, k int GENERATED ALWAYS AS IDENTITY, at date NOT NULL, v text)"
        " PARTITION BY RANGE (at);"
        "CREATE TABLE t_a_1 PARTITION OF t_a (PRIMARY KEY (id)) FOR VALUES FROM ('2026-01-01')"
        " TO ('2026-02-01');"
        "CREATE TABLE t_a_2 PARTITION OF t_a (PRIMARY KEY (id)) FOR VALUES FROM ('2026-02-01')"
        " TO (MAXVALUE)",
        # Only the partitions have a key; the whole has none.
        rows="INSERT INTO t_a (id, at) VALUES (1, '2026-01-05'), (2, '2026-02-05')",
        steps=(
            complete("UPDATE t_a SET at = '2026-03-01' WHERE id = 1"),
            complete(
                "DELETE FROM t_a WHERE id = 2; INSERT INTO t_a (id, at) VALUES"
                " (2, '2026-01-02'), (3, '2026-02-02')"
            ),
        ),
    ),
    Situation(
        "hash_partitions_with_children_and_own_rows",
        "CREATE TABLE t_a (id int PRIMARY KEY, u int) PARTITION BY HASH (id);"
        + "".join(
            f"CREATE TABLE t_a{n} PARTITION OF t_a FOR VALUES WITH (MODULUS 4, REMAINDER {n});"
            for n in range(4)
        )
        + "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a ON DELETE CASCADE)",
        rows="INSERT INTO t_a SELECT n, n FROM generate_series(1, 40) n;"
        "INSERT INTO t_b SELECT id, id FROM t_a",
        receiver="CREATE TABLE own (a int REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own SELECT id FROM t_a",
        steps=(
            partial(
                "UPDATE t_a SET u = u + 1 WHERE id < 20",
                finds=[ask("SELECT count(*) FROM own", (40,))],
            ),
            complete(
                "DELETE FROM t_a WHERE id > 35", finds=[ask("SELECT count(a) FROM own", (35,))]
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "partitions_of_partitions_with_columns_in_another_order",
        "CREATE TABLE t_a (id int, y int, m int, v text, PRIMARY KEY (id, y, m))"
        " PARTITION BY LIST (y);"
        "CREATE TABLE t_a26 (v text, dropped int, m int NOT NULL, y int NOT NULL, id int NOT NULL)"
        " PARTITION BY LIST (m); ALTER TABLE t_a26 DROP dropped;"
        "ALTER TABLE t_a ATTACH PARTITION t_a26 FOR VALUES IN (2026);"
        "CREATE TABLE t_a2601 PARTITION OF t_a26 FOR VALUES IN (1);"
        "CREATE TABLE t_a26xx PARTITION OF t_a26 DEFAULT",
        rows="INSERT INTO t_a SELECT n, 2026, n % 12, 'v' FROM generate_series(1, 30) n",
        steps=(
            partial("UPDATE t_a SET v = 'w' WHERE m = 1; INSERT INTO t_a VALUES (99, 2026, 1)"),
            complete("UPDATE t_a SET m = 1 WHERE m = 2; DELETE FROM t_a WHERE m = 3"),
        ),
        modes=TWO,
    ),
    Situation(
        "partition_that_is_attached_later_with_a_default_of_its_own",
        "CREATE TABLE t_a (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE t_new (id int NOT NULL, at date NOT NULL)",
        rows="INSERT INTO t_a VALUES (1, '2026-01-05', 'a');"
        "INSERT INTO t_new VALUES (2, '2026-02-05')",
        steps=(
            # No row of the new partition was written since; it had its rows for long.
            complete(
                "ALTER TABLE t_new ADD v text DEFAULT 'here';"
                "ALTER TABLE t_a ATTACH PARTITION t_new FOR VALUES FROM ('2026-02-01')"
                " TO ('2026-03-01')",
                receiver="ALTER TABLE t_new ADD v text DEFAULT 'there';"
                "ALTER TABLE t_a ATTACH PARTITION t_new FOR VALUES FROM ('2026-02-01')"
                " TO ('2026-03-01')",
            ),
            partial("INSERT INTO t_a VALUES (3, '2026-02-07', 'c')"),
        ),
    ),
    Situation(
        "receiver_is_partitioned_otherwise",
        "CREATE TABLE own_marker (id int)",
        rows="CREATE TABLE t_a (id int PRIMARY KEY, v text);"
        "INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, 20) n",
        receiver="CREATE TABLE t_a (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_a_low PARTITION OF t_a FOR VALUES FROM (MINVALUE) TO (10);"
        "CREATE TABLE t_a_high PARTITION OF t_a FOR VALUES FROM (10) TO (MAXVALUE)",
        steps=(
            partial("UPDATE t_a SET v = 'x' WHERE id IN (5, 15)"),
            complete("UPDATE t_a SET id = id + 100 WHERE id < 5; DELETE FROM t_a WHERE id = 10"),
        ),
        tables=("t_a",),
    ),
)

SHAPES = (
    Situation(
        "S15_inheritance",
        "CREATE TABLE t_p (id int PRIMARY KEY, v text);"
        "CREATE TABLE t_c (extra int) INHERITS (t_p);"
        "ALTER TABLE t_c ADD PRIMARY KEY (id)",
        rows="INSERT INTO t_p VALUES (1, 'a'), (2, 'b'); INSERT INTO t_c VALUES (3, 'c', 3)",
        steps=(
            partial("UPDATE t_p SET v = v || 'x'"),
            partial("UPDATE t_c SET extra = 4, v = 'd'; INSERT INTO t_p VALUES (5, 'e')"),
            complete(
                "DELETE FROM t_p WHERE id = 2; INSERT INTO t_c VALUES (6, 'f', 6)",
                deletes={"t_p": 1},
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "child_table_with_the_same_key_as_its_parent",
        "CREATE TABLE t_p (id int PRIMARY KEY, v text UNIQUE);"
        "CREATE TABLE t_c (PRIMARY KEY (id), UNIQUE (v)) INHERITS (t_p)",
        rows="INSERT INTO t_p VALUES (1, 'a'), (2, 'b'); INSERT INTO t_c VALUES (1, 'a'), (2, 'c')",
        steps=(
            partial(
                "UPDATE ONLY t_p SET v = 'z' WHERE id = 1; UPDATE t_c SET v = 'zz' WHERE id = 1"
            ),
            complete(
                "DELETE FROM ONLY t_p WHERE id = 1; INSERT INTO t_c VALUES (3, 'd')",
                deletes={"t_p": 1},
            ),
            complete("DELETE FROM t_c WHERE id = 1", deletes={"t_c": 1}),
        ),
    ),
    Situation(
        "child_table_only_at_the_receiver",
        "CREATE TABLE t_p (id int PRIMARY KEY, v text)",
        rows="INSERT INTO t_p VALUES (1, 'a'), (2, 'b')",
        receiver="CREATE TABLE own (extra int) INHERITS (t_p)",
        own="INSERT INTO own VALUES (1, 'mine', 1), (77, 'mine', 2)",
        steps=(
            partial("UPDATE t_p SET v = 'x'"),
            complete(
                "DELETE FROM t_p WHERE id = 1",
                deletes={"t_p": 1},
                finds=[ask("SELECT * FROM own ORDER BY id", (1, "mine", 1), (77, "mine", 2))],
            ),
        ),
    ),
    Situation(
        "S17_two_thousand_long_rows_and_one_change",
        "CREATE TABLE t_a (id int PRIMARY KEY, page text)",
        rows="INSERT INTO t_a SELECT n, repeat('same ', 4000) FROM generate_series(1, 2000) n",
        steps=(complete("UPDATE t_a SET page = page || 'x' WHERE id = 777"),),
    ),
    Situation(
        "rows_that_compress_to_nothing",
        "CREATE TABLE t_a (id int PRIMARY KEY, page bytea, t text, n numeric)",
        rows="INSERT INTO t_a SELECT n, decode(repeat('00', 60000), 'hex'), repeat(' ', 90000), 0"
        " FROM generate_series(1, 200) n",
        steps=(partial("UPDATE t_a SET t = repeat(' ', 90001)"),),
    ),
    Situation(
        "no_primary_key_but_a_unique_one",
        "CREATE TABLE t_a (code text NOT NULL UNIQUE, v int);"
        "CREATE TABLE t_b (x int NOT NULL, y int NOT NULL, v int);"
        "CREATE UNIQUE INDEX ON t_b (x, y); CREATE TABLE t_c (code text UNIQUE, v int)",
        rows="INSERT INTO t_a VALUES ('a', 1), ('b', 2); INSERT INTO t_b VALUES (1, 1, 1),"
        " (1, 2, 2); INSERT INTO t_c VALUES ('a', 1), (NULL, 1), (NULL, 1)",
        receiver="ALTER TABLE t_a ADD seen int",
        own="UPDATE t_a SET seen = v",
        steps=(
            complete(
                "UPDATE t_a SET v = v + 10; UPDATE t_b SET v = 9 WHERE y = 1;"
                "INSERT INTO t_c VALUES (NULL, 2); DELETE FROM t_c WHERE code = 'a'",
                finds=[ask("SELECT code, seen FROM t_a ORDER BY 1", ("a", 1), ("b", 2))],
            ),
            complete(
                "DELETE FROM t_a WHERE code = 'b'; INSERT INTO t_b VALUES (3, 3, 3);"
                "DELETE FROM t_c WHERE ctid IN (SELECT min(ctid) FROM t_c)"
            ),
            partial("UPDATE t_a SET v = 0; INSERT INTO t_a VALUES ('c', 3)"),
        ),
        modes=TWO,
    ),
    Situation(
        "no_key_at_all",
        "CREATE TABLE t_a (x int, y text); CREATE TABLE t_b (j json, p point, f float8)",
        rows="INSERT INTO t_a VALUES (1, 'a'), (1, 'a'), (NULL, NULL), (NULL, NULL), (2, NULL);"
        """INSERT INTO t_b VALUES ('{"a":1}', '(0,0)', 'NaN'), ('{"a":1}', '(0,0)', 'NaN'),"""
        "(NULL, NULL, '-0')",
        steps=(
            complete("INSERT INTO t_a VALUES (1, 'a'), (NULL, NULL), (3, 'c')"),
            complete(
                "DELETE FROM t_a WHERE ctid IN (SELECT min(ctid) FROM t_a GROUP BY x);"
                "UPDATE t_b SET f = 0"
            ),
            complete(
                "UPDATE t_a SET y = 'b' WHERE ctid = (SELECT min(ctid) FROM t_a);"
                "DELETE FROM t_b WHERE ctid = (SELECT min(ctid) FROM t_b)"
            ),
            complete("DELETE FROM t_a"),
        ),
        modes=TWO,
    ),
    Situation(
        "no_key_and_a_partial",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int); CREATE TABLE t_log (at timestamptz, v text)",
        rows="INSERT INTO t_a VALUES (1, 1); INSERT INTO t_log VALUES (now(), 'a'), (NULL, NULL)",
        steps=(
            # The log waits for the complete, if nothing better is possible; nothing doubles.
            partial(
                "INSERT INTO t_log VALUES (now(), 'b'); UPDATE t_a SET v = 2",
                compared=False,
                finds=[
                    ask("SELECT v FROM t_a", (2,)),
                    ask("SELECT count(*) FROM t_log WHERE v = 'a'", (1,)),
                ],
            ),
            complete("INSERT INTO t_log VALUES (now(), 'c'); DELETE FROM t_log WHERE v = 'a'"),
        ),
    ),
    Situation(
        "keys_of_negative_and_largest_numbers",
        "CREATE TABLE t_a (id bigint PRIMARY KEY, v text);"
        "CREATE TABLE t_b (id smallint PRIMARY KEY, v text)",
        rows="INSERT INTO t_a VALUES (-9223372036854775808, 'low'), (9223372036854775807, 'high'),"
        " (-1, 'm'), (0, 'o'), (65535, 'e'), (65536, 'f'); INSERT INTO t_b VALUES (-32768, 'low'),"
        " (32767, 'high')",
        steps=(
            partial("UPDATE t_a SET v = v || 'x'; UPDATE t_b SET v = v || 'x'"),
            complete("DELETE FROM t_a WHERE id IN (-1, 65536); INSERT INTO t_a VALUES (-2)"),
        ),
    ),
    Situation(
        "columns_in_another_order_and_dropped_ones",
        "CREATE TABLE own_marker (id int)",
        rows="CREATE TABLE t_a (gone int, id int PRIMARY KEY, u text UNIQUE, v int);"
        "ALTER TABLE t_a DROP gone; INSERT INTO t_a VALUES (1, 'a', 1), (2, 'b', 2)",
        receiver="CREATE TABLE t_a (v int, own int, away int, u text UNIQUE, id int PRIMARY KEY);"
        "ALTER TABLE t_a DROP away",
        own="UPDATE t_a SET own = 7",
        steps=(
            partial(
                "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
                "UPDATE t_a SET u = 'b', v = 9 WHERE id = 1",
                finds=[ask("SELECT own FROM t_a", (7,), (7,))],
            ),
            complete("INSERT INTO t_a VALUES (3, 'c', 3)"),
        ),
        tables=("t_a",),
    ),
    Situation(
        "unlogged_and_toasted_and_clustered",
        "CREATE UNLOGGED TABLE t_a (id int PRIMARY KEY, v text);"
        "CREATE TABLE t_b (id int PRIMARY KEY, v text) WITH (fillfactor = 10);"
        "ALTER TABLE t_b ALTER v SET STORAGE EXTERNAL, ALTER v SET COMPRESSION pglz",
        rows="INSERT INTO t_a VALUES (1, 'a'); INSERT INTO t_b SELECT n, repeat('x', 9000)"
        " FROM generate_series(1, 20) n",
        steps=(partial("UPDATE t_a SET v = 'b'; UPDATE t_b SET v = v || 'y' WHERE id = 3"),),
    ),
    Situation(
        "row_security_at_the_receiver",
        "CREATE TABLE t_a (id int PRIMARY KEY, v text)",
        rows="INSERT INTO t_a VALUES (1, 'x'), (2, 'y')",
        receiver="ALTER TABLE t_a ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY only_x ON t_a USING (v = 'x') WITH CHECK (true)",
        first_may_wait={Mode.LEAST: ["t_a"]},
        steps=(
            partial("UPDATE t_a SET v = 'z' WHERE id = 2", may_wait={Mode.LEAST: ["t_a"]}),
            complete("DELETE FROM t_a WHERE id = 2", may_wait={Mode.LEAST: ["t_a"]}),
        ),
        modes=TWO,
    ),
)


@cases(NAMES)
def test_names_are_only_names(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(GENERATED)
def test_values_that_the_server_makes_are_the_senders(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(PARTITIONS)
def test_partitions_hold_the_senders_rows(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(SHAPES)
def test_tables_of_every_shape_arrive(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
