"""Rule 4: one ``reportinfo`` row per report, computed from its JSON.

Handling a report again updates its row in place, keeps the id, and removes any second row (old
system, D23), so that running twice gives the same table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd
import psycopg
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.rejected_rows import Rejection, Severity
from ar_sync_pipeline.transform.transapp import report_info_writing as writing
from ar_sync_pipeline.transform.transapp.direction import directions
from ar_sync_pipeline.transform.transapp.frames import id_array
from ar_sync_pipeline.transform.transapp.receiver_tables import (
    REPORT,
    REPORT_INFO,
    require_that_rows_can_be_added,
)
from ar_sync_pipeline.transform.transapp.report import DIRECTION, REPORT_INFO_STEP, ZONE
from ar_sync_pipeline.transform.transapp.report_info import (
    BUS,
    BUS_STOP,
    MAX_TEXT_BYTES,
    BusReport,
    Finding,
    ParsedReport,
    StopReport,
    parse_report_info,
)
from ar_sync_pipeline.transform.transapp.stage import (
    BatchOutcome,
    Stage,
    StepTimer,
    marked_transformed,
)
from ar_sync_pipeline.transform.transapp.zones import Zones, require_zones, zones_of

_PENDING = sql.SQL(
    """SELECT id FROM {report}
    WHERE transformed IS NOT TRUE
      OR id IN (SELECT report_id FROM {info} WHERE transformed IS NOT TRUE)
    ORDER BY "phoneId", id"""
).format(report=sql.Identifier(REPORT), info=sql.Identifier(REPORT_INFO))
_TEXTS = sql.SQL(
    """SELECT id, octet_length("reportInfo") > {limit},
      CASE WHEN octet_length("reportInfo") <= {limit} THEN "reportInfo" END
    FROM {report} WHERE id = ANY (%s::int[])"""
).format(report=sql.Identifier(REPORT), limit=sql.Literal(MAX_TEXT_BYTES))
_MARK = marked_transformed(REPORT)
_GIVE_UP = sql.SQL(
    """WITH gone AS (DELETE FROM {info} WHERE report_id = %(id)s)
    UPDATE {report} SET transformed = true WHERE id = %(id)s"""
).format(report=sql.Identifier(REPORT), info=sql.Identifier(REPORT_INFO))
_TOO_LONG = ParsedReport(
    None, (Finding(Severity.ERROR, f"the text is longer than {MAX_TEXT_BYTES:,} bytes"),)
)
# Texts are read in portions, so that memory never holds those of a whole batch.
_TEXTS_AT_ONCE: Final = 500
# A phone sends fewer reports than events, so a batch of reports has more phones. This limit keeps
# their poses within the memory that PostgreSQL has for a sort.
_MOST_ROWS: Final = 4_000


@dataclass
class _ReadReports:
    rows: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)


def report_stage(zones: Zones) -> Stage:
    """Return the stage of reports that are untransformed, or whose ``reportinfo`` row is."""

    def handle(connection: Connection, ids: list[int], timer: StepTimer) -> BatchOutcome:
        with timer.step(REPORT_INFO_STEP):
            read = _read_reports(connection, ids, timer)
            frame = pd.DataFrame(read.rows, columns=list(writing.READ_COLUMNS)).set_index(
                "report_id", drop=False
            )
        with timer.step(ZONE):
            frame["zonification_id"] = _user_zones(frame, zones)
            require_zones(connection, frame["zonification_id"])
        with timer.step(DIRECTION):
            frame["direction"] = _bus_directions(connection, frame)
        with timer.step(REPORT_INFO_STEP):
            unknown = writing.write_report_info(connection, ids, frame)
            connection.execute(_MARK, (id_array(ids),))
        rows = {
            REPORT_INFO_STEP: len(frame),
            ZONE: int(frame["zonification_id"].notna().sum()),
            DIRECTION: int(frame["direction"].notna().sum()),
        }
        return BatchOutcome(rows, (*read.rejections, *map(_unknown_bus, unknown)))

    return Stage(
        table=REPORT,
        pending=_PENDING,
        handle=handle,
        give_up=_GIVE_UP,
        most_rows=_MOST_ROWS,
        check=require_that_rows_can_be_added,
    )


def _read_reports(connection: Connection, ids: list[int], timer: StepTimer) -> _ReadReports:
    read = _ReadReports()
    for key, parsed in _parsed_reports(connection, ids, timer):
        read.rejections += (
            Rejection(str(key), REPORT_INFO_STEP, one.severity, one.reason)
            for one in parsed.findings
        )
        if parsed.subject is not None:
            read.rows.append(_row(key, parsed.subject))
    return read


def _parsed_reports(
    connection: Connection, ids: list[int], timer: StepTimer
) -> Iterator[tuple[int, ParsedReport]]:
    with psycopg.ServerCursor(connection, "ar_sync_texts") as cursor:
        cursor.itersize = _TEXTS_AT_ONCE
        cursor.execute(_TEXTS, (id_array(ids),))
        for key, is_too_long, text in cursor:
            # Long texts are a batch that takes long without a long statement.
            timer.check_deadline("while it read reports")
            yield key, _TOO_LONG if is_too_long else parse_report_info(text)


def _row(key: int, subject: BusReport | StopReport) -> dict[str, Any]:
    row: dict[str, Any] = {
        "report_id": key,
        "longitude": subject.position.longitude,
        "latitude": subject.position.latitude,
        "userLongitude": subject.user.longitude if subject.user else None,
        "userLatitude": subject.user.latitude if subject.user else None,
    }
    if isinstance(subject, BusReport):
        return row | {
            "reportType": BUS,
            "plate": subject.plate,
            "machine_id": str(subject.machine_id) if subject.machine_id else None,
            "is_bus_by_plate": subject.is_bus_by_plate,
            "service": subject.service,
        }
    return row | {
        "reportType": BUS_STOP,
        "plate": "",
        "is_bus_by_plate": False,
        "stopCode": subject.stop_code,
    }


def _user_zones(frame: pd.DataFrame, zones: Zones) -> pd.Series[Any]:
    users = frame[["userLongitude", "userLatitude"]].astype(float).dropna()
    return zones_of(users.set_axis(["longitude", "latitude"], axis=1), zones)


def _bus_directions(connection: Connection, frame: pd.DataFrame) -> pd.Series[Any]:
    buses = frame.index[frame["reportType"] == BUS]
    return directions(connection, REPORT, buses.tolist())


def _unknown_bus(key: int) -> Rejection:
    return Rejection(
        str(key), REPORT_INFO_STEP, Severity.INFO, "the bus's machineId is not of a known bus"
    )
