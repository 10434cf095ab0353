"""Columns whose values name files of the media folder, found by looking some of them up."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.media.inventory import matches_any
from ar_sync_pipeline.media.safe_paths import media_name_problem, open_parent
from ar_sync_pipeline.postgres.checks.column_statistics import TableStatistics, read_statistics
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts

LONGEST_NAME = 1_000
"""Length of the longest value that is looked up."""
_VALUES = 100
_ENOUGH = 0.1
_REPEATED = 3
_MOST_MARKS = 5
_TEXT = re.compile(r"text\Z|character varying")
_ROWS = 1_000


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


def judge_column(name: str, values: Sequence[str], folder: Path) -> MediaColumn | None:
    """Describe a column of which at least a tenth of some values are files; None if fewer are.

    The first 100 different values are looked up.
    """
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
    if len(name) > LONGEST_NAME or media_name_problem(name) is not None:
        return False
    try:
        with open_parent(folder, name) as (fd, last):
            return HeldFolder(folder, fd).file_facts(last) is not None
    except OSError:
        return False


def sent_file_findings(
    connection: Connection, catalog: Catalog, folder: Path, patterns: Sequence[str]
) -> Iterator[Finding]:
    """Yield columns with a rule whose files are sent all the same, since a pattern names them.

    The values are those of the statistics, as far as this role may see them; no row is read.
    """
    if not patterns or catalog.excludes_media:
        return
    ruled = {label: rules for label, rules in catalog.table.items() if rules.column_rules}
    tables = read_tables(
        connection, catalog.schema_name, lambda label: label in ruled and catalog.replicates(label)
    )
    statistics = read_statistics(connection, tables.values())
    for label in tables:
        for name, rule in ruled[label].column_rules.items():
            values = statistics[label].column(name).values
            matching = [value for value in values if matches_any(value, patterns)]
            found = judge_column(name, matching, folder)
            if name not in ruled[label].media_columns and found is not None:
                yield Finding(
                    Level.WARNING,
                    f"column {name} of table {label} has the rule `{rule}`, and its values name"
                    " files that AR_SYNC_MEDIA_PATTERNS still sends",
                    f"name {name} in `media_columns` and in `exclude`, or correct"
                    " AR_SYNC_MEDIA_PATTERNS",
                )


def unsent_file_findings(
    connection: Connection, catalog: Catalog, folder: Path, patterns: Sequence[str]
) -> Iterator[Finding]:
    """Yield columns that name files which are not sent: no setting and no key names them.

    A draft of the catalog does not see a column that has no file yet.
    """
    tables = read_tables(connection, catalog.schema_name, catalog.replicates)
    statistics = read_statistics(connection, tables.values())
    for label, table in tables.items():
        rules = catalog.rules(label)
        known = {*rules.media_columns, *rules.column_rules, *rules.receiver_columns}
        for column in find_media_columns(
            connection, table, statistics[label], folder, patterns, known
        ):
            yield Finding(
                Level.WARNING,
                f"column {column.name} of table {label} names files of the media folder, and"
                " neither `media_columns` nor AR_SYNC_MEDIA_PATTERNS names them, so the receiver"
                " does not get them",
                f"add {column.name} to `media_columns` at both sides, or"
                f" {','.join(column.endings)} to AR_SYNC_MEDIA_PATTERNS",
            )


def find_media_columns(
    connection: Connection,
    table: TableFacts,
    statistics: TableStatistics,
    folder: Path,
    patterns: Sequence[str] = (),
    known: Collection[str] = (),
) -> list[MediaColumn]:
    """Return the columns of which at least a tenth of the values are files.

    The values are those of the statistics, and of the first 1,000 rows if this role can read them;
    the first 100 different ones are looked up, without those that a pattern selects.

    Args:
        patterns: Patterns of files that need no column.
        known: Columns to leave out, which this role need not be able to read.
    """
    names = [c.name for c in table.columns if _TEXT.match(c.type) and c.name not in known]
    sample = _sample(connection, table, names)
    values = {name: [*statistics.column(name).values, *sample.get(name, ())] for name in names}
    found = (
        judge_column(name, [v for v in values[name] if not matches_any(v, patterns)], folder)
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
