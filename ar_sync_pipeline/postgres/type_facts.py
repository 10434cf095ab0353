"""Enums, domains and composite types of tables."""

from __future__ import annotations

from collections.abc import Mapping

from ar_sync_pipeline.archive.manifest import TypeDefinition
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.schema_queries import TYPES
from ar_sync_pipeline.postgres.table_facts import TableFacts

# Their binary form is the number of an object in a database's own system catalogs.
_CATALOG_NUMBERS = frozenset(
    f"reg{kind}"
    for kind in (
        *("class", "proc", "procedure", "oper", "operator", "type"),
        *("role", "namespace", "config", "dictionary", "collation"),
    )
)


def is_catalog_number(type_name: str) -> bool:
    """Return whether values of a type mean other objects in another database."""
    return type_name.removesuffix("[]") in _CATALOG_NUMBERS


def read_types(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> tuple[TypeDefinition, ...]:
    """Return every type that columns of these tables use, directly or nested, by name."""
    names = [facts.relation.as_string(connection) for facts in tables.values()]
    rows = connection.execute(TYPES.encode(), {"tables": names}).fetchall()
    return tuple(
        TypeDefinition(name=name, kind=kind, parts=tuple(parts), base=base or "")
        for name, kind, parts, base in rows
    )
