"""The schema gate checks whether an archive matches the receiver's tables.

It compares all that a merge relies on: columns and types, the labels of enums, the base types of
domains, and the key of each table. Other unique keys are compared during the merge, because rows
may satisfy a key that only the receiver has. The checks of domains are not compared: two versions
of PostgreSQL print one check in two forms. The receiver's domain refuses a row that violates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ar_sync_pipeline.archive.manifest import Manifest, TableManifest, TypeDefinition
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.unique_columns import further_unique_keys, source_columns
from ar_sync_pipeline.visible_text import listed, visible_name

_EMPTY = "''"
_COMPUTED_REMEDY = (
    "where it has to be the same GENERATED column, or dropped, or in `receiver_columns` of the"
    " catalog"
)
FREE_TRANSFORMED = (
    "drop the key at the receiver, or let the transform write to a receiver-only column and take"
    " the name out of `rewritten_by_transform`"
)
"""Remedy of `keys_of_transformed`."""
_NO_VALUE = "the catalog withholds (drop NOT NULL there, or give it a default)"


def missing_migrations(sent: Iterable[str], applied: Sequence[str]) -> list[str]:
    """Return messages on the sender's migrations that the receiver does not have.

    If the receiver's migrations are not recorded, only its columns are compared.
    """
    if not applied:
        return []
    missing = sorted(set(sent) - set(applied))
    return listed(
        [f"the sender has migration {visible_name(name)}, the receiver has not" for name in missing]
    )


def missing_rights(manifest: Manifest, tables: Mapping[str, TableFacts]) -> list[str]:
    """Return the rights that the load's role lacks on the archive's tables, such as a new one."""
    sent = (tables[table.name] for table in manifest.tables if table.name in tables)
    return listed(
        [f"{', '.join(held.denied)} on {visible_name(held.name)}" for held in sent if held.denied]
    )


def catalog_mismatches(manifest: Manifest, catalog: Catalog) -> list[str]:
    """Return messages on what the sender exports and the receiver's catalog does not replicate."""
    mismatches = []
    for table in manifest.tables:
        if not catalog.replicates(table.name):
            mismatches.append(
                f"the receiver's catalog does not name table {visible_name(table.name)}"
            )
            continue
        rules = catalog.rules(table.name)
        for column in table.columns:
            shown = visible_name(f"{table.name}.{column.name}")
            if column.name in rules.receiver_columns:
                mismatches.append(f"{shown} is receiver-only by the receiver's catalog")
            elif column.name in rules.exclude:
                mismatches.append(f"{shown} is excluded by the receiver's catalog")
    return listed(mismatches)


def schema_mismatches(
    manifest: Manifest,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    types: Sequence[TypeDefinition],
    in_place: Mapping[str, str],
) -> list[str]:
    """Return messages on the first parts of the archive's tables that the receiver lacks.

    Args:
        types: Types of all replicated tables of the receiver.
        in_place: As of `relations_in_place_of_tables`.
    """
    mismatches = type_mismatches(manifest.types or (), types)
    for table in manifest.tables:
        if not catalog.replicates(table.name):
            continue
        if table.name not in tables:
            kind = in_place.get(table.name)
            instead = f", but a {kind} of this name" if kind else ""
            mismatches.append(f"the receiver has no table {visible_name(table.name)}{instead}")
        else:
            mismatches += lacking_parts(table, catalog, tables[table.name])
    return listed(mismatches)


def refused_values(
    manifest: Manifest, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[str]:
    """Return messages on the first columns of the receiver that refuse the archive's rows."""
    return listed(
        [
            mismatch
            for table, held in _held_tables(manifest, catalog, tables)
            for mismatch in refusing_columns(table, catalog, held)
        ]
    )


def _held_tables(
    manifest: Manifest, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[tuple[TableManifest, TableFacts]]:
    """Yield the replicated tables of an archive that the receiver has."""
    for table in manifest.tables:
        if catalog.replicates(table.name) and table.name in tables:
            yield table, tables[table.name]


def lacking_parts(sent: TableManifest, catalog: Catalog, held: TableFacts) -> list[str]:
    """Return messages on what the receiver lacks of one table, without withheld columns."""
    rules = catalog.rules(held.name)
    mismatches = key_mismatches(sent, held) or _key_of_transformed(sent, rules, held)
    for column in sent.columns:
        there, shown = held.column(column.name), visible_name(f"{held.name}.{column.name}")
        if column.name in rules.not_replicated:
            continue
        if there is None:
            mismatches.append(f"the receiver lacks column {shown}")
        elif there.type != column.type:
            mismatches.append(
                f"{shown} is {visible_name(column.type)} at the sender"
                f" and {visible_name(there.type)} at the receiver"
            )
    return mismatches + [
        f"{visible_name(f'{held.name}.{name}')} is computed at the sender and stored at the"
        f" receiver, {_COMPUTED_REMEDY}"
        for name in columns_without_values(sent.generated, rules, held)
    ]


def columns_without_values(
    generated: Iterable[str], rules: TableRules, held: TableFacts
) -> tuple[str, ...]:
    """Return the columns that the sender computes and the receiver stores: none are sent."""
    return tuple(
        name
        for name in generated
        if name not in rules.not_replicated
        if (there := held.column(name)) is not None and not there.generated
    )


def refusing_columns(sent: TableManifest, catalog: Catalog, held: TableFacts) -> list[str]:
    """Return messages on columns of the receiver's table that do not take what the sender sends.

    Either side may be the one that was migrated first: the receiver with a stricter column, or the
    sender with one that takes NULL, or that it dropped.
    """
    mismatches, withheld = [], catalog.rules(held.name).not_replicated
    for column in sent.columns:
        there, shown = held.column(column.name), visible_name(f"{held.name}.{column.name}")
        if column.name in withheld or there is None:
            continue
        if column.nullable and not there.nullable:
            mismatches.append(f"{shown} may be NULL at the sender, not at the receiver")
        elif there.generated:
            mismatches.append(f"{shown} is computed at the receiver")
    exported_names = {column.name for column in sent.columns}
    mismatches += [
        f"the receiver's column {visible_name(f'{held.name}.{column.name}')} needs a value that"
        f" {_NO_VALUE if column.name in withheld else 'the sender lacks'}"
        for column in held.columns
        if column.name not in exported_names
        and not column.nullable
        and not column.has_default
        and not column.generated
    ]
    return mismatches


def key_mismatches(sent: TableManifest, held: TableFacts) -> list[str]:
    """Return a message if the receiver's table lacks the key of the sender's rows."""
    key = set(sent.primary_key)
    usable = [set(unique.plain) for unique in held.unique_keys if unique.identifies]
    if key and key not in usable:
        columns = visible_name(", ".join(sent.primary_key))
        free = visible_name(", ".join(held.nullable(key)))
        no_nulls = f" without NULL in {free}" if free else ""
        return [
            f"{visible_name(held.name)} has no unique key ({columns}){no_nulls} at the receiver"
        ]
    return []


def _key_of_transformed(sent: TableManifest, rules: TableRules, held: TableFacts) -> list[str]:
    """Return a message if the sender's values of transformed columns are stored by another key."""
    names = {column.name for column in sent.columns}
    transformed = [name for name in rules.rewritten_by_transform if name in names]
    there, here = sent.primary_key or held.key, held.key
    if transformed and (problem := no_key_of_transformed(transformed, here)):
        return [f"{visible_name(held.name)} {visible_name(problem)}"]
    if not transformed or (set(there) == set(here) and names.issuperset(here)):
        return []
    mismatch = (
        f"{visible_name(held.name)} has the key ({visible_name(', '.join(sent.primary_key))})"
        f" at the sender and ({visible_name(', '.join(here))}) at the receiver, by which the"
        f" sender's values of {visible_name(', '.join(transformed))} are stored"
    )
    return [mismatch]


def no_key_of_transformed(transformed: Sequence[str], key: Sequence[str]) -> str | None:
    """Return what a table lacks in which the transform changes some columns in place."""
    inside = [name for name in transformed if name in key]
    if key and not inside:
        return None
    without = f" without {', '.join(inside)}" if inside else ""
    return (
        f"has no key{without} at the receiver, by which the sender's values of"
        f" {', '.join(transformed)} are stored (`rewritten_by_transform`)"
    )


def transformed_in_keys(
    manifest: Manifest, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> list[str]:
    """Return messages on keys of the receiver's tables that use columns transformed in place."""
    return listed(
        [
            mismatch
            for table, held in _held_tables(manifest, catalog, tables)
            for mismatch in keys_of_transformed(
                catalog, held, tables, (column.name for column in table.columns)
            )
        ]
    )


def keys_of_transformed(
    catalog: Catalog, table: TableFacts, tables: Mapping[str, TableFacts], sent: Iterable[str]
) -> list[str]:
    """Return messages on keys that use columns which the transform changes in place.

    A transformed value that the sender gives to another row, or to which a row of the sender
    refers, does not tell what the sender has: neither that it deleted a row nor that it has one.

    Args:
        tables: Replicated tables of the receiver, by label.
        sent: Columns that the sender sends, or may send.
    """
    transformed = {*catalog.rules(table.name).rewritten_by_transform} & {*sent}
    messages = [
        f"the unique key {unique.name} of {table.name} uses {', '.join(used)}"
        for unique in further_unique_keys(table)
        # A column of INCLUDE is among the used ones; it decides nothing.
        if (
            used := _used(
                transformed, table, (not unique.predicate and unique.plain) or unique.uses
            )
        )
    ]
    messages += [
        f"{child.name} refers by {key.name} to {', '.join(used)} of {table.name}"
        for child in tables.values()
        for key in child.foreign_keys
        if key.referenced_table == table.name
        and not {*key.columns} & {*catalog.rules(child.name).not_replicated}
        if (used := _used(transformed, table, key.referenced_columns))
    ]
    changed = "at the receiver, and the transform changes it in place (`rewritten_by_transform`)"
    return [f"{visible_name(message)} {changed}" for message in messages]


def _used(transformed: set[str], table: TableFacts, names: Iterable[str]) -> list[str]:
    return [name for name in source_columns(table, names) if name in transformed]


def type_mismatches(sent: Sequence[TypeDefinition], held: Sequence[TypeDefinition]) -> list[str]:
    """Return messages on types that differ between the sides so that values may not fit."""
    here = {definition.name: definition for definition in held}
    return [
        mismatch
        for definition in sent
        if (known := here.get(definition.name)) is not None
        for mismatch in _differences(definition, known)
    ]


def _differences(sent: TypeDefinition, held: TypeDefinition) -> list[str]:
    name = visible_name(held.name)
    if sent.kind != held.kind:
        return [f"{name} is a type of kind {sent.kind} at the sender, {held.kind} here"]
    if sent.kind == "enum":
        return [
            f"the receiver's enum {name} lacks the label {visible_name(label) or _EMPTY}"
            for label in sent.parts
            if label not in held.parts
        ]
    if sent.kind == "domain":
        changed = [f"{name} is a domain over {visible_name(held.base)} here"]
        lacking = [f"the receiver's domain {name} is NOT NULL, the sender's is not"]
        return (changed if sent.base != held.base else []) + (
            lacking if "NOT NULL" in set(held.parts) - set(sent.parts) else []
        )
    return [f"the attributes of type {name} differ"] if sent.parts != held.parts else []
