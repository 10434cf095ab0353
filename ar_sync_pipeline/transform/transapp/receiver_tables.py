"""Receiver tables that the rules read and write, and a check that they exist.

Table names have no schema: the ``search_path`` of the session finds them, as in the web
application.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.transform.errors import (
    TransformRefusedError,
    TransformTablesMissingError,
)
from ar_sync_pipeline.visible_text import visible_name

BUS: Final = "AndroidRequests_busv2"
BUS_EVENT: Final = "AndroidRequests_eventforbusv2"
BUS_STATISTIC: Final = "AndroidRequests_stadisticdatafromregistrationbus"
BUS_STOP: Final = "AndroidRequests_busstop"
GTFS: Final = "AndroidRequests_gtfs"
HALF_HOUR: Final = "AndroidRequests_halfhourperiod"
POSE: Final = "AndroidRequests_poseintrajectoryoftoken"
REPORT: Final = "AndroidRequests_report"
REPORT_INFO: Final = "AndroidRequests_reportinfo"
STOP_EVENT: Final = "AndroidRequests_eventforbusstop"
STOP_STATISTIC: Final = "AndroidRequests_stadisticdatafromregistrationbusstop"
TIME_PERIOD: Final = "AndroidRequests_timeperiod"
TOKEN: Final = "AndroidRequests_token"  # noqa: S105 - a table, not a secret
ZONE: Final = "AndroidRequests_zonificationtransantiago"

HANDLED: Final = (BUS, BUS_EVENT, BUS_STOP, REPORT, STOP_EVENT, ZONE)
"""Tables whose rows can be rejected."""

_EVENT = "id timeCreation timePeriod_id halfHourPeriod_id zonification_id transformed"
_STATISTIC = "id longitude latitude timeStamp reportOfEvent_id"
_PERIOD = "id initial_time end_time"
_COLUMNS: Final = {
    BUS: "id registrationPlate uuid transformed",
    BUS_EVENT: f"{_EVENT} timeStamp phoneId busStop1 busStop2 direction",
    BUS_STATISTIC: _STATISTIC,
    BUS_STOP: "id code longitude latitude gtfs_id point transformed",
    GTFS: "id timeCreation",
    HALF_HOUR: _PERIOD,
    POSE: "id timeStamp token_id",
    REPORT: "id timeStamp phoneId reportInfo transformed",
    REPORT_INFO: "id report_id reportType busUUID service registrationPlate stopCode longitude "
    "latitude userLongitude userLatitude zonification_id direction transformed",
    STOP_EVENT: _EVENT,
    STOP_STATISTIC: _STATISTIC,
    TIME_PERIOD: f"{_PERIOD} day_type",
    TOKEN: "id phoneId direction",
    ZONE: "id geom",
}

_MISSING = """
SELECT wanted.table_name, wanted.column_name, to_regclass(quote_ident(wanted.table_name)) IS NULL
FROM unnest(%s::text[], %s::text[]) AS wanted (table_name, column_name)
LEFT JOIN pg_attribute a
  ON a.attrelid = to_regclass(quote_ident(wanted.table_name))
  AND a.attname = wanted.column_name AND NOT a.attisdropped
WHERE a.attrelid IS NULL
ORDER BY 1, 2
"""
# A trigger BEFORE INSERT of each row (tgtype: 1 + 2 + 4) may fill such a column.
_UNFILLED = """
SELECT a.attname
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = to_regclass(quote_ident(%(table)s)) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND t.typdefault IS NULL
  AND a.attname <> ALL (%(written)s)
  AND NOT EXISTS (SELECT FROM pg_trigger g
                  WHERE g.tgrelid = a.attrelid AND NOT g.tgisinternal AND g.tgtype & 7 = 7)
ORDER BY a.attnum
"""
_GEOMETRY = """
SELECT t.typname, n.nspname, a.atttypmod
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE a.attrelid = to_regclass(quote_ident(%s)) AND a.attname = %s AND NOT a.attisdropped
"""


@dataclass(frozen=True)
class GeometryColumn:
    """A geometry column: of PostGIS's type, or WKB in ``bytea`` if there is no PostGIS.

    Attributes:
        column: Name of the column.
        postgis_schema: Schema of PostGIS and its functions; None for ``bytea``.
        srid: SRID of the column; 0 if none is declared.
    """

    column: str
    postgis_schema: str | None
    srid: int = 0

    @property
    def as_wkb(self) -> sql.Composable:
        """Expression for the value of the column as WKB."""
        column = sql.Identifier(self.column)
        if self.postgis_schema is None:
            return column
        return sql.SQL("{}({})").format(sql.Identifier(self.postgis_schema, "st_asbinary"), column)

    def from_wkb(self, wkb: sql.Composable) -> sql.Composable:
        """Return an expression that converts WKB to a value of the column."""
        if self.postgis_schema is None:
            return wkb
        function = sql.Identifier(self.postgis_schema, "st_geomfromwkb")
        return sql.SQL("{}({}, {})").format(function, wkb, sql.Literal(self.srid))


def missing_in(catalog: Catalog) -> tuple[str, ...]:
    """Return the tables of the rules that a catalog neither replicates nor has as receiver-only."""
    return tuple(
        table
        for table in sorted(_COLUMNS)
        if not catalog.replicates(table) and table not in catalog.receiver_tables
    )


def require_tables(connection: Connection) -> None:
    """Check that the database has every table and column of the rules.

    Raises:
        TransformTablesMissingError: Tables or columns are missing.
    """
    wanted = [(table, name) for table, names in _COLUMNS.items() for name in names.split()]
    rows = connection.execute(
        _MISSING, ([table for table, _ in wanted], [name for _, name in wanted])
    ).fetchall()
    if not rows:
        return
    missing = dict.fromkeys(table if absent else f"{table}.{name}" for table, name, absent in rows)
    raise TransformTablesMissingError(
        f"the receiver's database lacks {', '.join(missing)}",
        remedy="apply TranSappViz's migrations (0900 to 0920) there, "
        "or set AR_SYNC_TRANSFORM to `none` or to a command of your own",
    )


def require_that_rows_can_be_added(connection: Connection) -> None:
    """Check the only table to which the rules add rows: Django keeps no defaults in a database.

    Raises:
        TransformRefusedError: ``reportinfo`` needs values that the rules do not know.
    """
    written = _COLUMNS[REPORT_INFO].split()
    found = connection.execute(_UNFILLED, {"table": REPORT_INFO, "written": written}).fetchall()
    if found:
        names = ", ".join(f"{REPORT_INFO}.{visible_name(name)}" for (name,) in found)
        raise TransformRefusedError(
            f"the transform cannot add rows of {REPORT_INFO}: {names} must not be null, and has"
            " neither a default nor a value in the rules",
            remedy="ALTER the column there: SET DEFAULT, or DROP NOT NULL",
        )


def geometry_column(connection: Connection, table: str, column: str) -> GeometryColumn:
    """Return how this database stores a geometry column."""
    row = connection.execute(_GEOMETRY, (table, column)).fetchone()
    if row is None:
        raise TransformTablesMissingError(
            f"the receiver's database lacks {table}.{column}",
            remedy="apply TranSappViz's migrations there",
        )
    type_name, schema, type_modifier = row
    if type_name != "geometry":
        return GeometryColumn(column, None)
    function = sql.Identifier(schema, "postgis_typmod_srid")
    query = sql.SQL("SELECT {}({})").format(function, sql.Literal(type_modifier))
    return GeometryColumn(column, schema, scalar(connection, query))
