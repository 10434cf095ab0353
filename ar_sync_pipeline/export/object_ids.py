"""Ids of the sender's database and schemas, by which others in their place are recognized.

Two databases or schemas can exchange their names, and ``CREATE DATABASE ... TEMPLATE`` copies
the files of a database. The rows, and all that the system catalogs say of their tables, then
have the transaction ids with which they were written, which an earlier snapshot of the same
cluster may have seen. Only the ids of the objects differ, and PostgreSQL never changes those.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts


class ObjectIds(BaseModel):
    """The ``oid`` of a database, and of its schemas with replicated tables by name."""

    model_config = ConfigDict(frozen=True)

    database: int
    schemas: dict[str, int]

    def tables_of_others(
        self, before: ObjectIds, tables: Mapping[str, TableFacts]
    ) -> frozenset[str]:
        """Return the tables in schemas that no replicated table was in, whatever their name."""
        others = {
            name for name, number in self.schemas.items() if before.schemas.get(name) != number
        }
        return frozenset(name for name, facts in tables.items() if facts.schema in others)


def read_object_ids(connection: Connection, tables: Mapping[str, TableFacts]) -> ObjectIds:
    """Return the ids under the connection's snapshot."""
    schemas = sorted({facts.schema for facts in tables.values()})
    rows = connection.execute(_READ, {"schemas": schemas}).fetchall()
    found = dict[str | None, int](rows)
    return ObjectIds(
        database=found[None], schemas={name: found[name] for name in schemas if name in found}
    )


_READ = """
SELECT NULL::text, oid::bigint FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT nspname::text, oid::bigint FROM pg_namespace WHERE nspname = ANY (%(schemas)s::text[])
"""
