"""Filling empty tables: without foreign keys and secondary indexes, which are made after the rows.

A foreign key checks every inserted row by a query of its own and, deferred, keeps a note of it in
memory; added after the rows it checks them with one join. An index that is built at once costs a
third of one that grows. It happens inside the load's transaction, so a load that fails leaves
everything as it was; readers of the empty tables wait for the commit, and nobody waits for a
table that has rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from ar_sync_pipeline.merge.differences import TableDifference
from ar_sync_pipeline.postgres.connect import Connection

_WORTH_A_LOCK_ROWS = 100_000
_LOCK_WAIT = "2s"


@contextmanager
def rebuilt_after(connection: Connection, differences: Sequence[TableDifference]) -> Iterator[None]:
    """Take away what empty tables need not have while they are filled; make it after the block.

    Only where many rows come into an empty table. Without the right to do so, or while somebody
    holds one of the tables, everything stays and the rows are written one by one.

    Args:
        differences: what is about to be written inside the block.
    """
    parts = _parts(connection, differences)
    dropped = parts if _drop(connection, parts) else []
    yield
    for part in dropped:
        connection.execute(sql.SQL(part.restore))  # the receiver's own catalog text


@dataclass(frozen=True)
class _Part:
    """An index or a foreign key: the statements that drop it and that make it again."""

    drop: str
    restore: str


def _parts(connection: Connection, differences: Sequence[TableDifference]) -> list[_Part]:
    if not any(d.fills and d.added >= _WORTH_A_LOCK_ROWS for d in differences):
        return []
    filled = [d.target.relation for d in differences if d.fills and d.added]
    tables = [relation.as_string(connection) for relation in filled]
    with connection.cursor(row_factory=class_row(_Part)) as cursor:
        indexes = cursor.execute(_INDEXES, {"tables": tables}).fetchall()
        return indexes + cursor.execute(_FOREIGN_KEYS, {"tables": tables}).fetchall()


def _drop(connection: Connection, parts: Sequence[_Part]) -> bool:
    """Drop all of them or none; never waits long, since readers would queue behind it."""
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_WAIT])
            for part in parts:
                connection.execute(sql.SQL(part.drop))
            connection.execute("SET LOCAL lock_timeout TO DEFAULT")
    except (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
        return False
    return True


# A definition does not tell everything: what carries more (a comment, a tablespace, a changed
# trigger, a mark for CLUSTER or replication, a dependent object) stays. An owner may drop an index
# without the right to make one in the schema, and a foreign key without that to refer.
_INDEXES = """
SELECT format('DROP INDEX %%I.%%I', n.nspname, c.relname) AS drop,
       pg_get_indexdef(i.indexrelid) AS restore
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = ANY (%(tables)s::regclass[]) AND NOT i.indisunique AND NOT i.indisexclusion
   AND has_schema_privilege(n.oid, 'CREATE')
   AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident
   AND c.relkind = 'i' AND NOT c.relispartition AND c.reltablespace = 0
   AND obj_description(c.oid, 'pg_class') IS NULL
   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget > 0)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass
                    AND d.refobjid = c.oid)
 ORDER BY c.relname
"""
_FOREIGN_KEYS = """
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', k.conrelid::regclass, k.conname) AS drop,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', k.conrelid::regclass, k.conname,
              pg_get_constraintdef(k.oid)) AS restore
  FROM pg_constraint k
 WHERE k.contype = 'f' AND has_table_privilege(k.confrelid, 'REFERENCES')
   AND k.convalidated AND k.conparentid = 0 AND k.coninhcount = 0
   AND k.conrelid = ANY (%(tables)s::regclass[]) AND k.confrelid = ANY (%(tables)s::regclass[])
   AND obj_description(k.oid, 'pg_constraint') IS NULL
   AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_constraint'::regclass
                    AND d.refobjid = k.oid AND d.deptype <> 'i')
 ORDER BY k.conrelid::regclass::text, k.conname
"""
