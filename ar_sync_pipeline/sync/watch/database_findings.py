"""Findings of a check about a database: whether it fits its catalog, before a run fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.changed_at import zone_problems
from ar_sync_pipeline.export.lost_rules import lost_rules
from ar_sync_pipeline.export.ruled_values import RuledBefore
from ar_sync_pipeline.export.selection import reads_watermark
from ar_sync_pipeline.export.source_tables import problems_without_rights, source_problems
from ar_sync_pipeline.postgres.checks.event_triggers import event_trigger_findings
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error, errors_of
from ar_sync_pipeline.postgres.checks.hidden_starts import hidden_start_findings
from ar_sync_pipeline.postgres.checks.named_schemas import compared_schemas
from ar_sync_pipeline.postgres.checks.omissions import find_omissions
from ar_sync_pipeline.postgres.checks.receiver_checks import check_receiver_tables
from ar_sync_pipeline.postgres.checks.rights import (
    acting_role_findings,
    check_rights,
    check_types,
    role_script,
)
from ar_sync_pipeline.postgres.checks.search_path import search_path_findings
from ar_sync_pipeline.postgres.checks.sender_checks import check_sender_tables
from ar_sync_pipeline.postgres.connect import Connection, connect, database_label
from ar_sync_pipeline.postgres.errors import LedgerOfAnotherCatalogError
from ar_sync_pipeline.postgres.ledger_tables import check_catalog
from ar_sync_pipeline.postgres.migrations import migration_findings
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.watch.database_access import (
    as_findings,
    limit_waits,
    standby_findings,
)
from ar_sync_pipeline.sync.watch.rows_before_first_load import rows_before_first_load
from ar_sync_pipeline.sync.watch.rows_no_longer_replicated import rows_no_longer_replicated

ReadTables = Callable[[Connection], dict[str, TableFacts]]
"""Reads the facts of the replicated tables."""
_ORDER = (Level.ERROR, Level.WARNING, Level.NOTE)


def check_access(url: str) -> tuple[Finding, ...]:
    """Check that a database takes connections and writes, where no catalog can be used."""
    findings: list[Finding] = []
    with as_findings(url, findings), connect(url, application="check") as connection:
        limit_waits(connection)
        findings += standby_findings(connection, database_label(url))
    return tuple(findings)


def read_once(catalog: Catalog) -> ReadTables:
    """Return what reads the tables of one database once, for all checks of a call.

    With hundreds of tables it takes a second.
    """
    known: list[dict[str, TableFacts]] = []

    def read(connection: Connection) -> dict[str, TableFacts]:
        if not known:
            known.append(read_tables(connection, catalog.schema_name, catalog.replicates))
        return known[0]

    return read


def check_sender(
    url: str,
    catalog: Catalog,
    before: RuledBefore | None = None,
    read: ReadTables | None = None,
) -> tuple[Finding, ...]:
    """Compare the sender's database with the catalog; nothing is written, no row is read.

    A database that cannot be used is a finding, not an error.

    Args:
        url: URL of the sender's database, with the role that dumps.
        catalog: The catalog.
        before: Where values under rules were at the last dump; None: they are not looked for.
        read: How to read the tables; None: from the database.
    """
    findings: list[Finding] = []
    with as_findings(url, findings, catalog), connect(url, application="check") as connection:
        limit_waits(connection)
        findings += standby_findings(connection, database_label(url))
        findings += acting_role_findings(connection)
        tables = (read or read_once(catalog))(connection)
        lost = list(lost_rules(connection, catalog, tables, before)) if before is not None else []
        findings += (as_error(one.error) for one in lost)
        # A grant on a table that has such values would let them leave.
        held_back = {name for one in lost for name in one.tables}
        granted = {name: facts for name, facts in tables.items() if name not in held_back}
        lacking = _lacking_rights(connection, catalog, granted, compared_schemas(tables))
        findings += lacking
        unread = bool(lacking or lost)
        # A role without SELECT cannot find out what else hides rows from it.
        problems = problems_without_rights if unread else source_problems
        findings += map(as_error, problems(connection, catalog, tables))
        findings += map(as_error, zone_problems(connection, catalog, tables))
        findings += search_path_findings(connection, "sender", tables.values())
        findings += check_sender_tables(connection, catalog, tables)
        findings += event_trigger_findings(connection, "partial")
        findings += hidden_start_findings(connection, _read_by_stamps(catalog, tables))
        findings += migration_findings(connection, catalog)
        omissions = find_omissions(connection, catalog, tables)
        # If no right is missing, the problems above include the omissions that are errors.
        findings += (one for one in omissions if unread or one.level is not Level.ERROR)
    return sorted_by_level(findings)


def _read_by_stamps(catalog: Catalog, tables: Mapping[str, TableFacts]) -> list[str]:
    """Return the tables whose changes a partial finds by their timestamps alone."""
    return [
        name
        for name, facts in tables.items()
        if catalog.rules(name).changed_at is not None and not reads_watermark(catalog, facts)
    ]


def _lacking_rights(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    schemas: Iterable[str],
) -> list[Finding]:
    script = role_script("sender")
    masked = [
        column
        for name, table in tables.items()
        for column in map(table.column, catalog.rules(name).mask)
        if column is not None
    ]
    keys = [(table, name) for table in tables.values() for name in table.key]
    return [
        *check_rights(connection, tables, ["SELECT"], script, masked, catalog, schemas),
        *check_types(connection, keys, script),
    ]


def check_receiver(
    url: str,
    catalog: Catalog,
    newest: Manifest | None = None,
    complete: Manifest | None = None,
    read: ReadTables | None = None,
) -> tuple[Finding, ...]:
    """Compare the receiver's database with the catalog; nothing is written.

    Of rows it only asks whether there are any before the first load or in tables that are not
    replicated any more, and any values in excluded columns. A database that cannot be used is a
    finding, not an error.

    Args:
        url: URL of the receiver's database, with the role that loads.
        catalog: The catalog.
        newest: Manifest of the sender's newest archive in the spool.
        complete: Manifest of its newest complete there.
        read: How to read the tables; None: from the database.
    """
    findings: list[Finding] = []
    with as_findings(url, findings, catalog), connect(url, application="check") as connection:
        limit_waits(connection)
        findings += standby_findings(connection, database_label(url))
        findings += acting_role_findings(connection)
        tables = (read or read_once(catalog))(connection)
        findings += check_receiver_tables(connection, catalog, tables, newest, complete)
        findings += migration_findings(connection, catalog)
        # Before what reads tables, for which a lock of another session ends the check.
        findings += _of_other_catalog(connection, catalog)
        unreadable = list(search_path_findings(connection, "receiver", tables.values()))
        findings += unreadable
        if not errors_of(unreadable):
            findings += rows_before_first_load(connection, catalog)
            findings += rows_no_longer_replicated(connection, catalog)
    return sorted_by_level(findings)


def _of_other_catalog(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    try:
        check_catalog(connection, catalog.name)
    except LedgerOfAnotherCatalogError as error:
        yield as_error(error)


def sorted_by_level(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the most severe findings first, otherwise in the order of the tables."""
    return tuple(sorted(findings, key=lambda found: _ORDER.index(found.level)))
