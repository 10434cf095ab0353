"""The sender's replicated tables, and everything that prevents one from being read whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ar_sync_pipeline.catalog.edits import leave_out
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.changed_at import changed_at_problem
from ar_sync_pipeline.export.column_rules import column_rule_problems, masked_type_problems
from ar_sync_pipeline.export.lock_budget import lock_problems
from ar_sync_pipeline.export.lost_rules import lost_rules
from ar_sync_pipeline.export.masking import costly_masks, masked_values
from ar_sync_pipeline.export.ruled_values import RuledBefore
from ar_sync_pipeline.postgres.acting_role import acting_role
from ar_sync_pipeline.postgres.checks.findings import errors_of
from ar_sync_pipeline.postgres.checks.omissions import find_omissions
from ar_sync_pipeline.postgres.checks.rights import (
    column_grant,
    columns_read,
    denied_columns,
    role_script,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, SchemaError
from ar_sync_pipeline.postgres.exported_table import ExportedTable, export_facts
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts


def replicated_tables(
    connection: Connection, catalog: Catalog, before: RuledBefore | None = None
) -> dict[str, TableFacts]:
    """Return the sender's tables that the catalog replicates, by name.

    Args:
        before: What earlier dumps found, for a dump; None: nothing is compared with it.

    Raises:
        SchemaError: There are none, or one cannot be exported, or has values that a rule kept back
            by another name.
        DatabaseRefusedError: The role may not read all rows and columns of one.
    """
    tables = read_tables(connection, catalog.schema_name, catalog.replicates)
    # First, since a missing right on such values has a remedy that would let them leave.
    lost = lost_rules(connection, catalog, tables, before) if before is not None else ()
    for one in lost:
        raise one.error
    problem = next(source_problems(connection, catalog, tables), None)
    if problem is not None:
        raise problem
    return tables


def source_problems(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[ArSyncError]:
    """Yield everything that prevents an export of the replicated tables, one error each."""
    for found in errors_of(find_omissions(connection, catalog, tables)):
        yield SchemaError(found.problem, remedy=found.remedy)
    if not tables:
        yield SchemaError(
            f"the database has no table that matches {', '.join(catalog.tables)}"
            f" in schema {catalog.schema_name}",
            remedy="check the database's name and AR_SYNC_CATALOG",
        )
    else:
        yield from lock_problems(connection, tables.values())
    yield from _unreadable(connection, catalog, tables)
    yield from _policies(connection, catalog, tables)
    yield from masked_type_problems(connection, catalog, tables)
    yield from shape_problems(catalog, tables)


def problems_without_rights(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[ArSyncError]:
    """Yield what prevents an export by any role, as far as a role without all rights finds it."""
    for problem in masked_type_problems(connection, catalog, tables):
        if not isinstance(problem, DatabaseRefusedError):
            yield problem
    yield from shape_problems(catalog, tables)


def shape_problems(catalog: Catalog, tables: Mapping[str, TableFacts]) -> Iterator[SchemaError]:
    """Yield tables that cannot be exported by the catalog's rules, whatever the role may do."""
    yield from column_rule_problems(catalog, tables)
    for facts in tables.values():
        yield from _not_exportable(catalog, facts)
        yield from _media_columns(catalog, facts)
        problem = changed_at_problem(catalog.rules(facts.name), facts)
        if problem is not None:
            yield problem


def exported_table(catalog: Catalog, facts: TableFacts) -> ExportedTable:
    """Return a sender's table without the columns that are not replicated, and with its masks."""
    rules = catalog.rules(facts.name)
    return export_facts(
        facts, rules.not_replicated, masked_values(rules, facts), costly_masks(rules, facts)
    )


def _unreadable(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[DatabaseRefusedError]:
    wholly: list[str] = []
    partly: dict[str, list[str]] = {}
    for name, facts in sorted(tables.items()):
        if not facts.by_column_rights:
            continue
        rules = catalog.rules(name)
        read = (*columns_read(rules, facts), *(["xmin"] if rules.exclude else []))
        lacking = denied_columns(connection, facts, read)
        if len(lacking) == len(read):
            wholly.append(name)
        elif lacking or not rules.exclude:
            partly[name] = lacking
    remedy = f"run at the sender's database {role_script('sender')}"
    role = acting_role(connection)
    if wholly:
        yield DatabaseRefusedError(
            f"the sender's role may not read {', '.join(wholly)}", remedy=remedy
        )
    for name, lacking in partly.items():
        columns = ", ".join(lacking)
        grant = column_grant(tables[name], lacking if catalog.rules(name).exclude else (), role)
        what = f"column {columns} of {name}" if lacking else f"{name} as a whole"
        yield DatabaseRefusedError(
            f"the sender's role may not read {what}, having rights on single columns only",
            remedy=f"{grant.as_string(connection)}, or {remedy}",
        )


def _policies(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[DatabaseRefusedError]:
    hidden = {name: facts for name, facts in tables.items() if facts.policies}
    if not hidden:
        return
    role = scalar(connection, "SELECT quote_ident(current_user)")
    for name, facts in sorted(hidden.items()):
        yield DatabaseRefusedError(
            f"row level security may hide rows of {name} from the sender's role {role} (policy"
            f" {', '.join(facts.policies)})",
            remedy=f"ALTER ROLE {role} BYPASSRLS, or, without FORCE ROW LEVEL SECURITY, read as the"
            f" table's owner; or {leave_out(catalog, name)}",
        )


def _media_columns(catalog: Catalog, facts: TableFacts) -> Iterator[SchemaError]:
    for name in catalog.rules(facts.name).sent_media_columns:
        column, subject = facts.column(name), f"`media_columns` of table {facts.name} names {name}"
        if column is None:
            yield SchemaError(
                f"{subject}, which is no column of it",
                remedy="correct the name in the catalog, or remove it",
            )
        elif not column.text:
            yield SchemaError(
                f"{subject}, which is a {column.type} and holds no file names",
                remedy="name a text column in the catalog, or remove the name",
            )


def _not_exportable(catalog: Catalog, facts: TableFacts) -> Iterator[SchemaError]:
    table = exported_table(catalog, facts)
    if not table.columns:
        yield SchemaError(
            f"table {facts.name} has no column to replicate",
            remedy=leave_out(catalog, facts.name),
        )
    replicated = {column.name for column in table.columns}
    for column in facts.columns:
        if column.name in replicated and not column.binary:
            yield SchemaError(
                f"column {column.name} of {facts.name} has the type {column.type}, which has no"
                " binary form",
                remedy="name the column in `receiver_columns` of the catalog, or"
                f" {leave_out(catalog, facts.name)}",
            )
    withheld = catalog.rules(facts.name).receiver_columns
    lost = [name for name in facts.key if name in withheld]
    if lost:
        yield SchemaError(
            f"the catalog keeps key column {lost[0]} of {facts.name} from being replicated",
            remedy="take it out of the table's `receiver_columns`",
        )
    if not facts.key and facts.size_mb > catalog.whole_table_limit_mb:
        yield SchemaError(
            f"table {facts.name} has {facts.lacking_key}, and its {facts.size_mb:.0f} MB are too"
            " much to carry whole each time",
            remedy="give it such a key, raise whole_table_limit_mb in the catalog, or"
            f" {leave_out(catalog, facts.name)}",
        )
