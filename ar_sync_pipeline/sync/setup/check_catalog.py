"""Comparison of a catalog with both databases, before a dump or the gate fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ar_sync_pipeline.archive.manifest import TableManifest, TypeDefinition
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.receiver_checks import lacking_key, missing_table
from ar_sync_pipeline.postgres.checks.receiver_columns import excluded_findings
from ar_sync_pipeline.postgres.checks.sender_checks import useless_exclusions
from ar_sync_pipeline.postgres.column_masks import other_rules
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.postgres.gate import (
    lacking_parts,
    missing_migrations,
    refusing_columns,
    type_mismatches,
)
from ar_sync_pipeline.postgres.migrations import read_migrations
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.sync.setup.personal_rules import JoinedColumns, personal_by_table
from ar_sync_pipeline.sync.watch.database_access import as_findings, limit_waits
from ar_sync_pipeline.sync.watch.database_findings import (
    ReadTables,
    check_receiver,
    check_sender,
    read_once,
    sorted_by_level,
)
from ar_sync_pipeline.sync.watch.rows_before_first_load import hidden_before_first_load
from ar_sync_pipeline.visible_text import listed, visible_name


@dataclass(frozen=True)
class _Side:
    """What the gate compares of one side's database."""

    tables: dict[str, TableFacts]
    types: tuple[TypeDefinition, ...]
    migrations: tuple[str, ...]
    encoding: str


def check_catalog(
    catalog: Catalog, sender_url: str | None, receiver_url: str | None
) -> tuple[Finding, ...]:
    """Compare a catalog with the given databases, and these with each other.

    A database that cannot be used is a finding, not an error. The rights of the URLs' roles are
    not compared: an administrator may check a catalog with any role.
    """
    of_sender: list[Finding] = []
    of_receiver: list[Finding] = []
    of_both: list[Finding] = []
    read_sender, read_receiver = read_once(catalog), read_once(catalog)
    if sender_url is not None:
        of_sender += check_sender(sender_url, catalog, read=read_sender)
        _rules(sender_url, catalog, of_sender, read_sender, alone=receiver_url is None)
    if receiver_url is not None:
        of_receiver += check_receiver(receiver_url, catalog, read=read_receiver)
        with (
            as_findings(receiver_url, of_receiver, catalog),
            connect(receiver_url, application="check") as connection,
        ):
            limit_waits(connection)
            of_receiver += hidden_before_first_load(connection, catalog)
    if sender_url is not None and receiver_url is not None:
        sender = _read(sender_url, catalog, of_sender, read_sender)
        receiver = _read(receiver_url, catalog, of_receiver, read_receiver)
        if sender is not None and receiver is not None:
            of_both += _differences(catalog, sender, receiver)
            of_both += _encodings(sender.encoding, receiver.encoding)
            # Of these the difference says more: the sender has the table, and archives contain it.
            reported = {missing_table(label) for label in sender.tables}
            reported |= {
                lacking_key(catalog, receiver.tables[label])
                for label in receiver.tables.keys() & sender.tables.keys()
            }
            of_receiver = [finding for finding in of_receiver if finding not in reported]
    areas = {"sender": of_sender, "receiver": of_receiver, "both": of_both}
    # Several parts of the check find that a database cannot be used.
    findings = dict.fromkeys(
        replace(finding, area=area) for area, found in areas.items() for finding in found
    )
    return sorted_by_level(finding for finding in findings if not finding.of_role)


def _read(
    url: str, catalog: Catalog, findings: list[Finding], read_tables: ReadTables
) -> _Side | None:
    """Return what the gate compares of a database; None, and a finding, if it cannot be used."""
    read: list[_Side] = []
    with as_findings(url, findings, catalog), connect(url, application="check") as connection:
        limit_waits(connection)
        tables = read_tables(connection)
        types = read_types(connection, catalog, tables)
        encoding = connection.info.parameter_status("server_encoding") or "UTF8"
        read.append(_Side(tables, types, _migrations(connection, catalog), encoding))
    return read[0] if read else None


def _migrations(connection: Connection, catalog: Catalog) -> tuple[str, ...]:
    """Return the applied migrations; none if this role may not read them."""
    try:
        return read_migrations(connection, catalog.schema_name, catalog.django_app)
    except DatabaseRefusedError:
        return ()


def _rules(
    url: str, catalog: Catalog, findings: list[Finding], read_tables: ReadTables, *, alone: bool
) -> None:
    """Add what the sender's tables show about the catalog's rules.

    Args:
        alone: Whether the receiver's tables are unknown.
    """
    with as_findings(url, findings, catalog), connect(url, application="check") as connection:
        limit_waits(connection)
        findings += useless_exclusions(connection, catalog)
        tables = read_tables(connection)
        findings += _without_rule(catalog, tables)
        if alone:
            findings += _values_needed(connection, catalog, tables)


def _values_needed(
    connection: Connection, catalog: Catalog, tables: dict[str, TableFacts]
) -> Iterator[Finding]:
    """Yield excluded columns that need a value, which the receiver's are likely to need too."""
    for table in tables.values():
        for name in catalog.rules(table.name).exclude:
            column = table.column(name)
            if column is None or column.generated:
                continue
            if column.nullable or column.has_default:
                for found in excluded_findings(connection, table, column):
                    problem = f"with the sender's definition at the receiver: {found.problem}"
                    yield Finding(Level.WARNING, problem, found.remedy)
                continue
            yield Finding(
                Level.WARNING,
                f"column {name} of table {table.name} is in `exclude` and NOT NULL without a"
                " default, and with such a column at the receiver archives are parked",
                other_rules(column, table),
            )


def _without_rule(catalog: Catalog, tables: dict[str, TableFacts]) -> Iterator[Finding]:
    """Yield the columns that look personal and have no rule, if the catalog has rules for others.

    A migration may have added them since the catalog was written.
    """
    if not any(one.exclude or one.mask for one in catalog.table.values()):
        return
    found = [
        f"{visible_name(name)} of {visible_name(label)}"
        for label, names in personal_by_table(tables, JoinedColumns(tables)).items()
        for name in names
        if name not in {*catalog.rules(label).exclude, *catalog.rules(label).mask}
    ]
    if found:
        yield Finding(
            Level.NOTE,
            f"these columns look personal and have no rule: {', '.join(listed(found))}",
            "name in `exclude` or `mask` what must not leave the sender",
        )


def _encodings(sent: str, held: str) -> Iterator[Finding]:
    """Yield a finding if the receiver's database cannot store all texts of the sender's as such.

    Every encoding but that of bytes, ``SQL_ASCII``, can be converted to ``UTF8``.
    """
    if sent != held and (held != "UTF8" or sent == "SQL_ASCII"):
        yield Finding(
            Level.WARNING,
            f"the sender's database has the encoding {sent} and the receiver's {held}, so archives"
            " with a text that does not fit are parked",
            f"recreate the receiver's database: CREATE DATABASE ... ENCODING '{sent}' TEMPLATE"
            " template0",
        )


def _differences(catalog: Catalog, sender: _Side, receiver: _Side) -> Iterator[Finding]:
    """Yield the reasons why the gate would park the sender's archives."""
    mismatches = missing_migrations(sender.migrations, receiver.migrations)
    mismatches += type_mismatches(sender.types, receiver.types)
    for label, facts in sender.tables.items():
        table = exported_table(catalog, facts)
        if label not in receiver.tables:
            mismatches.append(f"the receiver has no table {label}")
        elif table.columns:
            as_sent = TableManifest(
                name=label,
                columns=table.columns,
                primary_key=table.primary_key,
                row_count=0,
                chunks=(),
                generated=table.generated,
            )
            mismatches += lacking_parts(as_sent, catalog, receiver.tables[label])
            mismatches += refusing_columns(as_sent, catalog, receiver.tables[label])
    for mismatch in mismatches:
        yield Finding(
            Level.ERROR,
            f"{mismatch}, so that archives are parked",
            "run the missing migration at the side that lacks it, or correct the catalog",
        )
