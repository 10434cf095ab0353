"""Relations and columns that the catalog's patterns match and that are not replicated.

Rows of tables and partitioned tables are replicated. Views, materialized views, foreign tables,
sequences without a column and large objects are not. If a catalog names one of them, that is an
error; if only a wildcard matches it, a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from psycopg.rows import class_row

from ar_sync_pipeline.catalog.edits import leave_out, replicate
from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_KINDS = {"v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}


def find_omissions(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[Finding]:
    """Return everything that the catalog may seem to replicate and does not.

    Args:
        tables: Facts of the replicated tables, by label.
    """
    findings: list[Finding] = []
    with connection.cursor(row_factory=class_row(_Relation)) as cursor:
        relations = cursor.execute(_RELATIONS).fetchall()
    for relation in relations:
        findings += _omitted_relation(catalog, relation)
    for table in tables.values():
        findings += _omitted_columns(catalog, table)
    with connection.cursor(row_factory=class_row(_Child)) as cursor:
        for child in cursor.execute(_INHERITANCE).fetchall():
            findings += _omitted_child(catalog, child)
    if scalar(connection, _LARGE_OBJECTS):
        findings.append(
            Finding(
                Level.WARNING,
                "the database has large objects, which are not replicated",
                "keep such contents in bytea columns, or copy them with pg_dump",
            )
        )
    return findings


@dataclass(frozen=True)
class _Relation:
    schema: str
    name: str
    kind: str
    root_schema: str | None
    root_name: str | None


@dataclass(frozen=True)
class _Child:
    schema: str
    name: str
    parent_schema: str
    parent_name: str


def _omitted_relation(catalog: Catalog, relation: _Relation) -> Iterator[Finding]:
    label = label_of(relation.schema, relation.name, catalog.schema_name)
    if relation.kind == "f" and relation.root_name is not None:
        yield from _foreign_partition(catalog, relation, label)
    if not catalog.replicates(label):
        return
    # A section or an entry of `tables` means this relation; a wildcard may mean others.
    level = Level.ERROR if catalog.names(label) else Level.WARNING
    if "." in relation.schema and relation.schema != catalog.schema_name:
        yield Finding(
            Level.ERROR,
            f'table {label} of schema "{relation.schema}" '
            "has no label of its own, since the schema's name has a dot",
            "rename the schema, make it the `schema` of a catalog of its own, or let `exclude` of"
            " the catalog match it",
        )
    elif relation.root_name is not None and relation.root_schema is not None:
        root = label_of(relation.root_schema, relation.root_name, catalog.schema_name)
        if not catalog.replicates(root):
            yield Finding(
                level,
                f"table {label} is a partition of {root} and is not replicated by itself",
                f"replace it by {root} in `tables`, or {leave_out(catalog, label)}",
            )
    elif relation.kind in _KINDS:
        instead = "create it at the receiver by its own definition"
        if relation.kind == "S":
            instead = "replicate the tables that use it"
        yield Finding(
            level,
            f"{_KINDS[relation.kind]} {label} "
            "matches `tables` of the catalog and is not replicated",
            f"{instead}, and {leave_out(catalog, label)}",
        )


def _foreign_partition(catalog: Catalog, relation: _Relation, label: str) -> Iterator[Finding]:
    """Warn of rows without the transaction ids by which partials find changes."""
    root = label_of(relation.root_schema or "", relation.root_name or "", catalog.schema_name)
    if catalog.replicates(root):
        yield Finding(
            Level.WARNING,
            f"partition {label} of {root} is a foreign table, so its changes come with completes"
            " only",
            f"keep rows that change in ordinary partitions of {root}",
        )


def _omitted_columns(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    rules = catalog.rules(table.name)
    withheld = rules.not_replicated
    for column in table.columns:
        if column.name in rules.receiver_columns and not column.generated and not column.binary:
            yield Finding(
                Level.NOTE,
                f"column {column.name} of table {table.name} is not replicated, since its type"
                f" {column.type} has no binary form",
                "keep its values in a column of another type, such as text, if the receiver is to"
                " have them",
            )
        if column.name not in withheld and not column.generated:
            yield from _omitted_column(table, column)


def _omitted_column(table: TableFacts, column: ColumnFacts) -> Iterator[Finding]:
    subject = f"column {column.name} of table {table.name}"
    if found := column.catalog_types:
        yield Finding(
            Level.WARNING,
            f"{subject} is of type {column.type}{_within(column, found)}, whose values mean other"
            " objects at the receiver; an archive with such a value is parked there",
            "keep names in a text column, or name the column in `receiver_columns` of the table",
        )
    elif found := column.object_types:
        yield Finding(
            Level.WARNING,
            f"{subject} is of type {column.type}{_within(column, found)}; a large object that it"
            " names is not replicated",
            "keep such contents in a bytea column, or name the column in `receiver_columns` of the"
            " table",
        )


def _within(column: ColumnFacts, parts: tuple[str, ...]) -> str:
    """Return the part of a type that the message is about, if it is not the type itself."""
    return "" if column.type.removesuffix("[]") in parts else f", which has {parts[0]} in it"


def _omitted_child(catalog: Catalog, child: _Child) -> Iterator[Finding]:
    label = label_of(child.schema, child.name, catalog.schema_name)
    parent = label_of(child.parent_schema, child.parent_name, catalog.schema_name)
    if catalog.replicates(parent) and not catalog.replicates(label):
        yield Finding(
            Level.WARNING,
            f"table {label} inherits from {parent}, and its rows are not replicated",
            replicate(catalog, label),
        )


# The relations of an extension are not the application's.
_RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       rn.nspname AS root_schema, r.relname AS root_name
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid)
  LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace
 WHERE (c.relkind IN ('v', 'm', 'f', 'S')
        OR (c.relkind IN ('r', 'p') AND (c.relispartition OR position('.' IN n.nspname) > 0)))
   AND n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
   AND NOT (c.relkind = 'S' AND EXISTS (
         SELECT FROM pg_depend d
          WHERE (d.classid = 'pg_class'::regclass AND d.objid = c.oid
                 AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))
             OR (d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
                 AND d.refobjid = c.oid)))
 ORDER BY n.nspname, c.relname
"""

_INHERITANCE = """
SELECT n.nspname AS schema, c.relname AS name,
       pn.nspname AS parent_schema, p.relname AS parent_name
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class p ON p.oid = i.inhparent
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
 WHERE c.relkind = 'r' AND p.relkind = 'r'
 ORDER BY n.nspname, c.relname
"""

_LARGE_OBJECTS = "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"
