"""Definitions of replicated tables: they show DDL that changed rows without writing them.

Partials carry what changed at the sender. What a column that is dropped and added again, a table
that is created again or a truncation takes away at the receiver, only a complete brings back. The
ledger keeps each table's definition as of the last load, and since when a table is unverified.

The sender compares the definitions of tables that partials do not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import built_in_search_path
from ar_sync_pipeline.postgres.sql_parts import exists
from ar_sync_pipeline.postgres.table_facts import TableFacts


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class TablePart(_Frozen):
    """A table, or a partition of it.

    Attributes:
        file: Its ``relfilenode``.
        filled: Whether it has a row (true) or no block (false), if it is ``UNLOGGED``: a crash of
            the server empties such a table and leaves no other trace. None: it is not, or only
            deleted rows are in its blocks, which vacuum may remove.
    """

    file: int
    filled: bool | None = None


class ColumnDefinition(_Frozen):
    """A column.

    Attributes:
        place: Its number, type and collation.
        written: Transaction that last changed its definition.
        labels: Labels of the enums that its type contains, by ``oid``; a row stores the ``oid``.
        attributes: Attributes of the composite types that its type contains, by ``oid`` of the type
            and number: name, type and collation. None: a record of an earlier version.
    """

    place: str
    written: str
    labels: Mapping[int, str] = {}
    attributes: Mapping[str, str] | None = None

    @property
    def number(self) -> str:
        """Its number in the table, which no later column gets."""
        return self.place.partition(" ")[0]

    def reads_like(self, before: ColumnDefinition) -> bool:
        """Return whether the same stored values have the same text as before."""
        return (
            self.place == before.place
            and before.labels.items() <= self.labels.items()
            and (before.attributes is None or before.attributes == self.attributes)
        )


class TableDefinition(_Frozen):
    """A table in the system catalogs.

    Attributes:
        parts: The table and its partitions, by ``oid``.
        columns: Replicated columns, by name.
        own: The other columns, by name.
        left_out: Columns that the last archive with the table had and the receiver lacked.
    """

    parts: Mapping[int, TablePart]
    columns: Mapping[str, ColumnDefinition]
    own: Mapping[str, ColumnDefinition] = {}
    left_out: tuple[str, ...] = ()

    def replicating(self, names: frozenset[str]) -> TableDefinition:
        """Return the definition with these columns as the replicated ones."""
        known = {**self.own, **self.columns}
        columns = {name: column for name, column in known.items() if name in names}
        own = {name: column for name, column in known.items() if name not in names}
        return TableDefinition(parts=self.parts, columns=columns, own=own)

    def names_now(self, now: TableDefinition) -> dict[str, str]:
        """Return the present name of each column that still exists, by its name in this one."""
        names = {column.number: name for name, column in {**now.own, **now.columns}.items()}
        known = {**self.own, **self.columns}
        return {name: names[c.number] for name, c in known.items() if c.number in names}

    def renamed(self, names: Mapping[str, str]) -> TableDefinition:
        """Return the definition with these columns only, under other names."""
        known = {**self.own, **self.columns}
        columns = {new: known[name] for name, new in names.items()}
        return TableDefinition(parts=self.parts, columns=columns)

    def is_emptied_since(self, before: TableDefinition) -> bool:
        """Return whether an ``UNLOGGED`` part that had rows has none, as after a crash."""
        return any(
            part.filled and number in self.parts and self.parts[number].filled is False
            for number, part in before.parts.items()
        )

    def keeps_rows_of(self, before: TableDefinition) -> bool:
        """Return whether the rows are those of an earlier definition, as far as DDL shows."""
        if not before.parts.keys() <= self.parts.keys():
            return False
        for name, column in self.columns.items():
            if name not in before.columns or not column.reads_like(before.columns[name]):
                return False
        if self.is_emptied_since(before):
            return False
        files = [n for n, part in before.parts.items() if part.file != self.parts[n].file]
        if not files:
            return True
        if any(before.columns[name].written != c.written for name, c in self.columns.items()):
            return False
        # A receiver-only column that is added or changed may write every row, too. VACUUM FULL
        # leaves the same traces as TRUNCATE and ANALYZE, so it counts as a change of rows.
        return before.own != self.own


@dataclass(frozen=True)
class RecordedTable:
    """A table in the ledger.

    Attributes:
        unverified_since: When a load found that DDL had changed its rows; None: it did not.
    """

    definition: TableDefinition
    unverified_since: datetime | None


def read_definitions(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, TableDefinition]:
    """Return the definitions of tables now, all columns as replicated; without missing tables."""
    names = {facts.relation.as_string(connection): name for name, facts in tables.items()}
    query = sql.SQL(PARTS_AND_TYPES) + sql.SQL(_DEFINITIONS) + sql.SQL(_READ)
    parameters = {"names": list(names), "own_types": False}
    with built_in_search_path(connection):
        rows = connection.execute(query, parameters).fetchall()
    for _, parts, _ in rows:
        for part in parts.values():
            part["filled"] = _is_filled(connection, part)
    return {
        names[name]: TableDefinition.model_validate({"parts": parts, "columns": columns or {}})
        for name, parts, columns in rows
    }


def columns_of_own_types(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> dict[str, dict[str, ColumnDefinition]]:
    """Return the columns whose types are not PostgreSQL's own, by table and name.

    It opens no table, so that it waits for no lock.
    """
    names = {facts.relation.as_string(connection): name for name, facts in tables.items()}
    query = sql.SQL(PARTS_AND_TYPES) + sql.SQL(_DEFINITIONS) + sql.SQL(_READ_COLUMNS)
    parameters = {"names": list(names), "own_types": True}
    with built_in_search_path(connection):
        rows = connection.execute(query, parameters).fetchall()
    return {
        names[name]: {key: ColumnDefinition.model_validate(one) for key, one in columns.items()}
        for name, columns in rows
    }


def _is_filled(connection: Connection, part: Mapping[str, Any]) -> bool | None:
    """Return `TablePart.filled`; a part that the role may not read counts as one with rows."""
    has_blocks: bool | None = part["filled"]
    if not has_blocks or not part["readable"]:
        return has_blocks
    own_rows = sql.SQL("ONLY {}").format(sql.Identifier(*part["name"]))
    return True if exists(connection, own_rows) else None


def read_recorded(connection: Connection) -> dict[str, RecordedTable]:
    """Return the tables in the ledger, by name."""
    rows = connection.execute(
        "SELECT table_name, definition, unverified_since FROM ar_sync.table_definition"
    ).fetchall()
    return {
        name: RecordedTable(TableDefinition.model_validate(definition), since)
        for name, definition, since in rows
    }


def record_tables(connection: Connection, tables: Mapping[str, RecordedTable]) -> None:
    """Write tables to the ledger, in the transaction of a load."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ar_sync.table_definition VALUES (%s, %s, %s)"
            " ON CONFLICT (table_name) DO UPDATE SET definition = excluded.definition,"
            " unverified_since = excluded.unverified_since",
            [
                (name, Jsonb(table.definition.model_dump(mode="json")), table.unverified_since)
                for name, table in tables.items()
            ],
        )


def read_unverified(connection: Connection) -> tuple[str, ...]:
    """Return the names of the tables in the ledger that are unverified, sorted."""
    rows = connection.execute(
        "SELECT table_name FROM ar_sync.table_definition WHERE unverified_since IS NOT NULL"
        " ORDER BY table_name"
    ).fetchall()
    return tuple(name for (name,) in rows)


# The ids of PostgreSQL's own types, none of which contains an enum, are below 16384.
PARTS_AND_TYPES = """
WITH RECURSIVE part AS (
  SELECT n.name, to_regclass(n.name)::oid AS root, to_regclass(n.name)::oid AS oid
    FROM unnest(%(names)s::text[]) AS n (name)
  UNION
  SELECT p.name, p.root, i.inhrelid FROM part p
    JOIN pg_class c ON c.oid = p.oid AND c.relkind = 'p'
    JOIN pg_inherits i ON i.inhparent = p.oid
), used AS (
  SELECT p.root, a.attnum, a.atttypid AS oid FROM part p
    JOIN pg_attribute a ON a.attrelid = p.root AND a.attnum > 0 AND NOT a.attisdropped
   WHERE a.atttypid >= 16384
  UNION
  SELECT u.root, u.attnum, inner_type.oid FROM used u
    JOIN pg_type y ON y.oid = u.oid
   CROSS JOIN LATERAL (
      SELECT unnest(ARRAY[y.typelem, y.typbasetype]) AS oid
      UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE y.oid IN (r.rngtypid, r.rngmultitypid)
      UNION ALL SELECT a.atttypid FROM pg_attribute a
       WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
   ) AS inner_type
   WHERE inner_type.oid >= 16384
)
"""
"""Tables by ``names`` with their partitions (``part``), and each column's own types (``used``).

Own types are those of the database; they include the types that an array, a domain, a range or a
composite type contains.
"""

_DEFINITIONS = """
, label AS MATERIALIZED (
  SELECT u.root, u.attnum, jsonb_object_agg(e.oid, e.enumlabel) AS found
    FROM used u JOIN pg_enum e ON e.enumtypid = u.oid
   GROUP BY u.root, u.attnum
), attribute AS MATERIALIZED (
  SELECT u.root, u.attnum, jsonb_object_agg(
           concat_ws(' ', t.oid, b.attnum),
           concat_ws(' ', b.attname, b.atttypid, b.atttypmod, b.attcollation)) AS found
    FROM used u JOIN pg_type t ON t.oid = u.oid AND t.typtype = 'c'
    JOIN pg_attribute b ON b.attrelid = t.typrelid AND b.attnum > 0 AND NOT b.attisdropped
   GROUP BY u.root, u.attnum
), definition AS MATERIALIZED (
  SELECT p.name, p.root, jsonb_object_agg(a.attname, jsonb_build_object(
           'place', concat_ws(' ', a.attnum, a.atttypid, a.atttypmod, a.attcollation),
           'written', a.xmin::text,
           'labels', coalesce(l.found, '{}'),
           'attributes', coalesce(b.found, '{}'))) AS columns
    FROM part p
    JOIN pg_attribute a ON a.attrelid = p.root AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN label l ON l.root = p.root AND l.attnum = a.attnum
    LEFT JOIN attribute b ON b.root = p.root AND b.attnum = a.attnum
   WHERE p.oid = p.root AND (a.atttypid >= 16384 OR NOT %(own_types)s)
   GROUP BY p.name, p.root
)
"""
_READ_COLUMNS = "SELECT name, columns FROM definition"
_READ = """
SELECT p.name, p.parts, d.columns
  FROM (SELECT p.name, p.root,
               jsonb_object_agg(c.oid, jsonb_build_object(
                 'file', c.relfilenode,
                 'name', ARRAY[n.nspname, c.relname],
                 'readable', has_schema_privilege(n.oid, 'USAGE')
                             AND has_table_privilege(c.oid, 'SELECT')
                             AND NOT row_security_active(c.oid),
                 'filled', CASE WHEN c.relpersistence = 'u' AND c.relkind = 'r'
                                THEN pg_relation_size(c.oid) > 0 END)) AS parts
          FROM part p
          JOIN pg_class c ON c.oid = p.oid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         GROUP BY p.name, p.root) AS p
  LEFT JOIN definition d ON d.root = p.root
"""
