"""Rule 4: a pure parser for the JSON text of a report, which accepts any text.

It is deterministic, and never raises an exception (old system, D27) or returns half a position
(D28).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from uuid import UUID

from ar_sync_pipeline.transform.rejected_rows import Severity

NO_PLATE: Final = "No Info."
BUS: Final = "bus"
BUS_STOP: Final = "busStop"

MAX_TEXT_BYTES: Final = 65_536
"""Longest parsed text, which limits memory; real texts have a few hundred bytes."""

_SUBJECTS: Final = (("bus", BUS), ("bus_stop", BUS_STOP), ("busStop", BUS_STOP))
_MAX_SERVICE, _MAX_PLATE, _MAX_STOP_CODE = 5, 8, 6

# Digits of any script, as accepted by float() and the old system: phones write them.
# No two parts of it match the same digits, so a text of digits alone is read in linear time.
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_NUMERIC_TEXT = re.compile(_NUMBER)
# The number ends the text. Before it there may be anything, mostly slashes and backslashes, except
# characters that could be part of a number: `33.4.5`, `1-33` and `-33,45` are ambiguous.
_TRAILING_NUMBER = re.compile(rf"[^\d+\-.,\u2010-\u2015\u2212\ufe63\uff0d]*(?P<number>{_NUMBER})")
_UUID = re.compile(
    r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE
)
# PostgreSQL's text contains neither NUL nor half a surrogate pair; JSON escapes can spell both.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class _Number(str):
    """A JSON number as written, so that ``506`` becomes the text ``506`` again."""

    __slots__ = ()


@dataclass(frozen=True)
class Position:
    """A valid position in degrees, WGS84: latitude in [-90, 90], longitude in [-180, 180]."""

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Finding:
    """A value that could not be read, and how much is missing because of it."""

    severity: Severity
    reason: str


@dataclass(frozen=True)
class BusReport:
    """A report about a bus.

    Attributes:
        plate: Formatted plate, at most 8 characters.
        machine_id: Uuid of the bus; None if the report has no valid one.
        is_bus_by_plate: Whether the bus is looked up by its plate, because the report has no uuid.
        service: Service of at most 5 characters, ``-`` for a longer one; None if absent.
        position: Position of the bus.
        user: Position of the person.
    """

    plate: str
    machine_id: UUID | None
    is_bus_by_plate: bool
    service: str | None
    position: Position
    user: Position | None


@dataclass(frozen=True)
class StopReport:
    """A report about a stop: code (at most 6 characters), position, position of the person."""

    stop_code: str | None
    position: Position
    user: Position | None


@dataclass(frozen=True)
class ParsedReport:
    """Result of parsing one text.

    Attributes:
        subject: Bus or stop of the report; None: it gets no row.
        findings: Values that could not be read.
    """

    subject: BusReport | StopReport | None
    findings: tuple[Finding, ...] = ()


NOTHING: Final = ParsedReport(None)


def parse_report_info(text: str | None) -> ParsedReport:
    """Parse ``report.reportInfo``.

    Args:
        text: Value of the column; None and blank text contain nothing.
    """
    if text is None or not text.strip():
        return NOTHING
    try:
        content = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_Number)
    except (ValueError, RecursionError):
        return _rejected("the text is not JSON")
    if not isinstance(content, dict):
        return _rejected("the JSON is not an object")
    for key, kind in _SUBJECTS:
        if isinstance(content.get(key), dict):
            user = _user_position(content.get("locationUser"))
            return (_bus if kind == BUS else _stop)(content[key], user)
    return NOTHING


def format_reported_plate(plate: object) -> str:
    """Return the plate of a report as ``XX XX XX``; anything but text is ``No Info.``."""
    if not _is_text(plate) or _UNSTORABLE.search(plate):
        return NO_PLATE
    upper = plate.upper()
    if upper == "DUMMYLPT":
        return NO_PLATE
    if upper[2:3] == " " and upper[5:6] == " ":
        return upper[:_MAX_PLATE]
    return " ".join((upper[:2], upper[2:4], upper[4:]))[:_MAX_PLATE]


def _bus(bus: dict[str, Any], user: Position | None) -> ParsedReport:
    position = _object_position(bus) or user
    if position is None:
        return _rejected("neither the bus nor the person has a position")
    machine_id, findings = _machine_id(bus.get("machineId"))
    report = BusReport(
        plate=format_reported_plate(bus.get("licensePlate")),
        machine_id=machine_id,
        is_bus_by_plate=machine_id is None and not findings,
        service=_short_text(bus.get("service"), _MAX_SERVICE, otherwise="-"),
        position=position,
        user=user,
    )
    return ParsedReport(report, findings)


def _stop(stop: dict[str, Any], user: Position | None) -> ParsedReport:
    position = _object_position(stop) or user
    if position is None:
        return _rejected("neither the stop nor the person has a position")
    code = _short_text(stop.get("id"), _MAX_STOP_CODE, otherwise=None)
    findings: tuple[Finding, ...] = ()
    if code is None and stop.get("id") is not None:
        reason = f"the stop's id is not a text of at most {_MAX_STOP_CODE} characters"
        findings = (Finding(Severity.INFO, reason),)
    return ParsedReport(StopReport(stop_code=code, position=position, user=user), findings)


def _machine_id(value: object) -> tuple[UUID | None, tuple[Finding, ...]]:
    if value is None or (_is_text(value) and not value.strip()):
        return None, ()
    if _is_text(value) and _UUID.fullmatch(value.strip()):
        return UUID(value.strip()), ()
    return None, (Finding(Severity.INFO, "the bus's machineId is not a uuid"),)


def _user_position(location: object) -> Position | None:
    if not isinstance(location, dict):
        return None
    return _position(
        _user_degrees(location.get("latitude")), _user_degrees(location.get("longitude"))
    )


def _object_position(thing: dict[str, Any]) -> Position | None:
    return _position(_degrees(thing.get("latitude")), _degrees(thing.get("longitude")))


def _position(latitude: float, longitude: float) -> Position | None:
    # A comparison with NaN is false, so NaN needs no case of its own.
    if -90 <= latitude <= 90 and -180 <= longitude <= 180:  # noqa: PLR2004 - degrees
        return Position(latitude, longitude)
    return None


def _user_degrees(value: object) -> float:
    r"""Return a number, or that at the end of a text such as ``\/-33.45`` (old system, D26)."""
    if _is_text(value):
        match = _TRAILING_NUMBER.fullmatch(value.strip())
        return float(match["number"]) if match else math.nan
    return _degrees(value)


def _degrees(value: object) -> float:
    if isinstance(value, _Number):
        return float(value)
    if _is_text(value):
        # float() does not skip every blank that strip() removes, such as U+001C.
        match = _NUMERIC_TEXT.fullmatch(value.strip())
        return float(match[0]) if match else math.nan
    return math.nan


def _short_text(value: object, limit: int, *, otherwise: str | None) -> str | None:
    """Return text, number, true or false as text; None for null and absent."""
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > limit or _UNSTORABLE.search(text):
        return otherwise
    return str(text)


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and not isinstance(value, _Number)


def _rejected(reason: str) -> ParsedReport:
    return ParsedReport(None, (Finding(Severity.ERROR, reason),))
