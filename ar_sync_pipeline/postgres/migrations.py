"""Django's list of applied migrations, which shows whether both sides have the same schema."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.acting_role import acting_role
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.visible_text import visible_name

# By the system catalogs: to_regclass fails if the role may not use the schema.
_MAY_READ = """
SELECT has_schema_privilege(n.oid, 'USAGE'), has_table_privilege(c.oid, 'SELECT')
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = %s AND c.relname = 'django_migrations' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


def migrations_table(connection: Connection, schema: str, app: str | None) -> sql.Identifier | None:
    """Return Django's list of migrations; None if it is absent, or the catalog has no app.

    Raises:
        DatabaseRefusedError: The role may not read it.
    """
    rights = connection.execute(_MAY_READ, [schema]).fetchone() if app is not None else None
    if rights is None:
        return None
    if not all(rights):
        raise DatabaseRefusedError(_problem(schema), remedy="; ".join(_grants(connection, schema)))
    return _table(schema)


def read_migrations(connection: Connection, schema: str, app: str | None) -> tuple[str, ...]:
    """Return the names of the app's applied Django migrations, sorted; empty without the table.

    Raises:
        DatabaseRefusedError: The role may not read the table.
    """
    table = migrations_table(connection, schema, app)
    if table is None:
        return ()
    # Without parameters: a schema's name may contain the sign of a placeholder.
    query = sql.SQL("SELECT name FROM {} WHERE app OPERATOR(pg_catalog.=) {} ORDER BY name")
    with default_search_path(connection):
        rows = connection.execute(query.format(table, app)).fetchall()
    return tuple(name for (name,) in rows)


def migrated_apps(connection: Connection, schema: str) -> tuple[str, ...] | None:
    """Return the apps whose migrations are recorded; None if the role may not read them."""
    rights = connection.execute(_MAY_READ, [schema]).fetchone()
    if rights is None:
        return ()
    if not all(rights):
        return None
    query = sql.SQL("SELECT DISTINCT app FROM {}").format(_table(schema))
    with default_search_path(connection):
        return tuple(app for (app,) in connection.execute(query).fetchall())


def migration_findings(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield findings if migrations of the catalog's ``django_app`` are missing or unreadable."""
    schema, app = catalog.schema_name, catalog.django_app
    if app is None:
        return
    try:
        table = migrations_table(connection, schema, app)
    except DatabaseRefusedError as error:
        yield Finding(
            Level.ERROR, error.problem, error.remedy, sql=f"{error.remedy};", of_role=True
        )
        return
    if table is None:
        problem = f"the catalog has a `django_app`, and schema {schema} has no django_migrations"
    elif read_migrations(connection, schema, app):
        return
    else:
        problem = f"django_migrations has no row of the app {visible_name(app)}"
    yield Finding(
        Level.NOTE if table is None else Level.WARNING,
        f"{problem}, so migrations of the two sides are not compared",
        "correct `django_app` in the catalog (it is the app's label), or remove it",
    )


def _problem(schema: str) -> str:
    return f"table {schema}.django_migrations gives this role no SELECT"


def _grants(connection: Connection, schema: str) -> list[str]:
    """Return the missing rights of the role as statements; the right on the schema comes first."""
    role = acting_role(connection)
    rights = connection.execute(_MAY_READ, [schema]).fetchone() or (True, True)
    statements = (
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), role),
        sql.SQL("GRANT SELECT ON {} TO {}").format(_table(schema), role),
    )
    return [
        statement.as_string(connection)
        for statement, given in zip(statements, rights, strict=True)
        if not given
    ]


def _table(schema: str) -> sql.Identifier:
    return sql.Identifier(schema, "django_migrations")
