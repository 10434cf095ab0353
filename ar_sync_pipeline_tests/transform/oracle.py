"""The rules again, row by row and slowly, sharing no code with the product.

Everything is read into plain Python, each result is computed for one row at a time, and nothing
is written. Geometry is exact (fractions), distances are Vincenty's along the ellipsoid.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, time
from fractions import Fraction
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import shapely
from psycopg import sql
from psycopg.rows import dict_row

Row = dict[str, Any]

SANTIAGO = ZoneInfo("America/Santiago")


@dataclass
class Zone:
    """Rings of corners, and the box round them: west, south, east, north."""

    rings: list[list[tuple[float, float]]]
    box: tuple[float, float, float, float]


@dataclass
class Facts:
    """The receiver's tables as lists of rows."""

    tables: dict[str, list[Row]]
    zones: dict[int, Zone]
    shapes: dict[int, shapely.Geometry] = field(default_factory=dict)

    def __getitem__(self, name: str) -> list[Row]:
        return self.tables[name]


def read_facts(url: str) -> Facts:
    names = (
        "busv2 eventforbusv2 eventforbusstop stadisticdatafromregistrationbus busstop gtfs report "
        "stadisticdatafromregistrationbusstop timeperiod halfhourperiod token "
        "poseintrajectoryoftoken"
    )
    with psycopg.connect(url, row_factory=dict_row) as connection:
        tables = {
            name: connection.execute(
                sql.SQL("SELECT * FROM {} ORDER BY id").format(
                    sql.Identifier(f"AndroidRequests_{name}")
                )
            ).fetchall()
            for name in names.split()
        }
        zones = connection.execute(
            'SELECT id, geom::bytea AS geom FROM "AndroidRequests_zonificationtransantiago"'
        ).fetchall()
    shapes = {row["id"]: shapely.from_wkb(row["geom"]) for row in zones}
    return Facts(tables, {key: _zone(shape) for key, shape in shapes.items()}, shapes)


def _zone(shape: shapely.Geometry) -> Zone:
    polygons = [shapely.get_geometry(shape, i) for i in range(shapely.get_num_geometries(shape))]
    rings = [
        [(x, y) for x, y, *_ in ring.coords]
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    xs = [x for ring in rings for x, _ in ring]
    ys = [y for ring in rings for _, y in ring]
    return Zone(rings, (min(xs), min(ys), max(xs), max(ys)))


# Rules 1 and 3.


def time_period(created: datetime, periods: Iterable[Row]) -> int | None:
    local = created.astimezone(SANTIAGO)
    day_type = {5: "Sábado", 6: "Domingo"}.get(local.weekday(), "Laboral")
    return half_hour(created, (row for row in periods if row["day_type"] == day_type))


def half_hour(created: datetime, halves: Iterable[Row]) -> int | None:
    now: time = created.astimezone(SANTIAGO).replace(microsecond=0, tzinfo=None).time()
    ids = [row["id"] for row in halves if row["initial_time"] <= now <= row["end_time"]]
    return min(ids, default=None)


# Rule 2.

LETTERS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = set("0123456789")


def plate(text: str) -> str:
    if text.lower() == "dummylpt":
        return "No Info."
    kinds = "".join("L" if c in LETTERS else "D" if c in DIGITS else "?" for c in text)
    if kinds in {"LLLLDD", "LLDDDD"}:
        upper = text.upper()
        return f"{upper[0:2]} {upper[2:4]} {upper[4:6]}"
    return text


# Rules 5 and 7.


def event_position(event: Row, statistics: Iterable[Row]) -> tuple[float, float] | None:
    own = [row for row in statistics if row["reportOfEvent_id"] == event["id"]]
    if not own:
        return None
    latest = max(own, key=lambda row: (row["timeStamp"], row["id"]))
    x, y = latest["longitude"], latest["latitude"]
    return (x, y) if is_on_earth(x, y) else None


def is_on_earth(longitude: float, latitude: float) -> bool:
    return abs(longitude) <= 180 and abs(latitude) <= 90


def zone(position: tuple[float, float] | None, facts: Facts) -> int | None:
    if position is None:
        return None
    for key in sorted(facts.zones):
        if _is_inside(position, facts.zones[key]):
            return key
    return None


def _is_inside(point: tuple[float, float], zone: Zone) -> bool:
    x, y = point
    west, south, east, north = zone.box
    if not (west <= x <= east and south <= y <= north):
        return False
    crossings = 0
    for ring in zone.rings:
        for (x1, y1), (x2, y2) in pairwise(ring):
            if (y < min(y1, y2)) or (y > max(y1, y2)) or x > max(x1, x2):
                continue
            ax, ay, bx, by = (Fraction(v) for v in (x1, y1, x2, y2))
            px, py = Fraction(x), Fraction(y)
            side = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
            if side == 0 and min(ax, bx) <= px <= max(ax, bx):
                return True
            if (ay > py) != (by > py):
                crossing_x = ax + (py - ay) * (bx - ax) / (by - ay)
                crossings += crossing_x > px
    return crossings % 2 == 1


def newest_stops(facts: Facts) -> list[Row]:
    if not facts["gtfs"]:
        return []
    newest = max(
        facts["gtfs"],
        key=lambda row: (
            row["timeCreation"] is not None,
            row["timeCreation"].timestamp() if row["timeCreation"] else 0,
            row["id"],
        ),
    )
    return [
        stop
        for stop in facts["busstop"]
        if stop["gtfs_id"] == newest["id"] and is_on_earth(stop["longitude"], stop["latitude"])
    ]


def nearest_codes(
    position: tuple[float, float] | None, stops: list[Row]
) -> tuple[str | None, str | None]:
    if position is None:
        return None, None
    x, y = position
    # A sphere orders well enough to leave 12; the ellipsoid decides among them.
    near = sorted(stops, key=lambda s: _sphere(x, y, s["longitude"], s["latitude"]))[:12]
    ranked = sorted(
        near, key=lambda s: (round(ground_m(x, y, s["longitude"], s["latitude"]), 4), s["code"])
    )
    codes = [stop["code"] for stop in ranked[:2]] + [None, None]
    return codes[0], codes[1]


def _sphere(x1: float, y1: float, x2: float, y2: float) -> float:
    p1, p2 = math.radians(y1), math.radians(y2)
    half = math.radians(x2 - x1) / 2
    return math.sin((p2 - p1) / 2) ** 2 + math.cos(p1) * math.cos(p2) * math.sin(half) ** 2


def ground_m(x1: float, y1: float, x2: float, y2: float) -> float:
    """Vincenty's inverse formula on WGS84 (Survey Review, April 1975)."""
    a, f = 6378137.0, 1 / 298.257223563
    b = a * (1 - f)
    u1, u2 = (math.atan((1 - f) * math.tan(math.radians(y))) for y in (y1, y2))
    difference = lam = math.radians(x2 - x1)
    for _ in range(100):
        sin_sigma = math.hypot(
            math.cos(u2) * math.sin(lam),
            math.cos(u1) * math.sin(u2) - math.sin(u1) * math.cos(u2) * math.cos(lam),
        )
        if sin_sigma == 0:
            return 0.0
        cos_sigma = math.sin(u1) * math.sin(u2) + math.cos(u1) * math.cos(u2) * math.cos(lam)
        sigma = math.atan2(sin_sigma, cos_sigma)
        sin_alpha = math.cos(u1) * math.cos(u2) * math.sin(lam) / sin_sigma
        cos2_alpha = 1 - sin_alpha**2
        cos_2m = cos_sigma - 2 * math.sin(u1) * math.sin(u2) / cos2_alpha if cos2_alpha else 0
        c = f / 16 * cos2_alpha * (4 + f * (4 - 3 * cos2_alpha))
        before = lam
        lam = difference + (1 - c) * f * sin_alpha * (
            sigma + c * sin_sigma * (cos_2m + c * cos_sigma * (-1 + 2 * cos_2m**2))
        )
        if abs(lam - before) < 1e-12:
            break
    u_sq = cos2_alpha * (a**2 - b**2) / b**2
    big_a = 1 + u_sq / 16384 * (4096 + u_sq * (-768 + u_sq * (320 - 175 * u_sq)))
    big_b = u_sq / 1024 * (256 + u_sq * (-128 + u_sq * (74 - 47 * u_sq)))
    inner = cos_sigma * (-1 + 2 * cos_2m**2) - big_b / 6 * cos_2m * (-3 + 4 * sin_sigma**2) * (
        -3 + 4 * cos_2m**2
    )
    return b * big_a * (sigma - big_b * sin_sigma * (cos_2m + big_b / 4 * inner))


# Rule 6.


def direction(row: Row, facts: Facts, poses_by_token: dict[int, list[Row]]) -> str | None:
    found: tuple[Any, int, str | None] | None = None
    for token in facts["token"]:
        if token["phoneId"] != row["phoneId"]:
            continue
        for pose in poses_by_token.get(token["id"], []):
            if pose["timeStamp"] <= row["timeStamp"]:
                key = (pose["timeStamp"], pose["id"])
                if found is None or key > found[:2]:
                    found = (*key, token["direction"])
    return found[2] if found else None


# Rule 4.


class Number(str):
    __slots__ = ()


def report_info(text: str, buses: list[Row]) -> Row | None:
    """The row of one report (without zone and direction); None if it gets none."""
    if not text.strip():
        return None
    try:
        content = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=Number)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    subject = next(
        (key for key in ("bus", "bus_stop", "busStop") if isinstance(content.get(key), dict)), None
    )
    if subject is None:
        return None
    thing, person = content[subject], content.get("locationUser")
    user: tuple[float | None, float | None] = (None, None)
    if isinstance(person, dict):
        user = _pair(_last_number(person.get("latitude")), _last_number(person.get("longitude")))
    place = _pair(_whole_number(thing.get("latitude")), _whole_number(thing.get("longitude")))
    if place[0] is None:
        place = user
    if place[0] is None:
        return None
    row = {
        "latitude": place[0], "longitude": place[1],
        "userLatitude": user[0], "userLongitude": user[1],
    }  # fmt: skip
    if subject != "bus":
        code, _ = _short(thing.get("id"), 6)
        stop = {"reportType": "busStop", "registrationPlate": "", "stopCode": code}
        return row | stop | {"service": None, "busUUID": None}
    service, is_good = _short(thing.get("service"), 5)
    bus = _find_bus(thing, buses)
    return row | {
        "reportType": "bus",
        "service": service if is_good else "-",
        "stopCode": None,
        "busUUID": bus["uuid"] if bus else None,
        "registrationPlate": bus["registrationPlate"] if bus else reported_plate(thing),
    }


def says_nothing(text: str) -> bool:
    """Whether a report gets no row although nothing is wrong with it."""
    if not text.strip():
        return True
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    keys = ("bus", "bus_stop", "busStop")
    return isinstance(content, dict) and not any(isinstance(content.get(k), dict) for k in keys)


def user_location(text: str) -> tuple[str, str] | None:
    """The texts of a person's latitude and longitude, where both are texts."""
    try:
        location = json.loads(text)["locationUser"]
        latitude, longitude = location["latitude"], location["longitude"]
    except (ValueError, TypeError, KeyError):
        return None
    if not (isinstance(latitude, str) and isinstance(longitude, str)):
        return None
    return latitude, longitude


def reported_plate(bus: dict[str, Any]) -> str:
    given = bus.get("licensePlate")
    if not isinstance(given, str) or isinstance(given, Number) or not _is_storable(given):
        return "No Info."
    upper = given.upper()
    if upper == "DUMMYLPT":
        return "No Info."
    if len(upper) >= 6 and upper[2] == upper[5] == " ":
        return upper[:8]
    return f"{upper[:2]} {upper[2:4]} {upper[4:]}"[:8]


def _find_bus(thing: dict[str, Any], buses: list[Row]) -> Row | None:
    named = thing.get("machineId")
    if named is None or (type(named) is str and not named.strip()):
        same = [row for row in buses if row["registrationPlate"] == reported_plate(thing)]
        return same[0] if len(same) == 1 else None
    if type(named) is not str:
        return None
    bare = named.strip().replace("-", "").lower()
    if len(bare) != 32 or set(bare) - set("0123456789abcdef"):
        return None
    if named.strip().lower() not in {bare, str(UUID(bare))}:
        return None
    return next((row for row in buses if row["uuid"] == UUID(bare)), None)


def _short(value: object, limit: int) -> tuple[str | None, bool]:
    if value is None:
        return None, True
    if value is True or value is False:
        value = "true" if value else "false"
    if not isinstance(value, str) or len(value) > limit or not _is_storable(value):
        return None, False
    return str(value), True


def _is_storable(text: str) -> bool:
    return not any(c == "\0" or 0xD800 <= ord(c) <= 0xDFFF for c in text)


def _pair(latitude: float | None, longitude: float | None) -> tuple[float | None, float | None]:
    if latitude is None or longitude is None:
        return None, None
    return (latitude, longitude) if is_on_earth(longitude, latitude) else (None, None)


def _whole_number(value: object) -> float | None:
    if isinstance(value, Number):
        return float(value)
    if type(value) is str and _is_decimal(value.strip()):
        return float(value.strip())
    return None


def _last_number(value: object) -> float | None:
    if type(value) is not str:
        return _whole_number(value)
    text = value.strip()
    start = next((i for i in range(len(text)) if _is_decimal(text[i:])), None)
    if start is None:
        return None
    signs = {chr(c) for c in (*range(0x2010, 0x2016), 0x2212, 0xFE63, 0xFF0D)}
    spoils = any(c.isdecimal() or c in "+-.," or c in signs for c in text[:start])
    return None if spoils else float(text[start:])


def _is_decimal(text: str) -> bool:
    if not text or not all(c.isdecimal() or c in "+-.eE" for c in text):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
