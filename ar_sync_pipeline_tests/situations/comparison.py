"""What two databases hold, as COPY prints it; written apart from the product's comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from ar_sync_pipeline_tests.open_sessions import session

_COLUMNS = """
SELECT n.nspname, c.relname, c.relkind, a.attname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname !~ '^(pg_|information_schema$|ar_sync$)' AND c.relkind IN ('r', 'p')
 ORDER BY n.nspname, c.relname, a.attnum
"""
_REFERENCES = """
SELECT conname, conrelid::regclass::text, confrelid::regclass::text,
       (SELECT array_agg(quote_ident(attname) ORDER BY place)
          FROM unnest(conkey) WITH ORDINALITY k (number, place)
          JOIN pg_attribute ON attrelid = conrelid AND attnum = number),
       (SELECT array_agg(quote_ident(attname) ORDER BY place)
          FROM unnest(confkey) WITH ORDINALITY k (number, place)
          JOIN pg_attribute ON attrelid = confrelid AND attnum = number)
  FROM pg_constraint
 WHERE contype = 'f' AND convalidated AND conparentid = 0
"""
_SETTINGS = (
    "SET TimeZone = 'UTC'",
    "SET DateStyle = 'ISO'",
    "SET IntervalStyle = 'postgres'",
    "SET extra_float_digits = 3",
    "SET row_security = off",
)


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    partitioned: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


Columns = Mapping[Table, tuple[str, ...]]
Contents = dict[str, Counter[str]]
_Connection = psycopg.Connection[tuple[object, ...]]


def everything(url: str) -> Contents:
    """All rows of all tables of a database."""
    with _session(url) as connection:
        return _contents(connection, _columns(connection))


def orphans(url: str) -> list[str]:
    """Foreign keys of a database that some row breaks, which a replica's session could write."""
    found = []
    with _session(url) as connection:
        for name, child, parent, columns, keys in connection.execute(_REFERENCES).fetchall():
            pairs = list(zip(_names(columns), _names(keys), strict=True))
            given = " AND ".join(f"c.{column} IS DISTINCT FROM NULL" for column, _ in pairs)
            equal = " AND ".join(f"c.{column} = p.{key}" for column, key in pairs)
            query = (
                f"SELECT FROM {child} c WHERE {given}"
                f" AND NOT EXISTS (SELECT FROM {parent} p WHERE {equal})"
            )
            if connection.execute(query.encode()).fetchall():
                found.append(str(name))
    return found


def compare(sender: str, receiver: str, *, keeps: bool = False) -> dict[str, object]:
    """How the tables that both servers have differ, in the columns that both have."""
    with _session(sender) as here, _session(receiver) as there:
        columns, others = _columns(here), _columns(there)
        shared = {
            table: tuple(name for name in names if name in others[table])
            for table, names in columns.items()
            if table in others
        }
        return differences(_contents(here, shared), _contents(there, shared), keeps=keeps)


def differences(sender: Contents, receiver: Contents, *, keeps: bool = False) -> dict[str, object]:
    """By table, the lines that only one of the two has; nothing where they are equal.

    Args:
        keeps: lines that only the receiver has are no difference.
    """
    found: dict[str, object] = {}
    for table, lines in sender.items():
        lacks = list((lines - receiver[table]).elements())[:8]
        more = [] if keeps else list((receiver[table] - lines).elements())[:8]
        if lacks or more:
            found[table] = {"receiver lacks": lacks, "only receiver has": more}
    return found


@contextmanager
def _session(url: str) -> Iterator[_Connection]:
    with session(url) as connection:
        connection.execute("; ".join(_SETTINGS).encode())
        yield connection


def _names(array: object) -> list[str]:
    assert isinstance(array, list)
    return [str(name) for name in array]


def _columns(connection: _Connection) -> Columns:
    found: dict[Table, tuple[str, ...]] = {}
    for schema, name, kind, column in connection.execute(_COLUMNS).fetchall():
        table = Table(str(schema), str(name), kind == "p")
        found[table] = (*found.get(table, ()), str(column))
    return found


def _contents(connection: _Connection, columns: Columns) -> Contents:
    """Every row as one line of text, and how often it is there."""
    found: Contents = {}
    for table, names in columns.items():
        query = sql.SQL("COPY (SELECT {} FROM {} {}) TO STDOUT").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL("" if table.partitioned else "ONLY"),
            sql.Identifier(table.schema, table.name),
        )
        with connection.cursor().copy(query) as copy:
            text = b"".join(map(bytes, copy)).decode()
        # COPY escapes line ends within values, so nothing else parts lines.
        found[str(table)] = Counter(text.removesuffix("\n").split("\n")) if text else Counter()
    return found
