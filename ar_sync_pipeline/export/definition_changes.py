"""Changes of a table's content that write none of its rows, found in the system catalogs.

``ADD COLUMN ... DEFAULT`` with a constant writes no row: ``pg_attribute`` stores the value. Nor is
a row written by attaching a partition, by renaming another table to this name, by a change of a
column's type that keeps the bytes, by renaming labels of an enum, or by a change of a composite
type. Each of them writes a row of a system catalog, whose ``xmin`` shows when.

A partition that the transaction that attached it has created is no such change: all its rows were
written since.
"""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_definitions import (
    PARTS_AND_TYPES,
    TableDefinition,
    columns_of_own_types,
)
from ar_sync_pipeline.postgres.table_facts import TableFacts


def redefined_tables(
    connection: Connection, tables: Mapping[str, TableFacts], since: Watermark
) -> frozenset[str]:
    """Return the tables whose definition an earlier snapshot could not see, or saw differently."""
    names = {facts.relation.as_string(connection): name for name, facts in tables.items()}
    query = sql.SQL(PARTS_AND_TYPES) + sql.SQL(_REDEFINED).format(
        attribute=unseen_by(since, "a"),
        type=unseen_by(since, "y"),
        parent=unseen_by(since, "i"),
        label=unseen_by(since, "e"),
    )
    found = connection.execute(query, {"names": list(names)})
    return frozenset(names[name] for (name,) in found)


def columns_with_stored_default(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, frozenset[str]]:
    """Return the columns by table that were added with a default that rows do not contain."""
    names = {facts.relation.as_string(connection): name for name, facts in tables.items()}
    query = sql.SQL(PARTS_AND_TYPES) + sql.SQL(_STORED_DEFAULTS)
    found = connection.execute(query, {"names": list(names)})
    return {names[name]: frozenset(columns) for name, columns in found}


def has_other_values(
    before: TableDefinition, now: TableDefinition, stored_defaults: frozenset[str]
) -> bool:
    """Return whether unchanged rows may have other values, or values in columns that are new.

    A new column without a stored default is empty, unless the rows were written again.
    """
    if {n: p.file for n, p in before.parts.items()} != {n: p.file for n, p in now.parts.items()}:
        return True
    numbers = {column.number for column in before.columns.values()}
    return any(
        not column.reads_like(before.columns[name])
        if name in before.columns
        else name in stored_defaults or column.number in numbers
        for name, column in now.columns.items()
    )


def types_changed(
    snapshot: Connection, now: Connection, tables: Mapping[str, TableFacts]
) -> list[str]:
    """Return the tables whose values are read by other labels or attributes than at a snapshot.

    ``ALTER TYPE`` waits for no lock on the tables, and rows are read by the newest labels.

    Args:
        snapshot: Connection that reads the snapshot.
        now: Connection that reads the present.
        tables: Replicated tables.
    """
    before = columns_of_own_types(snapshot, tables)
    if not any(c.labels or c.attributes for one in before.values() for c in one.values()):
        return []
    after = columns_of_own_types(now, tables)
    return [
        name
        for name, columns in before.items()
        if any(
            (held := after.get(name, {}).get(key)) is not None and not held.reads_like(column)
            for key, column in columns.items()
        )
    ]


_STORED_DEFAULTS = """
SELECT p.name, array_agg(DISTINCT a.attname::text)
  FROM part p JOIN pg_attribute a ON a.attrelid = p.oid AND a.atthasmissing AND NOT a.attisdropped
 GROUP BY p.name
"""
# A table's row type is renamed and moved together with the table. pg_class cannot be used, since
# its row is also rewritten by GRANT, VACUUM FULL or a first trigger.
# The rows of system columns are written when a table is created, and never changed.
_REDEFINED = """
, new_partition AS (
  SELECT i.inhrelid AS oid FROM pg_inherits i
    JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = 'ctid' AND a.attnum < 0
   WHERE a.xmin = i.xmin
)
SELECT DISTINCT p.name FROM part p
 WHERE p.oid NOT IN (SELECT oid FROM new_partition) AND (
       EXISTS (SELECT FROM pg_attribute a
                WHERE a.attrelid = p.oid AND a.attnum > 0 AND {attribute})
    OR EXISTS (SELECT FROM pg_type y WHERE y.typrelid = p.oid AND {type})
    OR EXISTS (SELECT FROM pg_inherits i
                 JOIN pg_class c ON c.oid = i.inhparent AND c.relkind = 'p'
                WHERE (i.inhparent = p.oid OR i.inhrelid = p.oid) AND {parent}
                  AND i.inhrelid NOT IN (SELECT oid FROM new_partition))
    OR p.root IN (SELECT u.root FROM used u JOIN pg_enum e ON e.enumtypid = u.oid
                   WHERE {label})
    OR p.root IN (SELECT u.root FROM used u
                    JOIN pg_type t ON t.oid = u.oid AND t.typtype = 'c'
                    JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
                   WHERE {attribute}))
"""
