"""Choice of text columns that name media files: some values are looked up in the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from ar_sync_pipeline.postgres.checks.column_statistics import TableStatistics
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.watch.media_columns import LONGEST_NAME, MediaColumn, judge_column

_TEXT = re.compile(r"text\Z|character varying")
_ROWS = 1_000


def find_media_columns(
    connection: Connection, table: TableFacts, statistics: TableStatistics, folder: Path
) -> list[MediaColumn]:
    """Return the columns of which at least a tenth of the values are files.

    The values are those of the statistics, and of the first 1,000 rows if this role can read them;
    the first 100 different ones are looked up.
    """
    names = [c.name for c in table.columns if _TEXT.match(c.type)]
    sample = _sample(connection, table, names)
    found = (
        judge_column(name, [*statistics.column(name).values, *sample.get(name, ())], folder)
        for name in names
    )
    return [column for column in found if column is not None]


def _sample(connection: Connection, table: TableFacts, names: list[str]) -> dict[str, list[str]]:
    if not names or "SELECT" in table.denied or table.policies:
        return {}
    columns = sql.SQL(", ").join(
        sql.SQL("pg_catalog.left({}, {})").format(sql.Identifier(name), LONGEST_NAME + 1)
        for name in names
    )
    query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(columns, table.rows, _ROWS)
    try:
        with default_search_path(connection):
            rows = connection.execute(query).fetchall()
    except (
        psycopg.errors.QueryCanceled,
        psycopg.errors.LockNotAvailable,
        psycopg.errors.InsufficientPrivilege,
    ):
        # For a table with a long lock, or in a schema of others, only the statistics count.
        return {}
    return {
        name: [value for value in values if value is not None]
        for name, values in zip(names, zip(*rows, strict=True), strict=False)
    }


def endings(columns: Iterator[MediaColumn]) -> tuple[str, ...]:
    """Return the patterns of all files that were found, for ``AR_SYNC_MEDIA_PATTERNS``."""
    return tuple(dict.fromkeys(ending for column in columns for ending in column.endings))
