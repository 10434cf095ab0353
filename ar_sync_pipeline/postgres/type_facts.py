"""Enums, domains and composite types of tables."""

from __future__ import annotations

from collections.abc import Mapping

from ar_sync_pipeline.archive.manifest import TypeDefinition
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.definition_texts import comparable_text
from ar_sync_pipeline.postgres.schema_queries import TYPES
from ar_sync_pipeline.postgres.table_facts import TableFacts


def read_types(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> tuple[TypeDefinition, ...]:
    """Return every type that replicated columns of these tables use, directly or nested."""
    columns = [
        (*facts.place, column.name)
        for facts in tables.values()
        for column in facts.replicated(catalog.rules(facts.name).not_replicated)
    ]
    # By the system catalogs: a cast to regclass fails if the role may not use the schema.
    arguments = {
        "schemas": [schema for schema, _, _ in columns],
        "tables": [relname for _, relname, _ in columns],
        "columns": [name for _, _, name in columns],
    }
    rows = connection.execute(TYPES.encode(), arguments).fetchall()
    return tuple(
        TypeDefinition(
            name=name, kind=kind, parts=tuple(map(comparable_text, parts)), base=base or ""
        )
        for name, kind, parts, base in rows
    )
