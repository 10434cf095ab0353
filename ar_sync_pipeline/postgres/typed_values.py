"""Values of the catalog, tried as values of a column's type."""

from __future__ import annotations

import psycopg
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import ColumnFacts

_REFUSED = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.CannotCoerce,
    psycopg.errors.RaiseException,  # of a function that the check of a domain calls
)


def fits(connection: Connection, column: ColumnFacts, value: object) -> bool:
    """Return whether PostgreSQL takes a value for a column's type, with the checks of a domain.

    After a refusal, a transaction of the connection can only be rolled back.

    Raises:
        psycopg.errors.InsufficientPrivilege: The role may not use the schema of the type.
    """
    query = sql.SQL("SELECT {}::{}").format(sql.Literal(value), sql.SQL(column.type))
    try:
        with default_search_path(connection):  # for the function of a domain's check
            connection.execute(query)
    except _REFUSED:
        return False
    return True
