"""Condition that a row's `changed_at` column is in an interval, for each allowed type.

A ``timestamp`` or ``date`` is a time in the application's zone, which the catalog names. Local time
runs back once a year, so an interval that contains such a change is widened: no row of the interval
is ever left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import psycopg
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.table_facts import TableFacts

ABSOLUTE_TIME: Final = re.compile(r"timestamp(\(\d\))? with time zone\Z")
"""Types with which `changed_at` needs no zone."""
LOCAL_TIME: Final = re.compile(r"timestamp(\(\d\))? without time zone\Z")
"""Types with which it needs one; of a day, a partial repeats all rows."""
_LOCAL = re.compile(rf"{LOCAL_TIME.pattern}|date\Z")
_TICK = timedelta(microseconds=1)


def changed_at_problem(rules: TableRules, facts: TableFacts) -> SchemaError | None:
    """Return what is wrong with a table's `changed_at` in the catalog; None if nothing is."""
    name = rules.changed_at
    if name is None:
        return None
    column = facts.column(name)
    error = partial(SchemaError, remedy="correct `changed_at` in the catalog, or leave it out")
    if column is None:
        return error(f"table {facts.name} has no column {name}")
    if _LOCAL.match(column.type):
        if rules.changed_at_zone is not None:
            return None
        return SchemaError(
            f"column {name} of {facts.name} is a {column.type}, which says no time zone",
            remedy='name the zone in the catalog, such as changed_at_zone = "America/Santiago"',
        )
    if not ABSOLUTE_TIME.match(column.type):
        return error(
            f"column {name} of {facts.name} is a {column.type}, where changed_at takes a timestamp"
            " with time zone, or a timestamp or date with changed_at_zone"
        )
    return None


def zone_problems(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[SchemaError]:
    """Yield tables with a `changed_at_zone` that the database does not know, so partials fail.

    The catalog was read with the time zones of the machine, which may be others.
    """
    for facts in tables.values():
        rules = catalog.rules(facts.name)
        column = facts.column(rules.changed_at or "")
        if rules.changed_at_zone is None or column is None or not _LOCAL.match(column.type):
            continue
        try:
            with connection.transaction():
                connection.execute("SELECT now() AT TIME ZONE %s", [rules.changed_at_zone])
        except psycopg.errors.InvalidParameterValue:
            yield _unknown_zone(rules, facts)


def changed_within(
    connection: Connection,
    rules: TableRules,
    facts: TableFacts,
    start: datetime,
    end: datetime | None,
    *,
    until: datetime,
) -> sql.Composed:
    """Return the condition that row ``t`` was changed in the half-open interval [start, end).

    Args:
        end: End of the interval; None: no end.
        until: End of the time in which rows may have been changed.

    Raises:
        SchemaError: The database does not know the catalog's time zone.
    """
    column = sql.Identifier("t", rules.changed_at or "")
    low: sql.Composable = sql.Literal(start)
    high: sql.Composable = sql.Literal(end)
    described = facts.column(rules.changed_at or "")
    if described is not None and _LOCAL.match(described.type):
        earliest, latest = _offsets(connection, rules, facts, start, max(start, end or until))
        # A naive UTC text: the cast would ignore a zone in it, so it is removed here.
        low = _naive(start, earliest)
        if described.type == "date":
            low = sql.SQL("{}::date").format(low)
        high = _naive(end, latest) if end is not None else high
    parts = [sql.SQL("{} >= {}").format(column, low)]
    if end is not None:
        parts.append(sql.SQL("{} < {}").format(column, high))
    return sql.SQL("({})").format(sql.SQL(" AND ").join(parts))


def _naive(instant: datetime, offset: timedelta) -> sql.Composed:
    local = instant.astimezone(UTC).replace(tzinfo=None) + offset
    return sql.SQL("{}::timestamp").format(sql.Literal(local.isoformat(sep=" ")))


def _offsets(
    connection: Connection, rules: TableRules, facts: TableFacts, start: datetime, end: datetime
) -> Iterable[timedelta]:
    """Return the smallest and the largest offset of the zone from UTC within an interval."""
    try:
        ((least, most),) = connection.execute(
            "SELECT min(x), max(x) FROM (SELECT (u AT TIME ZONE %(zone)s) - (u AT TIME ZONE 'UTC')"
            " AS x FROM (SELECT generate_series(%(start)s::timestamptz, %(end)s::timestamptz,"
            " interval '1 hour') UNION SELECT %(end)s::timestamptz) AS s (u)) AS o",
            {"zone": rules.changed_at_zone, "start": start, "end": max(start, end - _TICK)},
        ).fetchall()
    except psycopg.errors.InvalidParameterValue as error:
        raise _unknown_zone(rules, facts) from error
    return least, most


def _unknown_zone(rules: TableRules, facts: TableFacts) -> SchemaError:
    return SchemaError(
        f"the database knows no time zone {rules.changed_at_zone}, which the catalog names for"
        f" {facts.name}",
        remedy="correct `changed_at_zone` to a name of pg_timezone_names",
    )
