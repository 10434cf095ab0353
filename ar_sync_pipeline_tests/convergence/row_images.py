"""What databases and archives hold, as the bytes of PostgreSQL's binary COPY: equal to the bit.

It shares nothing with the product's digests, staging or comparisons.
"""

from __future__ import annotations

import json
import struct
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import psycopg

from ar_sync_pipeline_tests.convergence.application import TABLES, SharedTable

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Row = tuple[bytes | None, ...]
Rows = dict[Row, Row]
State = dict[str, Rows]
"""Rows by table and by primary key."""

Connection = psycopg.Connection[tuple[object, ...]]

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_HEADER_BYTES = len(_SIGNATURE) + 8
_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


def read_state(connection: Connection) -> State:
    """All rows of the shared tables, in one statement's snapshot each; their transaction's one."""
    return {
        name: keyed(table, copy_out(connection, ", ".join(_as_sent(table)), name))
        for name, table in TABLES.items()
    }


def _as_sent(table: SharedTable) -> list[str]:
    """A label that the receiver rewrote is read as the sender wrote it."""
    rewritten = {"label": "regexp_replace(label, '^rewritten ', '')"}
    return [rewritten.get(column, column) for column in table.columns]


def keyed(table: SharedTable, rows: list[Row]) -> Rows:
    """Rows by their primary key, which stands in the first columns."""
    return {row[: len(table.key)]: row for row in rows}


def copy_out(connection: Connection, columns: str, relation: str) -> list[Row]:
    """Rows of a table in binary form."""
    statement = f"COPY (SELECT {columns} FROM {relation}) TO STDOUT (FORMAT binary)"
    with connection.cursor().copy(statement.encode()) as copy:
        return parse(b"".join(copy))


def parse(data: bytes) -> list[Row]:
    """The fields of every tuple (manual, COPY, "Binary Format")."""
    assert data.startswith(_SIGNATURE)
    offset = _HEADER_BYTES + struct.unpack_from("!i", data, _HEADER_BYTES - 4)[0]
    rows = []
    while (count := struct.unpack_from("!h", data, offset)[0]) >= 0:
        offset += 2
        fields: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", data, offset)
            offset += 4
            fields.append(data[offset : offset + size] if size >= 0 else None)
            offset += max(size, 0)
        rows.append(tuple(fields))
    return rows


def rows_in_archive(path: Path) -> State:
    """The rows that an archive carries; tables that it does not carry are absent."""
    with tarfile.open(path) as tar:
        members = {
            info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None
        }
    state: State = {}
    for exported in json.loads(members["manifest.json"])["tables"]:
        table = TABLES[exported["name"]]
        columns = [column["name"] for column in exported["columns"]]
        order = [columns.index(name) if name in columns else None for name in table.columns]
        rows = [
            tuple(None if index is None else row[index] for index in order)
            for chunk in exported["chunks"]
            if chunk.get("carried", True)
            for row in parse(zstd.decompress(members[chunk["member"]]))
        ]
        state[table.name] = keyed(table, rows)
    return state


def integer(value: bytes | None) -> int:
    """An integer column's value."""
    assert value is not None
    return int.from_bytes(value, signed=True)


def key_text(table: str, key: Row) -> str:
    """A key as the sender's note of a deletion spells it."""
    if TABLES[table].key == ("id",):
        return str(integer(key[0]))
    return b"".join(part or b"" for part in key).decode()


@dataclass(frozen=True)
class Saved:
    """The contents of a table, in binary form."""

    columns: str
    content: bytes


def put_back(connection: Connection, saved: dict[str, Saved]) -> None:
    """Replace the contents of tables by what `save` gave, as a restored backup would.

    A column that was added since gets its default.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for name, table in saved.items():
            cursor.execute(f"DELETE FROM {name}".encode())
            statement = f"COPY {name} ({table.columns}) FROM STDIN (FORMAT binary)"
            with cursor.copy(statement.encode()) as copy:
                copy.write(table.content)


def save(connection: Connection, names: list[str]) -> dict[str, Saved]:
    """The contents of tables, for `put_back`."""
    saved = {}
    for name in names:
        found = connection.execute(_COLUMNS, [name]).fetchone()
        assert found is not None
        kept, columns = BytesIO(), str(found[0])
        statement = f"COPY {name} ({columns}) TO STDOUT (FORMAT binary)"
        with connection.cursor().copy(statement.encode()) as copy:
            for block in copy:
                kept.write(block)
        saved[name] = Saved(columns, kept.getvalue())
    return saved
