"""Rule 4, second half: finds the bus of each report and writes ``reportinfo``."""

from __future__ import annotations

from typing import Final

import pandas as pd
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import copy_frame, id_array
from ar_sync_pipeline.transform.transapp.plates import FORMATTED_PLATE
from ar_sync_pipeline.transform.transapp.receiver_tables import BUS, REPORT_INFO

_READ_TYPES: Final = {
    "report_id": "integer",
    "reportType": "text",
    "plate": "text",
    "machine_id": "uuid",
    "is_bus_by_plate": "boolean",
    "service": "text",
    "stopCode": "text",
    "longitude": "double precision",
    "latitude": "double precision",
    "userLongitude": "double precision",
    "userLatitude": "double precision",
    "zonification_id": "integer",
    "direction": "text",
}
READ_COLUMNS: Final = tuple(_READ_TYPES)
"""Columns of a frame of parsed reports; the last two come from rules 5 and 6."""

_COPIED: Final = (
    "reportType", "service", "stopCode", "longitude", "latitude", "userLongitude",
    "userLatitude", "zonification_id", "direction", "busUUID", "registrationPlate",
)  # fmt: skip

# Not the stored plates: a load that runs meanwhile brings buses whose plates the next run formats.
_RESOLVE = sql.SQL(
    """CREATE TEMP TABLE new_report_info ON COMMIT DROP AS
    SELECT report.*, coalesce(named.uuid, plated.uuid) AS "busUUID",
      coalesce(named.plate, plated.plate, report.plate) AS "registrationPlate"
    FROM pg_temp.read_report report
    LEFT JOIN (
      SELECT uuid, {formatted} AS plate FROM {bus}
    ) named ON named.uuid = report.machine_id
    LEFT JOIN (
      SELECT {formatted} AS plate, (array_agg(uuid))[1] AS uuid
      FROM {bus}
      WHERE {formatted} IN (SELECT plate FROM pg_temp.read_report WHERE is_bus_by_plate)
      GROUP BY 1 HAVING count(*) = 1
    ) plated ON report.is_bus_by_plate AND plated.plate = report.plate"""
).format(bus=sql.Identifier(BUS), formatted=FORMATTED_PLATE)
_DELETE = sql.SQL(
    """DELETE FROM {info} old
    WHERE old.report_id = ANY (%s::int[]) AND (
      NOT EXISTS (SELECT FROM pg_temp.new_report_info new WHERE new.report_id = old.report_id)
      OR EXISTS (SELECT FROM {info} kept
                 WHERE kept.report_id = old.report_id AND kept.id < old.id))"""
).format(info=sql.Identifier(REPORT_INFO))
_UPDATE = sql.SQL(
    """UPDATE {info} info SET {assignments}, transformed = true
    FROM pg_temp.new_report_info new WHERE info.report_id = new.report_id"""
).format(
    info=sql.Identifier(REPORT_INFO),
    assignments=sql.SQL(", ").join(
        sql.SQL("{0} = new.{0}").format(sql.Identifier(name)) for name in _COPIED
    ),
)
_INSERT = sql.SQL(
    """INSERT INTO {info} (report_id, {columns}, transformed)
    SELECT report_id, {columns}, true FROM pg_temp.new_report_info new
    WHERE NOT EXISTS (SELECT FROM {info} info WHERE info.report_id = new.report_id)
    ORDER BY report_id"""
).format(
    info=sql.Identifier(REPORT_INFO),
    columns=sql.SQL(", ").join(map(sql.Identifier, _COPIED)),
)
_UNKNOWN = """
SELECT report_id FROM pg_temp.new_report_info
WHERE machine_id IS NOT NULL AND "busUUID" IS NULL ORDER BY report_id
"""


def write_report_info(connection: Connection, ids: list[int], read: pd.DataFrame) -> list[int]:
    """Replace the ``reportinfo`` rows of some reports.

    Args:
        connection: Connection in the transaction of the batch.
        ids: Ids of all handled reports, with and without a row.
        read: Parsed reports with columns ``READ_COLUMNS``.

    Returns:
        Ids of the reports that name an unknown bus.
    """
    connection.execute(
        sql.SQL("CREATE TEMP TABLE read_report ({}) ON COMMIT DROP").format(
            sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                for name, kind in _READ_TYPES.items()
            )
        )
    )
    copy_frame(connection, "read_report", read)
    connection.execute(_RESOLVE)
    connection.execute(_DELETE, (id_array(ids),))
    connection.execute(_UPDATE)
    connection.execute(_INSERT)
    return [row[0] for row in connection.execute(_UNKNOWN).fetchall()]
