"""Check whether the sender's tables match the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ar_sync_pipeline.catalog.edits import leave_out, replicate
from ar_sync_pipeline.catalog.labels import is_literal
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.inherited_rules import inherited_rule_findings
from ar_sync_pipeline.postgres.checks.rights import (
    columns_read,
    denied_columns,
    role_script,
    usage_grant,
)
from ar_sync_pipeline.postgres.checks.ruled_constraints import ruled_constraint_findings
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.relations import patterns_without_relation
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


def check_sender_tables(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[Finding]:
    """Return rules of the catalog without an effect, or with an unexpected one.

    `ar_sync_pipeline.export.source_tables` reports what makes a dump fail.

    Args:
        tables: Facts of the replicated tables, by label.
    """
    findings = list(names_without_a_table(connection, catalog, tables))
    findings += inherited_rule_findings(connection, catalog, tables)
    for table in tables.values():
        findings += _key(catalog, table)
        findings += _useless_zone(catalog, table)
        findings += _named_columns(catalog, table)
        findings += _children(catalog, table, tables)
        findings += references_out(catalog, table)
        findings += _readable_exclusions(connection, catalog, table)
        rules = catalog.rules(table.name)
        findings += ruled_constraint_findings(connection, rules, table, receives=False)
    return findings


def names_without_a_table(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    """Yield names of the catalog that no table has, perhaps since a migration renamed it."""
    for pattern in catalog.tables:
        if any(catalog.matches_any((pattern,), label) for label in tables):
            continue
        if is_literal(pattern) and _is_relation(connection, catalog, pattern):
            continue  # a view or the like, or a partition: see `omissions`
        what = "is not in the database" if is_literal(pattern) else "matches no table"
        yield Finding(
            Level.WARNING,
            f"`{pattern}` of `tables` {what}",
            "correct it (names compare case-sensitively, and other schemas are written as"
            " schema.table), or remove it from the catalog",
        )
    for label in catalog.named_tables():
        if label not in tables and label not in catalog.tables:
            yield Finding(
                Level.WARNING,
                f"table {label} has rules and is not in the database",
                "correct the name of the section in the catalog, or remove it",
            )


def _is_relation(connection: Connection, catalog: Catalog, label: str) -> bool:
    # to_regclass fails if the role may not use the schema.
    return bool(
        scalar(
            connection,
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE (n.nspname, c.relname) = (%s, %s))",
            catalog.locate(label),
        )
    )


def _key(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    size, unusable = table.size_mb, table.unusable_key
    if table.key and table.key != table.primary_key:
        yield Finding(
            Level.NOTE,
            f"rows of table {table.name} are told apart by a unique key ({', '.join(table.key)}),"
            f" since {unusable or 'it has no primary key'}",
            "nothing is to be done",
        )
    elif not table.key and size <= catalog.whole_table_limit_mb:
        why = f", since {unusable}" if unusable else ""
        key = "unique key of NOT NULL columns" if unusable else "primary key"
        yield Finding(
            Level.NOTE,
            f"table {table.name} has no key{why}, and its {size:,.1f} MB are sent whole each time",
            f"give it a {key} before it grows beyond `whole_table_limit_mb`"
            f" ({catalog.whole_table_limit_mb})",
        )


def _useless_zone(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    rules = catalog.rules(table.name)
    column = table.column(rules.changed_at or "")
    if column is not None and rules.changed_at_zone and "with time zone" in column.type:
        yield Finding(
            Level.WARNING,
            f"`changed_at_zone` of table {table.name} is not used, since {column.name} is a"
            f" {column.type}",
            "remove it",
        )


def _named_columns(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    """Yield findings on rules for shared columns; the sender need not have receiver-only ones."""
    for name in catalog.rules(table.name).rewritten_by_transform:
        if table.column(name) is None:
            yield Finding(
                Level.WARNING,
                f"`rewritten_by_transform` of table {table.name} names {name}, which is no column"
                " of it",
                "correct the name in the catalog, or remove it",
            )


def useless_exclusions(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield findings on patterns of ``exclude`` that match nothing at the sender."""
    for pattern in patterns_without_relation(connection, catalog, catalog.exclude):
        yield Finding(
            Level.WARNING,
            f"`{pattern}` of `exclude` matches nothing in the sender's database",
            "correct it (names compare case-sensitively, and other schemas are written as"
            " schema.table), or remove it from the catalog",
        )


def _readable_exclusions(
    connection: Connection, catalog: Catalog, table: TableFacts
) -> Iterator[Finding]:
    """Yield findings on excluded columns that the role may read, and those computed from them."""
    rules = catalog.rules(table.name)
    known = {*columns_read(rules, table), *rules.exclude}
    hidden = [name for name in rules.exclude if table.column(name)]
    hidden += [column.name for column in table.columns if column.name not in known]
    if not hidden or usage_grant(connection, table.schema) is not None:
        return
    denied = denied_columns(connection, table, hidden)
    readable = [name for name in hidden if name not in denied]
    if readable:
        yield Finding(
            Level.NOTE,
            f"this role may read {', '.join(readable)} of table {table.name}, which `exclude`"
            " keeps back",
            f"to let the database keep it back as well, run {role_script('sender')}; it warns of"
            " what PUBLIC or a membership lets this role read, where you REVOKE it",
            of_role=True,
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
                f"`children` of table {table.name} names {child}, which has no foreign key to it",
                "add the foreign key at the sender, or remove the name",
            )


def references_out(catalog: Catalog, table: TableFacts) -> Iterator[Finding]:
    """Yield foreign keys of a table to tables that are not replicated, with every remedy.

    Rows that refer to such a table can be loaded only if the receiver has the other row.
    """
    rules = catalog.rules(table.name)
    for key in table.foreign_keys:
        if not (catalog.replicates(key.referenced_table) or any(map(rules.emptied, key.columns))):
            yield Finding(
                Level.WARNING,
                f"table {table.name} "
                f"refers to {key.referenced_table} ({key.name}), which is not replicated",
                ", or ".join(_ways_out(catalog, table, key)),
            )


def _ways_out(catalog: Catalog, table: TableFacts, key: ForeignKey) -> Iterator[str]:
    yield replicate(catalog, key.referenced_table)
    columns = [column for name in key.columns if (column := table.column(name)) is not None]
    free = [column.name for column in columns if column.nullable and column.name not in table.fixed]
    if free and (len(free) == len(columns) or not key.match_full):
        yield f'give {", ".join(free)} the mask "null"'
    yield leave_out(catalog, table.name)
