"""Ranges of integer keys that chunks cover, for queries of some chunks of a table."""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.postgres import digest
from ar_sync_pipeline.postgres.sql_parts import TRUE

_MOST_RANGES = 64
_FIRST_KEY = sql.SQL("'-9223372036854775808'::bigint")
_LAST_KEY = sql.SQL("'9223372036854775807'::bigint")


def range_of(number: int) -> KeyRange:
    """Return the range of keys of a chunk."""
    low = number << digest.CHUNK_KEY_BITS
    return KeyRange(low=low, high=low + (1 << digest.CHUNK_KEY_BITS))


def number_at(key_range: KeyRange) -> int:
    """Return the number of the chunk with a range of keys."""
    return key_range.low >> digest.CHUNK_KEY_BITS


def number_of(chunk: Chunk) -> int | None:
    """Return the number of a chunk; None: it is the whole table."""
    return None if chunk.key_range is None else number_at(chunk.key_range)


def in_chunks(key: sql.Composable, numbers: Collection[int]) -> sql.Composed:
    """Return the condition that a key is in one of these chunks.

    The condition uses ranges, for the key's index. Very many ranges are filtered instead.
    """
    ranges = list[KeyRange]()
    for one in map(range_of, sorted(numbers)):
        if ranges and ranges[-1].high == one.low:
            ranges[-1] = KeyRange(low=ranges[-1].low, high=one.high)
        else:
            ranges.append(one)
    if not 0 < len(ranges) <= _MOST_RANGES:
        return sql.SQL("{} = ANY ({}::bigint[])").format(
            digest.chunk_index(key), sql.Literal(sorted(numbers))
        )
    within = (
        sql.SQL("({} >= {} AND {} OPERATOR(pg_catalog.<) {})").format(
            key, sql.Literal(one.low), key, sql.Literal(one.high)
        )
        for one in ranges
    )
    return sql.SQL("({})").format(sql.SQL(" OR ").join(within))


def outside_chunks(key: sql.Composable, numbers: Collection[int]) -> sql.Composed:
    """Return the condition that a key is in none of these chunks.

    The condition uses ranges, for the key's index. Very many ranges are filtered instead.
    """
    skipped = sorted(numbers)
    if not skipped:
        return TRUE
    ranges = _gaps(skipped)
    if len(ranges) > _MOST_RANGES:
        return sql.SQL("{} <> ALL ({}::bigint[])").format(
            digest.chunk_index(key), sql.Literal(skipped)
        )
    return sql.SQL("({})").format(sql.SQL(" OR ").join(_within(key, *r) for r in ranges))


def offset_in_chunk(key: sql.Composable) -> sql.Composed:
    """Return the place of a key in its chunk, from 0."""
    return sql.SQL("({}::bigint & {}::bigint)").format(
        key, sql.Literal((1 << digest.CHUNK_KEY_BITS) - 1)
    )


def key_at(number: sql.Composable, offset: sql.Composable) -> sql.Composed:
    """Return the key at a place of a chunk."""
    return sql.SQL("(({}::bigint << {}) + {})").format(
        number, sql.Literal(digest.CHUNK_KEY_BITS), offset
    )


def keys_per_chunk() -> int:
    """Return how many keys the range of a chunk has."""
    return 1 << digest.CHUNK_KEY_BITS


def _gaps(indexes: list[int]) -> list[tuple[int | None, int | None]]:
    """Return the ranges of chunk numbers between ascending ones: half-open, None where open."""
    ends = [None, *(index + 1 for index in indexes)]
    starts = [*indexes, None]
    return [(low, high) for low, high in zip(ends, starts, strict=True) if low != high]


def _within(key: sql.Composable, low: int | None, high: int | None) -> sql.Composed:
    """Return the condition that the key is in these chunks.

    An open end is the end of the type: of a range with two ends PostgreSQL expects few rows, also
    in a table that it has not analyzed yet, and reads them by the key's index.
    """
    first = _FIRST_KEY if low is None else sql.Literal(low << digest.CHUNK_KEY_BITS)
    end = sql.SQL("<= {}").format(_LAST_KEY)
    if high is not None:
        end = sql.SQL("< {}").format(sql.Literal(high << digest.CHUNK_KEY_BITS))
    return sql.SQL("({} >= {} AND {} {})").format(key, first, key, end)
