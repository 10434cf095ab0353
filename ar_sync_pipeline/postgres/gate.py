"""The schema gate: does an archive fit the receiver's tables?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ar_sync_pipeline.archive.manifest import Manifest, TableManifest
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.table_facts import TableFacts


def missing_migrations(manifest: Manifest, applied: Sequence[str]) -> list[str]:
    """The sender's migrations that the receiver does not have, as sentences.

    A receiver whose migrations are not recorded is judged by its columns alone.
    """
    if not applied:
        return []
    return [
        f"the sender has migration {name}, the receiver has not"
        for name in sorted(set(manifest.migrations) - set(applied))
    ]


def missing_rights(manifest: Manifest, tables: Mapping[str, TableFacts]) -> list[str]:
    """What the load's role may not do to the archive's tables, such as one that is new."""
    shipped = (tables[table.name] for table in manifest.tables if table.name in tables)
    return [f"{', '.join(held.denied)} on {held.name}" for held in shipped if held.denied]


def schema_mismatches(
    manifest: Manifest, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[str]:
    """Every way in which the archive's tables do not fit the receiver's, as sentences."""
    mismatches: list[str] = []
    for table in manifest.tables:
        if not catalog.travels(table.name):
            mismatches.append(f"table {table.name} is not one that the catalog lets travel")
        elif table.name not in tables:
            mismatches.append(f"the receiver has no table {table.name}")
        else:
            mismatches += _table_mismatches(table, catalog, tables[table.name])
    return mismatches


def _table_mismatches(shipped: TableManifest, catalog: Catalog, held: TableFacts) -> list[str]:
    mismatches: list[str] = []
    if shipped.primary_key != held.primary_key:
        mismatches.append(f"{held.name} has another primary key at the receiver")
    own = catalog.rules(held.name).receiver_columns
    for column in shipped.columns:
        there = held.column(column.name)
        if column.name in own:
            mismatches.append(
                f"{held.name}.{column.name} is the receiver's own by the catalog, and the sender"
                " ships it"
            )
        elif there is None:
            mismatches.append(f"the receiver lacks column {held.name}.{column.name}")
        elif there.type != column.type:
            mismatches.append(
                f"{held.name}.{column.name} is {column.type} at the sender"
                f" and {there.type} at the receiver"
            )
        elif column.nullable and not there.nullable:
            mismatches.append(
                f"{held.name}.{column.name} may be NULL at the sender, not at the receiver"
            )
    shipped_names = {column.name for column in shipped.columns}
    mismatches += [
        f"the receiver's column {held.name}.{column.name} needs a value that the sender lacks"
        for column in held.columns
        if column.name not in shipped_names
        and not column.nullable
        and not column.has_default
        and not column.generated
    ]
    return mismatches
