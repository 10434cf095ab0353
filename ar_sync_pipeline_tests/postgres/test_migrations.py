"""Django's list of migrations is read from the catalog's schema, whatever its name is."""

from __future__ import annotations

import pytest
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.migrations import migration_findings, read_migrations


@pytest.mark.parametrize("schema", ["a%b", "%s", "%(app)s", 'My "shop"', "{}"])
def test_migrations_are_read_in_a_schema_of_any_name(empty_database: str, schema: str) -> None:
    catalog = Catalog.model_validate(
        {"name": "c", "tables": ["t_*"], "schema": schema, "django_app": "it's %s"}
    )
    with connect(empty_database, application="test") as connection:
        for statement in (
            "CREATE SCHEMA {}",
            "CREATE TABLE {}.django_migrations (app text, name text)",
            "INSERT INTO {}.django_migrations VALUES ('it''s %s', '0001'), ('other', '0002')",
        ):
            connection.execute(sql.SQL(statement).format(sql.Identifier(schema)))
        assert list(migration_findings(connection, catalog)) == []
        assert read_migrations(connection, schema, catalog.django_app) == ("0001",)
