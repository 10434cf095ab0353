"""Choice of text columns that name media files: some values are looked up in the folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psycopg
from psycopg import sql

from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.media.safe_paths import media_name_problem, open_parent
from ar_sync_pipeline.postgres.checks.column_statistics import TableStatistics
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts

_TEXT = re.compile(r"text\Z|character varying")
_ROWS, _VALUES = 1_000, 100
_LONGEST_NAME = 1_000
_ENOUGH = 0.1
_REPEATED = 3
_MOST_MARKS = 5


@dataclass(frozen=True)
class MediaColumn:
    """A column whose values are files of the media folder.

    Attributes:
        name: Name of the column.
        tried: Number of values that were looked up.
        found: Number of these that are files.
        no_media: Repeated values that are not files.
        endings: Patterns of the files, such as ``*.jpg``.
    """

    name: str
    tried: int
    found: int
    no_media: tuple[str, ...]
    endings: tuple[str, ...]


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
        _judged(name, [*statistics.column(name).values, *sample.get(name, ())], folder)
        for name in names
    )
    return [column for column in found if column is not None]


def _sample(connection: Connection, table: TableFacts, names: list[str]) -> dict[str, list[str]]:
    if not names or "SELECT" in table.denied or table.policies:
        return {}
    columns = sql.SQL(", ").join(
        sql.SQL("pg_catalog.left({}, {})").format(sql.Identifier(name), _LONGEST_NAME + 1)
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


def _judged(name: str, values: list[str], folder: Path) -> MediaColumn | None:
    counted = Counter(values)
    tried = [value for value in counted if value][:_VALUES]
    files = [value for value in tried if _is_file(folder, value)]
    if not files or len(files) < _ENOUGH * len(tried):
        return None
    no_media = [""] if "" in counted else []
    # A value with a suffix may be a lost file, which a check has to report.
    no_media += [
        v
        for v in tried
        if counted[v] >= _REPEATED and v not in files and not PurePosixPath(v).suffix
    ][:_MOST_MARKS]
    endings = Counter(f"*{PurePosixPath(file).suffix}" for file in files)
    return MediaColumn(
        name, len(tried), len(files), tuple(no_media), tuple(e for e, _ in endings.most_common())
    )


def _is_file(folder: Path, name: str) -> bool:
    if len(name) > _LONGEST_NAME or media_name_problem(name) is not None:
        return False
    try:
        with open_parent(folder, name) as (fd, last):
            return HeldFolder(folder, fd).file_facts(last) is not None
    except OSError:
        return False


def endings(columns: Iterator[MediaColumn]) -> tuple[str, ...]:
    """Return the patterns of all files that were found, for ``AR_SYNC_MEDIA_PATTERNS``."""
    return tuple(dict.fromkeys(ending for column in columns for ending in column.endings))
