"""All results of bus events and stop events, written once per row.

A bus event is updated once with all its results; the old system updated it five times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.sql_parts import assignments
from ar_sync_pipeline.transform.rejected_rows import Rejection, Severity
from ar_sync_pipeline.transform.transapp import receiver_tables as tables
from ar_sync_pipeline.transform.transapp.direction import directions
from ar_sync_pipeline.transform.transapp.frames import copy_frame
from ar_sync_pipeline.transform.transapp.half_hour import half_hours
from ar_sync_pipeline.transform.transapp.nearest_stops import nearest_stops, read_stops
from ar_sync_pipeline.transform.transapp.positions import latest_positions, on_earth
from ar_sync_pipeline.transform.transapp.report import (
    DIRECTION,
    HALF_HOUR,
    NEAREST_STOPS,
    TIME_PERIOD,
    WRITE,
    ZONE,
)
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer, untransformed
from ar_sync_pipeline.transform.transapp.time_period import time_periods
from ar_sync_pipeline.transform.transapp.zones import Zones, require_zones, zones_of

POSITION: Final = "position"

_RESULT = "event_result"
_TYPES: Final = {
    "timePeriod_id": "integer",
    "halfHourPeriod_id": "integer",
    "zonification_id": "integer",
    "direction": "text",
    "busStop1": "text",
    "busStop2": "text",
}
_STEPS: Final = {
    TIME_PERIOD: "timePeriod_id",
    HALF_HOUR: "halfHourPeriod_id",
    ZONE: "zonification_id",
    DIRECTION: "direction",
    NEAREST_STOPS: "busStop1",
}


@dataclass(frozen=True)
class EventKind:
    """One of the two tables of events.

    Attributes:
        table: Name of the table.
        statistics: Name of the table with the positions.
        columns: Computed columns.
        order: Order in which the rows are handled.
    """

    table: str
    statistics: str
    columns: tuple[str, ...]
    order: tuple[str, ...] = ("id",)


# In the order of phones, so that the poses of a phone are read for one batch only.
BUS_EVENTS: Final = EventKind(
    tables.BUS_EVENT, tables.BUS_STATISTIC, tuple(_TYPES), order=("phoneId", "id")
)
STOP_EVENTS: Final = EventKind(
    tables.STOP_EVENT,
    tables.STOP_STATISTIC,
    ("timePeriod_id", "halfHourPeriod_id", "zonification_id"),
)


def event_stage(kind: EventKind, zones: Zones) -> Stage:
    """Return the stage of untransformed events of one kind."""

    def handle(connection: Connection, ids: list[int], timer: StepTimer) -> BatchOutcome:
        results, rejections = _results(connection, kind, ids, zones, timer)
        with timer.step(WRITE):
            _write(connection, kind, results)
        rows = {
            step: int(results[column].notna().sum())
            for step, column in _STEPS.items()
            if column in results
        }
        return BatchOutcome(rows, tuple(rejections))

    no_results = assignments(dict.fromkeys(kind.columns, sql.SQL("NULL")))
    return Stage(
        table=kind.table,
        pending=untransformed(kind.table, order=kind.order),
        handle=handle,
        give_up=sql.SQL("UPDATE {} SET {}, transformed = true WHERE id = %(id)s").format(
            sql.Identifier(kind.table), no_results
        ),
    )


def _results(
    connection: Connection, kind: EventKind, ids: list[int], zones: Zones, timer: StepTimer
) -> tuple[pd.DataFrame, list[Rejection]]:
    results = pd.DataFrame(index=pd.Index(ids, name="id"))
    with timer.step(TIME_PERIOD):
        results["timePeriod_id"] = time_periods(connection, kind.table, ids)
    with timer.step(HALF_HOUR):
        results["halfHourPeriod_id"] = half_hours(connection, kind.table, ids)
    with timer.step(POSITION):
        stored = latest_positions(connection, kind.statistics, ids)
        positions = on_earth(stored)
    with timer.step(ZONE):
        results["zonification_id"] = zones_of(positions, zones)
        require_zones(connection, results["zonification_id"])
    if kind is BUS_EVENTS:
        with timer.step(DIRECTION):
            results["direction"] = directions(connection, kind.table, ids)
        with timer.step(NEAREST_STOPS):
            results = results.join(nearest_stops(positions, read_stops(connection)))
    nowhere = stored.index.difference(positions.index)
    return results, [*_without_period(results), *_nowhere(nowhere)]


def _without_period(results: pd.DataFrame) -> Iterable[Rejection]:
    for step, reason in (
        (TIME_PERIOD, "no time period holds the local time of timeCreation"),
        (HALF_HOUR, "no half hour holds the local time of timeCreation"),
    ):
        for key in results.index[results[_STEPS[step]].isna()]:
            yield Rejection(str(key), step, Severity.ERROR, reason)


def _nowhere(keys: Iterable[int]) -> Iterable[Rejection]:
    for key in keys:
        yield Rejection(
            str(key), POSITION, Severity.INFO, "the latest statistic is nowhere on Earth"
        )


def _write(connection: Connection, kind: EventKind, results: pd.DataFrame) -> None:
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} (id integer, {}) ON COMMIT DROP").format(
            sql.Identifier(_RESULT),
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(_TYPES[name]))
                for name in kind.columns
            ),
        )
    )
    copy_frame(connection, _RESULT, results.reset_index())
    connection.execute(
        sql.SQL(
            "UPDATE {events} event SET {set}, transformed = true FROM pg_temp.{result} result"
            " WHERE event.id = result.id"
        ).format(
            events=sql.Identifier(kind.table),
            set=sql.SQL(", ").join(
                sql.SQL("{0} = result.{0}").format(sql.Identifier(name)) for name in kind.columns
            ),
            result=sql.Identifier(_RESULT),
        )
    )
