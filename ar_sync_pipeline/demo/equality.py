"""Proves that two servers have the same data, independent of the digests of the product.

Each server calculates the md5 of the text of every row. The lists of both sides, ordered by primary
key, are compared in parallel, so memory does not grow with a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from ar_sync_pipeline.catalog.labels import locate

# Settings that change the text of a value (manual, 20.11 "Client Connection Defaults"); both sides
# must be equal, and floats must have all digits.
_TEXT_SETTINGS: LiteralString = """
    SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';
    SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_encoding = 'UTF8';
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"""
_NO_MORE = ("", "")


@dataclass(frozen=True)
class TableComparison:
    """Comparison of one table on the two servers.

    Attributes:
        table: Name of the table.
        sender_rows: Number of rows on the sender.
        receiver_rows: Number of rows on the receiver.
        missing_rows: Number of rows that only the sender has.
        extra_rows: Number of rows that only the receiver has.
        changed_rows: Number of rows with the same key that differ in a compared column.
        columns: Compared columns.
        excluded_columns: Shared columns that are not compared, because the transform changes them.
        unlike_columns: Sender columns that the receiver lacks or has with another type.
        first_difference: Key of the first row that differs, as text.
    """

    table: str
    sender_rows: int
    receiver_rows: int
    missing_rows: int
    extra_rows: int
    changed_rows: int
    columns: tuple[str, ...]
    excluded_columns: tuple[str, ...]
    unlike_columns: tuple[str, ...]
    first_difference: str | None

    @property
    def differing_rows(self) -> int:
        """Number of missing, extra and changed rows."""
        return self.missing_rows + self.extra_rows + self.changed_rows

    @property
    def equal(self) -> bool:
        """Whether the receiver has exactly the sender's rows and columns."""
        return self.differing_rows == 0 and not self.unlike_columns


@dataclass(frozen=True)
class MediaComparison:
    """Comparison of two media folders.

    Attributes:
        sender_files: Number of files of the sender.
        size_bytes: Size of the sender's files in bytes.
        missing: Names that only the sender has.
        extra: Names that only the receiver has, which is no error: media are kept by default.
        changed: Names of files with different content.
    """

    sender_files: int
    size_bytes: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether the receiver has every file of the sender, byte by byte."""
        return not self.missing and not self.changed


def prove_equal_tables(
    sender_url: str,
    receiver_url: str,
    tables: Sequence[str] | None = None,
    *,
    transformed_in_place: Mapping[str, Collection[str]] | None = None,
) -> list[TableComparison]:
    """Compare the sender's tables with the receiver's, each side under one snapshot.

    Args:
        sender_url: Libpq URL of the sender, whose columns are compared.
        receiver_url: Libpq URL of the receiver.
        tables: Labels of the tables, those of the schema public without a dot; by default every
            AndroidRequests table of the sender.
        transformed_in_place: Columns by table that the transform changes, which are not compared.
    """
    transformed_in_place = transformed_in_place or {}
    with _reading(sender_url) as sender, _reading(receiver_url) as receiver:
        names = _shared_tables(sender) if tables is None else tables
        return [
            _compare_table(
                sender,
                receiver,
                _Table(table, *locate(table, "public")),
                transformed_in_place.get(table, ()),
            )
            for table in names
        ]


def compare_media(
    sender_folder: Path, receiver_folder: Path, patterns: Sequence[str] = ("*",)
) -> MediaComparison:
    """Compare the contents of two media folders, subfolders included.

    Args:
        sender_folder: Media folder of the sender.
        receiver_folder: Media folder of the receiver.
        patterns: Case-sensitive patterns of the file names to compare.
    """
    sender = _media_files(sender_folder, patterns)
    receiver = _media_files(receiver_folder, patterns)
    shared = sorted(sender.keys() & receiver.keys())
    return MediaComparison(
        sender_files=len(sender),
        size_bytes=sum(path.stat().st_size for path in sender.values()),
        missing=tuple(sorted(sender.keys() - receiver.keys())),
        extra=tuple(sorted(receiver.keys() - sender.keys())),
        changed=tuple(n for n in shared if _content(sender[n]) != _content(receiver[n])),
    )


@contextmanager
def _reading(url: str) -> Iterator[psycopg.Connection[TupleRow]]:
    with psycopg.connect(url) as connection:
        connection.execute(_TEXT_SETTINGS)
        yield connection
        connection.rollback()


def _shared_tables(connection: psycopg.Connection[TupleRow]) -> list[str]:
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        " AND tablename LIKE 'AndroidRequests\\_%' ORDER BY 1"
    )
    return [table for (table,) in rows]


def _compare_table(
    sender: psycopg.Connection[TupleRow],
    receiver: psycopg.Connection[TupleRow],
    table: _Table,
    transformed_in_place: Collection[str],
) -> TableComparison:
    sent, received = _columns(sender, table), _columns(receiver, table)
    unlike = tuple(name for name, kind in sent.items() if received.get(name) != kind)
    excluded = tuple(name for name in sent if name in transformed_in_place)
    columns = tuple(
        name for name in sent if name not in unlike and name not in transformed_in_place
    )
    key = _primary_key(sender, table)
    query = _row_digests(table, columns, key)
    counts = {"sender": 0, "receiver": 0, "missing": 0, "extra": 0, "changed": 0}
    first: str | None = None
    # Without the table, or without its key, the receiver has no rows to compare.
    readable = bool(received) and received.keys() >= set(key)
    # A stream that an error leaves open keeps its session locked, also for its end.
    with closing(_stream(sender, query)) as ours, closing(_stream(receiver, query)) as theirs:
        for finding, row_key in _walk(ours, theirs if readable else iter(())):
            counts["sender"] += finding != "extra"
            counts["receiver"] += finding != "missing"
            if finding != "same":
                counts[finding] += 1
                first = first or row_key
    return TableComparison(
        table=table.label,
        sender_rows=counts["sender"],
        receiver_rows=counts["receiver"],
        missing_rows=counts["missing"],
        extra_rows=counts["extra"],
        changed_rows=counts["changed"],
        columns=columns,
        excluded_columns=excluded,
        unlike_columns=unlike,
        first_difference=first,
    )


def _walk(
    sender: Iterator[tuple[str, str]], receiver: Iterator[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Merge two lists of (key, digest) in key order into (same|missing|extra|changed, key)."""
    ours, theirs = next(sender, _NO_MORE), next(receiver, _NO_MORE)
    while ours is not _NO_MORE or theirs is not _NO_MORE:
        if theirs is _NO_MORE or (ours is not _NO_MORE and ours[0] < theirs[0]):
            yield "missing", ours[0]
            ours = next(sender, _NO_MORE)
        elif ours is _NO_MORE or theirs[0] < ours[0]:
            yield "extra", theirs[0]
            theirs = next(receiver, _NO_MORE)
        else:
            yield ("same" if ours[1] == theirs[1] else "changed"), ours[0]
            ours, theirs = next(sender, _NO_MORE), next(receiver, _NO_MORE)


@dataclass(frozen=True)
class _Table:
    label: str
    schema: str
    name: str

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def _columns(connection: psycopg.Connection[TupleRow], table: _Table) -> dict[str, str]:
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum",
        [table.relation.as_string(connection)],
    )
    return dict(rows.fetchall())


def _primary_key(connection: psycopg.Connection[TupleRow], table: _Table) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid"
        " AND attnum = ANY(indkey) WHERE indisprimary"
        " AND indrelid = to_regclass(%s) ORDER BY attnum",
        [table.relation.as_string(connection)],
    )
    return tuple(name for (name,) in rows)


def _row_digests(table: _Table, columns: Sequence[str], key: Sequence[str]) -> sql.Composed:
    # The C collation orders by bytes, as Python orders text; a row without a key is its own.
    return sql.SQL(
        'COPY (SELECT ROW({key})::text COLLATE "C", md5(ROW({columns})::text)'
        " FROM {table} ORDER BY 1, 2) TO STDOUT"
    ).format(
        key=sql.SQL(", ").join(map(sql.Identifier, key or columns)),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=table.relation,
    )


def _stream(
    connection: psycopg.Connection[TupleRow], query: sql.Composed
) -> Generator[tuple[str, str]]:
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        yield from copy.rows()


def _media_files(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and any(fnmatchcase(path.name, pattern) for pattern in patterns)
    }


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
