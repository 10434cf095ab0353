"""Tables that the role cannot read because its search path is not the application's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import SET_THE_PATH, Connection, lacking_name, lacks_name
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts

_LONGEST_LOCK_WAIT = "500ms"


def search_path_findings(
    connection: Connection, side: str, tables: Iterable[TableFacts]
) -> Iterator[Finding]:
    """Yield the tables with a function in an index that names what the role does not find.

    A table that another session locks is a note. The planner inlines the SQL functions of a
    table's indexes in every query on the table.

    Args:
        side: ``sender`` or ``receiver``.
    """
    role = sql.Identifier(connection.info.user).as_string(connection)
    for table in tables:
        try:
            lacking = _lacking_name(connection, table)
        except psycopg.errors.LockNotAvailable:
            yield Finding(
                Level.NOTE,
                f"another session locks table {table.name}, so that it was not examined",
                "run the check again",
                unexamined=True,
                table=table.name,
            )
            continue
        if lacking:
            yield Finding(
                Level.ERROR,
                f"table {table.name} cannot be read by this role: a function of an index does not"
                f" find a name ({printable(lacking)})",
                SET_THE_PATH.format(role, side),
                of_role=True,
                table=table.name,
            )


def _lacking_name(connection: Connection, table: TableFacts) -> str:
    """Return what a query on a table does not find; empty: nothing, or it cannot be read.

    A table that cannot be read must not end the check: for example, a foreign server cannot be
    used. Other findings say what rights it lacks.

    Raises:
        LockNotAvailable: Another session locks the table or an index of it, as REINDEX does.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LONGEST_LOCK_WAIT])
            with default_search_path(connection):
                connection.execute(sql.SQL("EXPLAIN SELECT FROM {}").format(table.rows))
    except psycopg.Error as error:
        if connection.closed or isinstance(error, psycopg.errors.LockNotAvailable):
            raise
        return lacking_name(error) if lacks_name(error) else ""
    return ""
