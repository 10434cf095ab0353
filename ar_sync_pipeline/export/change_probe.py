"""Check whether a partial would select any row, made shortly before its snapshot."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.locks import limit_lock_waits
from ar_sync_pipeline.export.selection import Selection, changed_rows
from ar_sync_pipeline.export.source_tables import replicated_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.sql_parts import exists

# No statement of production waits longer for the probe, and the snapshot is not late because of it.
_LIMIT = "SET statement_timeout = '2s'"


def any_row_changed(url: str, catalog: Catalog, selection: Selection) -> bool:
    """Return whether a row is selected now; it reads until it finds the first.

    Raises:
        ArSyncError: The database cannot be reached, refuses, or a table cannot be exported.
        psycopg.Error: A statement took too long, or waited for a lock.
    """
    with connect(url, application="dump probe") as connection:
        limit_lock_waits(connection)
        connection.execute(_LIMIT)
        tables = replicated_tables(connection, catalog).values()
        with default_search_path(connection):
            for facts in tables:
                condition = changed_rows(connection, catalog, facts, selection)
                if condition is None:
                    continue
                if exists(connection, sql.SQL("{} AS t WHERE {}").format(facts.rows, condition)):
                    return True
    return False
