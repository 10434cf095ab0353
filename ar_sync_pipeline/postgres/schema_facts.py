"""What the database itself says of its tables: columns, keys, references, sequences.

Read from the system catalogs (PostgreSQL manual, chapter 53), so that a catalog file repeats
nothing. Sequences are found by the column default that calls them, which also finds those that
their column does not own (three of AndroidRequests' do not).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import class_row, dict_row

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError


@dataclass(frozen=True)
class ColumnFacts:
    """A column: name, ``format_type`` text, whether it may be NULL, its sequence if it has one."""

    name: str
    type: str
    nullable: bool
    generated: bool
    has_default: bool = False
    sequence: tuple[str, str] | None = None


@dataclass(frozen=True)
class ForeignKey:
    """A reference from ``table.columns`` to ``referenced_table.referenced_columns``."""

    name: str
    table: str
    columns: tuple[str, ...]
    referenced_table: str
    referenced_columns: tuple[str, ...]


@dataclass(frozen=True)
class TableFacts:
    """A table as the database describes it.

    Attributes:
        primary_key: column names in key order.
        unique_keys: columns of every other unique index without expressions or predicate.
        size_bytes: of the heap, as of the last look.
        denied: of SELECT, INSERT, UPDATE and DELETE, what this connection's role may not do.
    """

    name: str
    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...] = field(default=())
    size_bytes: int = 0
    denied: tuple[str, ...] = ()

    def column(self, name: str) -> ColumnFacts | None:
        """The column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def read_tables(
    connection: Connection, schema: str, wanted: Callable[[str], bool]
) -> dict[str, TableFacts]:
    """Describe the ordinary tables of a schema whose names are wanted, by name."""
    with connection.cursor(row_factory=dict_row) as cursor:
        tables = cursor.execute(_TABLES, {"schema": schema}).fetchall()
        columns = cursor.execute(_COLUMNS, {"schema": schema}).fetchall()
    foreign_keys = read_foreign_keys(connection, schema)
    return {
        row["name"]: _table_facts(row, columns, foreign_keys)
        for row in tables
        if wanted(row["name"])
    }


def require_primary_keys(tables: Mapping[str, TableFacts]) -> None:
    """Refuse tables whose rows cannot be told apart.

    Raises:
        SchemaError: a table has no primary key.
    """
    without_key = sorted(name for name, table in tables.items() if not table.primary_key)
    if without_key:
        raise SchemaError(
            f"these tables have no primary key: {', '.join(without_key)}",
            remedy="give them one, or exclude them in the catalog",
        )


def read_foreign_keys(connection: Connection, schema: str) -> tuple[ForeignKey, ...]:
    """Every foreign key between tables of a schema."""
    with connection.cursor(row_factory=class_row(_ForeignKeyRow)) as cursor:
        rows = cursor.execute(_FOREIGN_KEYS, {"schema": schema}).fetchall()
    return tuple(row.facts() for row in rows)


def read_migrations(connection: Connection, schema: str, app: str | None) -> tuple[str, ...]:
    """Names of the app's applied Django migrations, sorted; none if the table is absent."""
    if app is None:
        return ()
    exists = connection.execute(
        "SELECT to_regclass(format('%%I.django_migrations', %s::text))", [schema]
    ).fetchone()
    if exists is None or exists[0] is None:
        return ()
    query = f'SELECT name FROM "{schema}".django_migrations WHERE app = %s ORDER BY name'  # noqa: S608  the catalog's model refuses hostile names
    return tuple(name for (name,) in connection.execute(query.encode(), [app]))


def schema_fingerprint(tables: Mapping[str, TableFacts]) -> str:
    """sha256 over names, columns, types and keys; equal for equal shapes."""
    shape = {
        name: [
            sorted((c.name, c.type, c.nullable) for c in table.columns),
            table.primary_key,
        ]
        for name, table in tables.items()
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def _table_facts(
    row: dict[str, Any], columns: list[dict[str, Any]], foreign_keys: tuple[ForeignKey, ...]
) -> TableFacts:
    return TableFacts(
        name=row["name"],
        columns=tuple(
            ColumnFacts(
                c["name"],
                c["type"],
                c["nullable"],
                c["generated"],
                c["has_default"],
                (c["sequence_schema"], c["sequence_name"]) if c["sequence_name"] else None,
            )
            for c in columns
            if c["table"] == row["name"]
        ),
        primary_key=tuple(row["primary_key"] or ()),
        unique_keys=tuple(sorted({tuple(key) for key in row["unique_keys"] or ()})),
        foreign_keys=tuple(key for key in foreign_keys if key.table == row["name"]),
        size_bytes=row["size_bytes"],
        denied=tuple(row["denied"]),
    )


@dataclass
class _ForeignKeyRow:
    name: str
    table: str
    columns: list[str]
    referenced_table: str
    referenced_columns: list[str]

    def facts(self) -> ForeignKey:
        return ForeignKey(
            self.name,
            self.table,
            tuple(self.columns),
            self.referenced_table,
            tuple(self.referenced_columns),
        )


_TABLES = """
SELECT c.relname AS name,
       pg_table_size(c.oid) AS size_bytes,
       ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
              WHERE NOT has_table_privilege(c.oid, p)) AS denied,
       (SELECT json_agg(a.attname ORDER BY k.position)
          FROM pg_index i
          CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
         WHERE i.indrelid = c.oid AND i.indisprimary) AS primary_key,
       (SELECT json_agg(u.columns)
          FROM (SELECT (SELECT json_agg(a.attname ORDER BY k.position)
                          FROM unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
                         WHERE k.position <= i.indnkeyatts) AS columns
                  FROM pg_index i
                 WHERE i.indrelid = c.oid AND i.indisunique AND NOT i.indisprimary
                   AND i.indexprs IS NULL AND i.indpred IS NULL) u) AS unique_keys
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
 ORDER BY c.relname
"""

_COLUMNS = """
SELECT c.relname AS table,
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable,
       a.attgenerated <> '' AS generated,
       d.oid IS NOT NULL OR a.attidentity <> '' AS has_default,
       sn.nspname AS sequence_schema,
       s.relname AS sequence_name
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  LEFT JOIN LATERAL (
       SELECT dep.refobjid AS oid
         FROM pg_depend dep JOIN pg_class q ON q.oid = dep.refobjid AND q.relkind = 'S'
        WHERE dep.classid = 'pg_attrdef'::regclass AND dep.objid = d.oid
          AND dep.refclassid = 'pg_class'::regclass
       UNION
       SELECT dep.objid
         FROM pg_depend dep JOIN pg_class q ON q.oid = dep.objid AND q.relkind = 'S'
        WHERE dep.classid = 'pg_class'::regclass AND dep.refclassid = 'pg_class'::regclass
          AND dep.refobjid = c.oid AND dep.refobjsubid = a.attnum AND dep.deptype = 'i'
       LIMIT 1) AS used ON true
  LEFT JOIN pg_class s ON s.oid = used.oid
  LEFT JOIN pg_namespace sn ON sn.oid = s.relnamespace
 WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p')
 ORDER BY c.relname, a.attnum
"""

_FOREIGN_KEYS = """
SELECT k.conname AS name,
       c.relname AS table,
       (SELECT json_agg(a.attname ORDER BY x.position)
          FROM unnest(k.conkey) WITH ORDINALITY AS x(attnum, position)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum) AS columns,
       r.relname AS referenced_table,
       (SELECT json_agg(a.attname ORDER BY x.position)
          FROM unnest(k.confkey) WITH ORDINALITY AS x(attnum, position)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.attnum)
          AS referenced_columns
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_class r ON r.oid = k.confrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'f' AND n.nspname = %(schema)s AND r.relnamespace = n.oid
   AND k.conparentid = 0
 ORDER BY c.relname, k.conname
"""
