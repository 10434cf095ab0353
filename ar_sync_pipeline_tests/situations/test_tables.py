"""Tables of every shape: partitions, inheritance, keys, long rows."""

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
        "references_of_and_to_one_partition",
        "CREATE TABLE t_a (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_a_1 PARTITION OF t_a FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE t_a_2 PARTITION OF t_a FOR VALUES FROM (100) TO (200);"
        "CREATE TABLE t_b (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);"
        "CREATE TABLE t_b_1 PARTITION OF t_b FOR VALUES FROM (0) TO (100);"
        "CREATE TABLE t_b_2 PARTITION OF t_b FOR VALUES FROM (100) TO (200);"
        "ALTER TABLE t_b_1 ADD FOREIGN KEY (a) REFERENCES t_a",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (101, 'c');"
        "INSERT INTO t_b VALUES (1, 1), (2, 2), (101, 999)",
        receiver="CREATE TABLE own (id serial PRIMARY KEY, a int REFERENCES t_a_1)",
        own="INSERT INTO own (a) VALUES (1), (2)",
        steps=(
            partial("UPDATE t_a SET v = 'z' WHERE id = 2"),
            complete(
                "DELETE FROM t_b WHERE a = 1; DELETE FROM t_a WHERE id = 1",
                waits_for=["own_a_fkey"],
                meanwhile=[ask("SELECT count(*) FROM t_a", (3,))],
                then="DELETE FROM own WHERE a = 1",
                finds=[ask("SELECT a FROM own", (2,))],
            ),
            complete("INSERT INTO t_a VALUES (3, 'd'); INSERT INTO t_b VALUES (3, 3)"),
        ),
        modes=TWO,
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
        "no_key_and_rows_that_change_and_go",
        "CREATE TABLE t_a (id int PRIMARY KEY, v int); CREATE TABLE t_log (v text, seen boolean)",
        rows="INSERT INTO t_a VALUES (1, 1);"
        "INSERT INTO t_log SELECT 'v' || n, false FROM generate_series(1, 30) n",
        steps=(
            partial(
                "UPDATE t_log SET seen = true WHERE v < 'v2'; DELETE FROM t_log WHERE v = 'v5'",
                deletes={"t_log": 12},
            ),
            partial("UPDATE t_a SET v = 2"),
            partial("INSERT INTO t_log VALUES ('v5', true), ('v5', true)"),
        ),
        modes=TWO,
    ),
    Situation(
        "table_that_is_sent_whole_has_lost_rows",
        "CREATE TABLE t_a (id int PRIMARY KEY, v text); CREATE TABLE t_b (id int PRIMARY KEY)",
        rows="INSERT INTO t_a SELECT n, 'v' || n FROM generate_series(1, 30) n",
        receiver="ALTER TABLE t_a ADD seen int",
        own="UPDATE t_a SET seen = id",
        steps=(
            partial(
                "DELETE FROM t_a WHERE id = 5;;ALTER TABLE t_a ALTER v TYPE text USING v || '!'",
                deletes={"t_a": 1},
            ),
            partial("UPDATE t_a SET v = 'six' WHERE id = 6; INSERT INTO t_b VALUES (1)"),
            partial("INSERT INTO t_b VALUES (2)"),
        ),
        modes=TWO,
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


@cases(PARTITIONS)
@pytest.mark.long
def test_partitions_hold_the_senders_rows(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(SHAPES)
def test_tables_of_every_shape_arrive(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
