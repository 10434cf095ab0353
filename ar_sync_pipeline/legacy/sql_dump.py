"""Reads a plain ``pg_dump`` as data: its ``COPY`` blocks and sequence values, never as SQL.

Nothing in the dump is ever sent to a server as a statement. The rest (tables, keys, owners) is
skipped: the tables of the receiver define the rows.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.legacy.archive_format import SQL_FILE
from ar_sync_pipeline.legacy.tar_stream import OldFormatError

_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)'
_COPY = re.compile(
    rf"COPY (?:(?P<schema>{_NAME})\.)?(?P<table>{_NAME})"
    rf" \((?P<columns>{_NAME}(?:, {_NAME})*)\) FROM stdin;\n"
)
_SETVAL = re.compile(
    rf"SELECT pg_catalog\.setval\('(?:{_NAME}\.)?(?P<name>{_NAME})', (?P<value>-?[0-9]{{1,18}}),"
    r" (?P<called>true|false)\);\n"
)
_ENCODING = re.compile(rb"SET client_encoding = '([A-Za-z0-9_-]{1,30})';\n")
_ENCODINGS = frozenset({"UTF8", "SQL_ASCII", "LATIN1", "LATIN9", "WIN1252"})
_END_OF_ROWS = b"\\.\n"
_END_OF_DUMP = b"-- PostgreSQL database dump complete\n"
_LONGEST_LINE = 16 * 1024**2
_BATCH_BYTES = 256 * 1024


@dataclass(frozen=True)
class CopyBlock:
    """Rows of one table, in the text format of ``COPY``.

    Attributes:
        schema: Schema of the table; None if the dump relies on the search path, as old versions do.
        encoding: PostgreSQL name of the encoding of the rows.
    """

    schema: str | None
    table: str
    columns: tuple[str, ...]
    encoding: str
    _lines: _Lines

    def rows(self, keep: Sequence[int]) -> Iterator[bytes]:
        """Yield the lines of the rows, in batches; must be read to the end.

        Args:
            keep: Indexes of the columns to keep.

        Raises:
            OldFormatError: The dump is truncated inside the rows.
        """
        whole = list(keep) == list(range(len(self.columns)))
        batch = bytearray()
        while (line := self._lines.next()) != _END_OF_ROWS:
            if not line.endswith(b"\n"):
                raise OldFormatError(
                    f"is truncated inside the rows of {printable(self.table)}", SQL_FILE
                )
            batch += line if whole else self._without_others(line, keep)
            if len(batch) >= _BATCH_BYTES:
                yield bytes(batch)
                batch.clear()
        yield bytes(batch)

    def _without_others(self, line: bytes, keep: Sequence[int]) -> bytes:
        fields = line[:-1].split(b"\t")
        if len(fields) != len(self.columns):
            raise OldFormatError(
                f"a row of {printable(self.table)} has other columns than it says", SQL_FILE
            )
        return b"\t".join(fields[position] for position in keep) + b"\n"


@dataclass(frozen=True)
class SequenceSetting:
    """Last value of a sequence."""

    sequence: str
    last_value: int


def read_dump(stream: io.BufferedReader) -> Iterator[CopyBlock | SequenceSetting]:
    """Yield the row blocks of a dump, then its sequence values.

    Raises:
        OldFormatError: The dump is empty (D14), truncated, or not a plain dump.
    """
    lines = _Lines(stream)
    encoding, complete, blocks = "UTF8", False, 0
    while line := lines.next():
        if line.startswith(b"COPY "):
            block = _copy_block(line, encoding, lines)
            yield block
            blocks += 1
        elif line.startswith(b"SELECT pg_catalog.setval("):
            setting = _sequence_setting(line)
            if setting is not None:
                yield setting
        elif found := _ENCODING.fullmatch(line):
            encoding = _known_encoding(found[1].decode())
        complete = complete or line == _END_OF_DUMP
    if not lines.read_any:
        raise OldFormatError("is empty, because pg_dump failed at the sender", SQL_FILE)
    if not complete:
        raise OldFormatError("is truncated: it lacks the last line that pg_dump writes", SQL_FILE)
    if not blocks:
        raise OldFormatError("holds no rows of any table as COPY", SQL_FILE)


class _Lines:
    """Lines of a stream, of limited length."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.read_any = False

    def next(self) -> bytes:
        """Return the next line with its line feed; empty at the end."""
        line = self._stream.readline(_LONGEST_LINE)
        if len(line) == _LONGEST_LINE:
            raise OldFormatError(f"has a line of more than {_LONGEST_LINE} bytes", SQL_FILE)
        self.read_any = self.read_any or bool(line)
        return line


def _known_encoding(name: str) -> str:
    if name not in _ENCODINGS:
        raise OldFormatError(f"is written in {name}, not in UTF8", SQL_FILE)
    return name


def _copy_block(line: bytes, encoding: str, lines: _Lines) -> CopyBlock:
    text = line.decode("utf-8", "replace")
    match = _COPY.fullmatch(text)
    if match is None:
        raise OldFormatError(
            f"has a COPY that pg_dump does not write ({printable(text)})", SQL_FILE
        )
    columns = tuple(_unquoted(name) for name in re.findall(_NAME, match["columns"]))
    if len(set(columns)) != len(columns):
        raise OldFormatError(f"names a column twice ({printable(text)})", SQL_FILE)
    schema = _unquoted(match["schema"]) if match["schema"] else None
    return CopyBlock(schema, _unquoted(match["table"]), columns, encoding, lines)


def _sequence_setting(line: bytes) -> SequenceSetting | None:
    match = _SETVAL.fullmatch(line.decode("utf-8", "replace"))
    if match is None or match["called"] == "false":
        return None
    return SequenceSetting(_unquoted(match["name"]), int(match["value"]))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
