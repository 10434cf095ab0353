"""Facts of tables that a catalog query returns."""

from __future__ import annotations

import psycopg
import pytest

from ar_sync_pipeline.merge.unique_values import follows
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts, UniqueKey
from ar_sync_pipeline_tests.fix_sites import execute

# What PostgreSQL 18 writes into its catalogs; an older server has no such constraint.
AS_IN_18 = """
UPDATE pg_constraint SET contype = 'n' WHERE conname = 'old_rows';
UPDATE pg_attribute SET attnotnull = true WHERE attname = 'code' AND attrelid = 't_a'::regclass;
UPDATE pg_class SET relchecks = 0 WHERE oid = 't_a'::regclass
"""


@pytest.mark.parametrize("valid", [False, True])
def test_not_null_that_is_not_valid_lets_old_rows_have_null(
    empty_database: str, *, valid: bool
) -> None:
    execute(
        empty_database,
        "CREATE TABLE t_a (code text UNIQUE, v int)",
        "ALTER TABLE t_a ADD CONSTRAINT old_rows CHECK (code <> '')"
        + ("" if valid else " NOT VALID"),
    )
    with psycopg.connect(empty_database) as connection:
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(AS_IN_18)
    with connect(empty_database, application="test") as connection:
        facts = read_tables(connection, "public", lambda name: name == "t_a")["t_a"]
    assert facts.key == (("code",) if valid else ())
    assert facts.nullable(["code"]) == (() if valid else ("code",))


def test_primary_key_without_overlaps_is_named_as_the_reason_for_having_no_key() -> None:
    """PostgreSQL 18 stores it as an exclusion constraint."""
    columns = ("id", "during")
    key = UniqueKey(
        "t_pkey", columns, ("=", "&&"), columns, None, columns, exclusion=True, primary=True
    )
    facts = TableFacts(
        "t",
        tuple(ColumnFacts(name, "integer", nullable=False, generated=False) for name in columns),
        primary_key=columns,
        unique_keys=(key,),
    )
    assert "WITHOUT OVERLAPS, which is not used as a key" in facts.lacking_key
    assert "no primary key" not in facts.lacking_key


KINDS_OF_KEYS = """
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE EXTENSION citext;
CREATE TYPE pair AS (a numeric, b text);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN short AS varchar(5);
CREATE DOMAIN shorter AS short;
"""


@pytest.mark.parametrize(
    ("type_", "index", "is_key"),
    [
        ("text", "k", True),
        ("text", "k text_pattern_ops", True),
        ("text", 'k COLLATE "C" DESC NULLS FIRST', True),
        ("text", "k COLLATE ci", True),
        ("text", "k bpchar_ops", False),
        ('text COLLATE "C"', 'k COLLATE "POSIX"', True),
        ("text COLLATE ci", "k", True),
        ("text COLLATE ci", "k COLLATE ci", True),
        ("text COLLATE ci", 'k COLLATE "C"', False),
        ("citext", "k", True),
        ("citext", "k text_ops", False),
        ("varchar(9)", "k", True),
        ("varchar(9)", "k varchar_pattern_ops", True),
        ("varchar(9)", "k bpchar_ops", False),
        ("shorter", "k", True),
        ("shorter", "k text_pattern_ops", True),
        ("char(9)", "k bpchar_pattern_ops", True),
        ("name", "k", True),
        ("cidr", "k", True),
        ("mood", "k", True),
        ("numeric[]", "k", True),
        ("shorter[]", "k", True),
        ("int4range", "k", True),
        ("int4multirange", "k", True),
        ("jsonb", "k", True),
        ("oid", "k", True),
        ("pair", "k", True),
        ("pair", "k record_image_ops", False),
    ],
)
def test_index_that_tells_equal_values_apart_is_no_key(
    empty_database: str, type_: str, index: str, is_key: bool
) -> None:
    statement = f"CREATE TABLE t_a (k {type_} NOT NULL, v int)"
    execute(empty_database, KINDS_OF_KEYS, statement, f"CREATE UNIQUE INDEX x ON t_a ({index})")
    with connect(empty_database, application="test") as connection:
        facts = read_tables(connection, "public", lambda name: name == "t_a")["t_a"]
    assert facts.key == (("k",) if is_key else ())
    assert ("x is unique by another" in facts.lacking_key) is not is_key


def test_key_of_a_constraint_is_one_whatever_its_type_compares_by(empty_database: str) -> None:
    execute(
        empty_database,
        KINDS_OF_KEYS,
        "CREATE TABLE t_a (k pair, w text COLLATE ci, v text NOT NULL, PRIMARY KEY (k, w));"
        'CREATE UNIQUE INDEX ON t_a (v COLLATE "C")',
    )
    with connect(empty_database, application="test") as connection:
        facts = read_tables(connection, "public", lambda name: name == "t_a")["t_a"]
    assert facts.key == ("k", "w")


@pytest.mark.parametrize(
    ("sent", "held", "follows_from_it"),
    [
        ("k record_image_ops", "k record_image_ops", True),
        ("k", "k record_image_ops", True),
        ("k record_image_ops", "k", False),
        ("k record_image_ops", "k, v", False),
        ("k", "k, v", True),
    ],
)
def test_what_is_unique_by_another_equality_need_not_be_by_its_own(
    empty_database: str, sent: str, held: str, *, follows_from_it: bool
) -> None:
    execute(
        empty_database,
        KINDS_OF_KEYS,
        "CREATE TABLE t_a (id int PRIMARY KEY, k pair, v int)",
        f"CREATE UNIQUE INDEX sent ON t_a ({sent})",
        f"CREATE UNIQUE INDEX held ON t_a ({held})",
    )
    with connect(empty_database, application="test") as connection:
        facts = read_tables(connection, "public", lambda name: name == "t_a")["t_a"]
    keys = {unique.name: unique for unique in facts.unique_keys}
    assert follows(keys["held"], [keys["sent"].definition]) is follows_from_it


def test_exclusion_constraint_is_no_reason_for_having_no_key(empty_database: str) -> None:
    statement = "CREATE TABLE t_a (k int4range NOT NULL, EXCLUDE USING gist (k WITH &&))"
    execute(empty_database, statement)
    with connect(empty_database, application="test") as connection:
        facts = read_tables(connection, "public", lambda name: name == "t_a")["t_a"]
    assert facts.lacking_key == "no primary key and no unique key of NOT NULL columns"


def test_triggers_of_many_partitions_are_found_at_once(empty_database: str) -> None:
    """Each is looked at once, not once for each table, and no partition is locked."""
    partitions = "".join(
        f"CREATE TABLE t_%1$s_{n} PARTITION OF t_%1$s FOR VALUES IN ({n});" for n in range(20)
    )
    execute(
        empty_database,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "DO $$ BEGIN FOR n IN 1..150 LOOP EXECUTE format("
        f"'CREATE TABLE t_%1$s (id int) PARTITION BY LIST (id); {partitions}"
        " CREATE TRIGGER f AFTER INSERT ON t_%1$s FOR EACH ROW EXECUTE FUNCTION f()', n);"
        " COMMIT; END LOOP; END $$",
        "ALTER TABLE t_1 DISABLE TRIGGER ALL",
        "CREATE TRIGGER own BEFORE INSERT ON t_1_2 FOR EACH ROW EXECUTE FUNCTION f()",
        "ANALYZE",
    )
    with psycopg.connect(empty_database) as other:
        other.execute("LOCK TABLE t_2_1")
        with connect(empty_database, application="test") as connection:
            connection.execute("SET lock_timeout = '100ms'")
            connection.execute("SET statement_timeout = '1s'")
            facts = read_tables(connection, "public", lambda name: name in ("t_1", "t_3"))
    assert facts["t_1"].triggers == ("t_1_2.own",)
    assert facts["t_3"].triggers == ("f",)
