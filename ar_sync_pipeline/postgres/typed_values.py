"""Values of the catalog, tried as values of a column's type."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import application_settings, default_search_path
from ar_sync_pipeline.postgres.table_facts import ColumnFacts

_REFUSED = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.CannotCoerce,
    psycopg.errors.RaiseException,  # of a function that the check of a domain calls
)


def fits(
    connection: Connection, column: ColumnFacts, value: object, *, by_application: bool = False
) -> bool:
    """Return whether PostgreSQL takes a value for a column's type, with the checks of a domain.

    After a refusal, a transaction of the caller can only be rolled back.

    Args:
        by_application: Whether the value is read with the settings of the application, as a load
            writes it.

    Raises:
        psycopg.errors.InsufficientPrivilege: The role may not use the schema of the type.
    """
    query = sql.SQL("SELECT {}::{}").format(sql.Literal(value), sql.SQL(column.type))
    try:
        with ExitStack() as stack:
            if by_application:
                stack.enter_context(connection.transaction())
                stack.enter_context(application_settings(connection))
            stack.enter_context(default_search_path(connection))  # for a function of the domain
            connection.execute(query)
    except _REFUSED:
        return False
    return True
