"""Receiver-only data before the first load: periods of the day, and zones of the city."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from hashlib import sha256

import psycopg
import shapely
from psycopg.rows import TupleRow

from ar_sync_pipeline.demo.fake_data import EAST, NORTH, SOUTH, WEST

# Day type, then name and start of each period; a period ends a second before the next.
_PERIODS: dict[str, tuple[tuple[str, str], ...]] = {
    "Laboral": (
        ("Pre nocturno", "00:00"),
        ("Nocturno", "01:00"),
        ("Transicion nocturno", "05:30"),
        ("Punta mañana", "06:30"),
        ("Transicion punta mañana", "08:30"),
        ("Fuera de punta mañana", "09:30"),
        ("Punta mediodia", "12:30"),
        ("Fuera de punta tarde", "14:00"),
        ("Punta tarde", "17:30"),
        ("Transicion punta tarde", "20:30"),
        ("Fuera de punta nocturno", "21:30"),
        ("Pre nocturno", "23:00"),
    ),
    "Sábado": (
        ("Pre nocturno sábado", "00:00"),
        ("Nocturno sábado", "01:00"),
        ("Transicion sábado mañana", "05:30"),
        ("Punta mañana sábado", "06:30"),
        ("Mañana sábado", "11:00"),
        ("Punta mediodia sábado", "13:30"),
        ("Tarde sábado", "17:30"),
        ("Transicion sábado nocturno", "20:30"),
        ("Pre nocturno sábado", "23:00"),
    ),
    "Domingo": (
        ("Pre nocturno domingo", "00:00"),
        ("Nocturno domingo", "01:00"),
        ("Transicion domingo mañana", "05:30"),
        ("Mañana domingo", "09:30"),
        ("Mediodia domingo", "13:30"),
        ("Tarde domingo", "17:30"),
        ("Transicion domingo", "21:00"),
        ("Pre nocturno domingo", "23:00"),
    ),
}
_ZONES_PER_SIDE = 10
_DISTRICTS = ("Centro", "Ñuñoa", "Las Lomas", "El Bosque", "San Invento")
_SURVEYED_ON = date(2015, 5, 27)


@dataclass(frozen=True)
class ZoneCounts:
    """Number of created rows by kind."""

    time_periods: int
    half_hours: int
    zones: int


def fill_receiver(connection: psycopg.Connection[TupleRow]) -> ZoneCounts:
    """Fill the receiver-only reference tables in one transaction.

    Args:
        connection: Connection to a database made by ``create_receiver_schema``; zones are written
            as WKB.
    """
    periods, half_hours, zones = list(_time_periods()), list(_half_hours()), list(_zones())
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO "AndroidRequests_timeperiod" (day_type, name, initial_time, end_time)'
            " VALUES (%s, %s, %s, %s)",
            periods,
        )
        cursor.executemany(
            'INSERT INTO "AndroidRequests_halfhourperiod" (name, initial_time, end_time)'
            " VALUES (%s, %s, %s)",
            half_hours,
        )
        cursor.executemany(
            'INSERT INTO "AndroidRequests_zonificationtransantiago" (id, area, zona, com, comuna,'
            " cartodb_id, created_at, updated_at, comunidad_field, geom)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            zones,
        )
    return ZoneCounts(len(periods), len(half_hours), len(zones))


def _time_periods() -> Iterator[tuple[str, str, time, time]]:
    for day_type, periods in _PERIODS.items():
        starts = [time.fromisoformat(start) for _, start in periods]
        for (name, _), start, following in zip(
            periods, starts, [*starts[1:], time(0, 0)], strict=True
        ):
            yield day_type, name, start, _second_before(following)


def _half_hours() -> Iterator[tuple[str, time, time]]:
    for hour in range(24):
        for minute in (0, 30):
            start, end = time(hour, minute), time(hour, minute + 29, 59)
            yield f"{start:%H:%M} - {end:%H:%M}", start, end


def _second_before(moment: time) -> time:
    seconds = (moment.hour * 3600 + moment.minute * 60 - 1) % 86_400
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60)


def _zones() -> Iterator[tuple[object, ...]]:
    """Yield zones as a distorted grid, without gaps, overlaps or borders along a parallel."""
    for row in range(_ZONES_PER_SIDE):
        for column in range(_ZONES_PER_SIDE):
            corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)]
            shape = shapely.multipolygons([shapely.Polygon([_corner(*each) for each in corners])])
            number = row * _ZONES_PER_SIDE + column + 1
            district = _DISTRICTS[number % len(_DISTRICTS)]
            square_km = float(shapely.area(shape)) * 111.2 * 92.8
            yield (
                *(number, square_km, float(number), f"13{number:03d}", district, 500 + number),
                *(_SURVEYED_ON, _SURVEYED_ON, float(number % 9), shapely.to_wkb(shape)),
            )


def _corner(column: int, row: int) -> tuple[float, float]:
    dice = sha256(f"{column},{row}".encode()).digest()
    inner_x, inner_y = column % _ZONES_PER_SIDE > 0, row % _ZONES_PER_SIDE > 0
    x = column + ((dice[0] / 255 - 0.5) / 3 if inner_x else 0)
    y = row + ((dice[1] / 255 - 0.5) / 3 if inner_y else 0)
    return (
        WEST + (EAST - WEST) * x / _ZONES_PER_SIDE,
        SOUTH + (NORTH - SOUTH) * y / _ZONES_PER_SIDE,
    )
