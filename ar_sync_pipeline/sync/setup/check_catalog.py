"""Comparison of a catalog with both databases, before a dump or the gate fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.postgres.column_masks import other_rules
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.findings import Finding, Level
from ar_sync_pipeline.postgres.gate import lacking_parts, refusing_columns, type_mismatches
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.sender_checks import useless_exclusions
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.sync.watch.database_access import database_findings, limit_waits
from ar_sync_pipeline.sync.watch.preflight import check_receiver, check_sender, sorted_by_level


def check_catalog(
    catalog: Catalog, sender_url: str | None, receiver_url: str | None
) -> tuple[Finding, ...]:
    """Compare a catalog with the given databases, and these with each other.

    A database that cannot be used is a finding, not an error. The rights of the URLs' roles are
    not compared: an administrator may check a catalog with any role.
    """
    findings: list[Finding] = []
    if sender_url is not None:
        found = [*check_sender(sender_url, catalog), *_exclusions(sender_url, catalog)]
        if receiver_url is None:
            found += _values_needed(sender_url, catalog)
        findings += (replace(finding, area="sender") for finding in found)
    if receiver_url is not None:
        found = [*check_receiver(receiver_url, catalog)]
        findings += (replace(finding, area="receiver") for finding in found)
    if sender_url is not None and receiver_url is not None:
        found = [*_differences(catalog, sender_url, receiver_url)]
        findings += (replace(finding, area="both") for finding in found)
    return sorted_by_level(finding for finding in findings if not finding.of_role)


def _exclusions(url: str, catalog: Catalog) -> list[Finding]:
    findings: list[Finding] = []
    # `check_sender` reports an unusable database.
    with database_findings(url, []), connect(url, application="check") as connection:
        limit_waits(connection)
        findings += useless_exclusions(connection, catalog)
    return findings


def _values_needed(url: str, catalog: Catalog) -> list[Finding]:
    """Return excluded columns that need a value, which the receiver's are likely to need too."""
    findings: list[Finding] = []
    with database_findings(url, []), connect(url, application="check") as connection:
        limit_waits(connection)
        tables = read_tables(connection, catalog.schema_name, catalog.replicates)
        findings += (
            Finding(
                Level.WARNING,
                f"column {name} of table {table.name} is in `exclude` and NOT NULL without a"
                " default, and with such a column at the receiver archives are parked",
                other_rules(column, table),
            )
            for table in tables.values()
            for name in catalog.rules(table.name).exclude
            if (column := table.column(name)) is not None
            and not (column.nullable or column.has_default or column.generated)
        )
    return findings


def _differences(catalog: Catalog, sender_url: str, receiver_url: str) -> Iterator[Finding]:
    """Yield the reasons why the gate would park the sender's archives."""
    mismatches: list[str] = []
    with (
        database_findings(sender_url, []),
        connect(sender_url, application="check") as sender,
        connect(receiver_url, application="check") as receiver,
    ):
        limit_waits(sender)
        limit_waits(receiver)
        sent = read_tables(sender, catalog.schema_name, catalog.replicates)
        held = read_tables(receiver, catalog.schema_name, catalog.replicates)
        mismatches += type_mismatches(
            read_types(sender, catalog, sent), read_types(receiver, catalog, held)
        )
        for label, facts in sent.items():
            table = exported_table(catalog, facts)
            if label not in held:
                # `check_receiver` reports it if the catalog names the table.
                if not catalog.names(label):
                    mismatches.append(f"the receiver has no table {label}")
            elif table.columns:
                as_sent = TableManifest(
                    name=label,
                    columns=table.columns,
                    primary_key=table.primary_key,
                    row_count=0,
                    chunks=(),
                )
                mismatches += lacking_parts(as_sent, catalog, held[label])
                mismatches += refusing_columns(as_sent, catalog, held[label])
    for mismatch in mismatches:
        yield Finding(
            Level.ERROR,
            f"{mismatch}, so that archives are parked",
            "run the missing migration at the side that lacks it, or correct the catalog",
        )
