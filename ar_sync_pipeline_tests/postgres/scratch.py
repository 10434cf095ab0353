"""A separate schema for each test, in databases that the session shares: it takes milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.exported_table import ExportedTable, export_facts
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts


@dataclass(frozen=True)
class Scratch:
    """An empty schema, and a connection as the product opens it."""

    url: str
    schema: str
    connection: Connection

    def run(self, *statements: str) -> None:
        """Run statements in separate transactions, with the schema as search path."""
        with self.session() as session:
            for statement in statements:
                session.execute(statement.encode())

    def session(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return another connection, opened like an application's."""
        path = f"-c search_path={self.schema},public"
        return psycopg.connect(self.url, autocommit=True, options=path)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.session() as session:
            return session.execute(query.encode()).fetchall()

    def tables(self) -> dict[str, TableFacts]:
        return read_tables(self.connection, self.schema, lambda _: True)

    def exported(self, name: str) -> ExportedTable:
        return export_facts(self.tables()[name], ())

    def relation(self, name: str) -> sql.Identifier:
        return sql.Identifier(self.schema, name)

    def catalog(self, **fields: object) -> Catalog:
        """Return a catalog of every table in the schema."""
        return Catalog.model_validate(
            {"name": "scratch", "schema": self.schema, "tables": ["*"], **fields}
        )
