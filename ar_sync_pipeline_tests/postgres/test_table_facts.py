"""Facts of tables that a catalog query returns."""

from __future__ import annotations

import psycopg
import pytest

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
