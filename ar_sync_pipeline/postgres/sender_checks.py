"""Whether the sender's tables are as the catalog says, and can be dumped by this role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ar_sync_pipeline.catalog.labels import is_literal
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.findings import Finding, Level
from ar_sync_pipeline.postgres.rights import check_rights
from ar_sync_pipeline.postgres.table_facts import ColumnFacts, TableFacts

_MEGABYTE = 1024 * 1024
_INSTANT = re.compile(r"timestamp(\(\d\))? with time zone")
_LOCAL = re.compile(r"timestamp(\(\d\))? without time zone|date")
_BASE_TYPE = """
WITH RECURSIVE base AS (
  SELECT %(type)s::regtype::oid AS type
  UNION ALL SELECT t.typbasetype FROM base JOIN pg_type t ON t.oid = base.type
             WHERE t.typbasetype <> 0)
SELECT format_type(type, NULL) FROM base JOIN pg_type t ON t.oid = type WHERE t.typbasetype = 0
"""


def check_sender_tables(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[Finding]:
    """Return what keeps tables from being dumped, or makes a rule of the catalog useless.

    Args:
        tables: the facts of the replicated tables, by label.
    """
    findings = list(_patterns_without_a_table(connection, catalog, tables))
    findings += check_rights(connection, tables, ["SELECT"], "deploy/sql/sender_role.sql")
    for table in tables.values():
        findings += _key(catalog, table)
        findings += _changed_at(connection, catalog, table)
        findings += _named_columns(catalog, table)
        findings += _children(catalog, table, tables)
        findings += _references_out(catalog, table)
    return findings


def _patterns_without_a_table(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    for pattern in catalog.tables:
        if any(catalog.matches_any((pattern,), label) for label in tables):
            continue
        if is_literal(pattern) and _is_relation(connection, catalog, pattern):
            continue  # a view or the like, or a partition: see `omissions`
        what = "is not in the database" if is_literal(pattern) else "matches no table"
        yield Finding(
            Level.WARNING if tables else Level.ERROR,
            f"`{pattern}` of `tables`",
            what,
            "correct it (names compare case-sensitively, and other schemas are written as"
            " schema.table), or remove it from the catalog",
        )
    for label in catalog.named_tables():
        if label not in tables and label not in catalog.tables:
            yield Finding(
                Level.WARNING,
                f"table {label}",
                "has rules and is not in the database",
                "correct the name of the section in the catalog, or remove it",
            )


def _is_relation(connection: Connection, catalog: Catalog, label: str) -> bool:
    row = connection.execute(
        "SELECT to_regclass(format('%%I.%%I', %s::text, %s::text)) IS NOT NULL",
        catalog.locate(label),
    ).fetchone()
    return bool(row and row[0])


def _key(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    subject, size = f"table {table.name}", table.size_bytes / _MEGABYTE
    generated = [c.name for c in table.columns if c.generated and c.name in table.primary_key]
    own = [name for name in table.key if name in catalog.rules(table.name).receiver_columns]
    if own:
        yield Finding(
            Level.ERROR,
            subject,
            f"is told apart by {', '.join(own)}, which `receiver_columns` keeps from being sent",
            "remove the column from `receiver_columns`",
        )
    if table.key and table.key != table.primary_key:
        why = (
            f"primary key is generated ({', '.join(generated)})" if generated else "no primary key"
        )
        yield Finding(
            Level.NOTE,
            subject,
            f"is told apart by a unique key ({', '.join(table.key)}): {why}",
            "nothing is to be done as long as these values do not change",
        )
    elif not table.key and table.size_bytes > catalog.whole_table_limit_mb * _MEGABYTE:
        yield Finding(
            Level.ERROR,
            subject,
            f"has no key, and its {size:,.0f} MB are more than `whole_table_limit_mb`"
            f" ({catalog.whole_table_limit_mb})",
            "give it a primary key, or a unique key of columns that are NOT NULL; raise the limit;"
            " or let `exclude` of the catalog match it",
        )
    elif not table.key:
        yield Finding(
            Level.NOTE,
            subject,
            f"has no key, and its {size:,.1f} MB are sent whole with every archive",
            "give it a primary key if it grows",
        )


def _changed_at(connection: Connection, catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    rules = catalog.rules(table.name)
    if rules.changed_at is None:
        return
    subject = f"`changed_at` of table {table.name}"
    column = table.column(rules.changed_at)
    if column is None:
        yield Finding(
            Level.ERROR,
            subject,
            f"names {rules.changed_at}, which is no column of it",
            f"name one of {', '.join(_times(table)) or 'its time stamps'}, or remove the key",
        )
        return
    kind, zone = _base_type(connection, column), rules.changed_at_zone
    if _LOCAL.fullmatch(kind) and zone is None:
        yield Finding(
            Level.ERROR,
            subject,
            f"names {column.name}, whose type {column.type} has no time zone",
            'set `changed_at_zone` beside it, such as "America/Santiago"',
        )
    elif _INSTANT.fullmatch(kind) and zone is not None:
        yield Finding(
            Level.ERROR,
            subject,
            f"names {column.name}, whose type {column.type} has a time zone of its own",
            "remove `changed_at_zone`",
        )
    elif not _LOCAL.fullmatch(kind) and not _INSTANT.fullmatch(kind):
        yield Finding(
            Level.ERROR,
            subject,
            f"names {column.name}, whose type {column.type} is no time stamp",
            f"name one of {', '.join(_times(table)) or 'its time stamps'}, or remove the key",
        )


def _base_type(connection: Connection, column: ColumnFacts) -> str:
    """The type, or what a domain is made of."""
    if _INSTANT.fullmatch(column.type) or _LOCAL.fullmatch(column.type):
        return column.type
    row = connection.execute(_BASE_TYPE, {"type": column.type}).fetchone()
    return str(row[0]) if row else column.type


def _times(table: TableFacts) -> list[str]:
    return [c.name for c in table.columns if _INSTANT.fullmatch(c.type) or _LOCAL.fullmatch(c.type)]


def _named_columns(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    """Rules for shared columns; the receiver-only ones need not be at the sender."""
    rules = catalog.rules(table.name)
    for key in ("media_columns", "rewritten_by_transform"):
        for name in getattr(rules, key):
            if table.column(name) is None:
                yield Finding(
                    Level.ERROR if key == "media_columns" else Level.WARNING,
                    f"`{key}` of table {table.name}",
                    f"names {name}, which is no column of it",
                    "correct the name in the catalog, or remove it",
                )


def _children(
    catalog: Catalog, table: TableFacts, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    rules: TableRules = catalog.rules(table.name)
    for child in rules.children:
        held = tables.get(child)
        if held is not None and not any(
            key.referenced_table == table.name for key in held.foreign_keys
        ):
            yield Finding(
                Level.WARNING,
                f"`children` of table {table.name}",
                f"names {child}, which has no foreign key to it",
                "add the foreign key at the sender, or remove the name",
            )


def _references_out(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    for key in table.foreign_keys:
        if not catalog.travels(key.referenced_table):
            yield Finding(
                Level.WARNING,
                f"table {table.name}",
                f"refers to {key.referenced_table} ({key.name}), which is not replicated",
                f'add "{key.referenced_table}" to `tables` of the catalog, or let `exclude` match'
                f" {table.name}",
            )
