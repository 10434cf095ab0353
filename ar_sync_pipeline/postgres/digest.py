"""Digests of rows: order-independent, equal exactly if the rows are equal to the bit.

"Exactly" is up to chance: one of 2^64 other rows has the same digest, and one of 2^32 that differ
in a time only.

A row's digest is ``hash_record_extended`` over its columns, hashed a second time; a set's digest is
the sum of them, together with the row count. The second hash is needed: a record's hash is a
polynomial of its columns' hashes, so a plain sum would not change when two rows exchange the values
of a column. It takes the first hash as ``float8`` because ``hashint8extended`` would fold it to 32
bits. If equal values can differ in their bits (``-0.0``, ``1.0`` and ``1.00``, blanks at the end of
``bpchar``), a text or wire form is hashed instead of the value. Wire forms are those that COPY
sends: the prolog of an ``xml``, for example, is not stored by the receiver. PostgreSQL does not
promise that its hash functions agree between versions: `probe_digest` shows whether those of two
servers do.

``hashint8extended`` (``hashfunc.c``) hashes the exclusive or of a ``bigint``'s halves, of which it
inverts the upper one below zero: a negative ``x`` hashes like ``x + 2^32``. So the upper half is
hashed as well; with the fold it determines the value. Times without a date and with one are folded
alike, and stay so: two of them can hash alike only if they are a multiple of 2^32 microseconds
(71.6 minutes) apart, to a second, and then one of thousands of such pairs does. That is chance: no
change that an application makes to many times, such as another time zone, has this form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk, Column
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar

CHUNK_KEY_BITS = 16
"""A chunk holds the rows whose integer key has the same ``key >> 16`` (floor, so also below 0)."""

_HASHED_AS_THEY_ARE = re.compile(
    r"(smallint|integer|boolean|uuid|bytea|date"
    r"|timestamp(\(\d\))? with(out)? time zone|time(\(\d\))? without time zone|oid)\Z"
)
_INTERVAL = re.compile(r"interval( [a-z ]+)?(\(\d\))?\Z")
_WIRE_FORMS = {
    "real": "pg_catalog.float4send({})",
    "double precision": "pg_catalog.float8send({})",
    "bpchar": "pg_catalog.bpcharsend({})",
    "money": "pg_catalog.cash_send({})",
    # Before version 17 infinity is printed as a number of years.
    "interval": "pg_catalog.interval_send({})",
    # `xml_send` leaves out one line end at the beginning of a value without a prolog, so each
    # server that a value passes has one less. Within arrays and own types that still counts.
    "xml": r"pg_catalog.ltrim(pg_catalog.xml_send({}), '\x0a'::bytea)",
}
_INTEGER_TYPES = frozenset({"smallint", "integer", "bigint"})
_MOST_FIELDS = 1664
"""Number of fields that a ``ROW`` may have (PostgreSQL's ``MaxTupleAttributeNumber``)."""


@dataclass(frozen=True)
class ChunkDigest:
    """Content of a chunk in a database: number of rows and their digest."""

    row_count: int
    digest: str

    @classmethod
    def of(cls, chunk: Chunk) -> Self:
        """Return the content of a chunk as its manifest describes it."""
        return cls(chunk.row_count, chunk.digest)


class PrintedValue(sql.Composed):
    """An expression for the text of `printed_value`, which was stored instead of the value."""


def printed_value(value: sql.Composable) -> sql.Composed:
    """Return the text that stands for a value of a type of the database, also for NULL.

    A cast to text may lose bytes: that of a domain over bpchar loses blanks, and a type may have a
    cast of its own. A row's text has the text that COPY prints.
    """
    return sql.SQL('(ROW({})::text COLLATE "C")').format(value)


def is_chunked(columns: Sequence[Column], primary_key: Sequence[str]) -> bool:
    """Return whether a table is split into chunks: its key is one integer column."""
    types = {column.name: column.type for column in columns}
    return len(primary_key) == 1 and types[primary_key[0]] in _INTEGER_TYPES


def chunk_index(key: sql.Composable) -> sql.Composed:
    """Return the number of the chunk of an integer key."""
    return sql.SQL("({}::bigint >> {})").format(key, sql.Literal(CHUNK_KEY_BITS))


def digest_of(
    connection: Connection,
    columns: Sequence[Column],
    value_of: dict[str, sql.Composable] | None = None,
) -> sql.Composed:
    """Return the aggregate expression for the digest of the rows ``t``.

    It is the sum of what `row_digest` returns.

    Args:
        columns: Shared columns; the digest does not depend on their order in the table.
        value_of: Expressions to read instead of the column, by column name.
    """
    return digest_of_rows(row_digest(connection, columns, value_of, alias="t"))


def digest_of_rows(one: sql.Composable) -> sql.Composed:
    """Return the aggregate expression for the digest of rows with these digests of `row_digest`."""
    return sql.SQL("coalesce(pg_catalog.sum({}), 0)::numeric(40)").format(one)


def row_digest(
    connection: Connection,
    columns: Sequence[Column],
    value_of: dict[str, sql.Composable] | None = None,
    *,
    alias: str,
) -> sql.Composed:
    """Return the expression for the digest of one row of ``alias``, a ``bigint``."""
    encoded = _server_encoding(connection) != "UTF8"
    wide = len(columns) + sum(column.type == "bigint" for column in columns) > _MOST_FIELDS
    fields = [
        _hashable(
            column,
            (value_of or {}).get(column.name, sql.Identifier(alias, column.name)),
            encoded=encoded,
            wide=wide,
        )
        for column in sorted(columns, key=lambda column: column.name)
    ]
    return _row_digest(sql.SQL(", ").join(fields))


def probe_digest(connection: Connection) -> str:
    """Return the digest of one fixed row of every type that is hashed directly.

    It also differs from that of a product version whose expressions differ.
    """
    encoded = _server_encoding(connection) != "UTF8"
    text = sql.SQL("{}::{}").format(
        sql.Literal(_PROBE_TEXT.encode() if encoded else _PROBE_TEXT),
        sql.SQL("bytea" if encoded else "text"),
    )
    query = sql.SQL("SELECT {}").format(_row_digest(sql.SQL(_PROBE).format(text=text)))
    return str(scalar(connection, query))


def _row_digest(fields: sql.Composable) -> sql.Composed:
    # The casts make the argument types exact: see `default_search_path`.
    return sql.SQL(
        "pg_catalog.hashfloat8extended("
        "pg_catalog.hash_record_extended(ROW({}), 0::bigint)::float8, 0::bigint)"
    ).format(fields)


def _server_encoding(connection: Connection) -> str:
    return connection.info.parameter_status("server_encoding") or ""


def _hashable(
    column: Column, value: sql.Composable, *, encoded: bool, wide: bool
) -> sql.Composable:
    """Return the fields to hash instead of a value, so that only equal bytes hash alike.

    Args:
        wide: Whether the row has no place for a second field of a ``bigint``. Its wire form, which
            takes longer, then needs one only.
        encoded: Whether the database's encoding is not UTF-8. The UTF-8 bytes of a text then hash
            like the text itself in a UTF-8 database.
    """
    if column.type == "bigint":
        # The receiver's column may be an integer, of which `>>` would take the number modulo 32.
        halves = "pg_catalog.int8send({0})" if wide else "{0}, ({0}::bigint >> 32)::integer"
        return sql.SQL(halves).format(value)
    if _HASHED_AS_THEY_ARE.match(column.type):
        return value
    wire_form = _WIRE_FORMS.get("interval" if _INTERVAL.match(column.type) else column.type)
    if wire_form is not None:
        return sql.SQL(wire_form).format(value)
    if isinstance(value, PrintedValue):
        text: sql.Composable = value
    elif "." in column.type:  # only the names of a database's own types have a schema
        text = printed_value(value)
    else:
        # Under a nondeterministic collation, texts of different bytes hash alike.
        text = sql.SQL('({}::text COLLATE "C")').format(value)
    return sql.SQL("pg_catalog.convert_to({}, 'UTF8')").format(text) if encoded else text


_PROBE_TEXT = "ñandú 🚌"
# The last number is that of the expressions: increase it if `_hashable` returns others.
_PROBE = """
    (-7)::smallint, 70000::integer, (-5000000000)::bigint, true, {text},
    'v'::character varying, 'c0ffee00-0000-4000-8000-000000000001'::uuid, '\\x00ff'::bytea,
    '2024-02-29'::date, '2017-05-14 03:59:59.999999+00'::timestamptz,
    '2017-05-14 03:59:59.999999'::timestamp, '23:59:59.999999'::time,
    pg_catalog.float8send(-33.45), pg_catalog.float4send(0.1), NULL::integer, 4::smallint
"""
