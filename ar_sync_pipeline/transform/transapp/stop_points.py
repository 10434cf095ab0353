"""Rule 7, first half: ``busstop.point`` from longitude and latitude.

The point contains plain degrees, although its column declares SRID 32140: the web application
reads it so. Without PostGIS the column contains the same point as WKB.
"""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.rejected_rows import Rejection, Severity
from ar_sync_pipeline.transform.transapp.frames import id_array
from ar_sync_pipeline.transform.transapp.receiver_tables import BUS_STOP, geometry_column
from ar_sync_pipeline.transform.transapp.report import RULES, STOP_POINTS, WRITE
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer

# WKB of a point, big-endian as float8send writes it: byte order 0, type 1, x, y (OGC 06-103r4, 8).
_WKB = sql.SQL(r"'\x0000000001'::bytea || float8send(longitude) || float8send(latitude)")
_IS_ON_EARTH = sql.SQL("(longitude BETWEEN -180 AND 180 AND latitude BETWEEN -90 AND 90)")
# One without a point that was given up has an entry, and waits for a load that changes it.
_PENDING = sql.SQL(
    """SELECT id FROM {stop}
    WHERE transformed IS NOT TRUE OR (point IS NULL AND {is_on_earth} AND id::text NOT IN (
      SELECT primary_key FROM ar_sync.rejected_row
      WHERE table_name = {name} AND step IN ({write}, {rules})))
    ORDER BY id"""
).format(
    stop=sql.Identifier(BUS_STOP),
    is_on_earth=_IS_ON_EARTH,
    name=sql.Literal(BUS_STOP),
    write=sql.Literal(WRITE),
    rules=sql.Literal(RULES),
)
_GIVE_UP = sql.SQL("UPDATE {} SET point = NULL, transformed = true WHERE id = %(id)s").format(
    sql.Identifier(BUS_STOP)
)
_LOST = sql.SQL("SELECT id FROM {} WHERE id = ANY (%s::int[]) AND point IS NULL").format(
    sql.Identifier(BUS_STOP)
)


def stop_stage(connection: Connection) -> Stage:
    """Return the stage of stops without a point, and of stops that a load has changed since."""
    point = geometry_column(connection, BUS_STOP, "point")
    update = sql.SQL(
        """UPDATE {stop} SET point = CASE WHEN {is_on_earth} THEN {point} END, transformed = true
        WHERE id = ANY (%s::int[])"""
    ).format(stop=sql.Identifier(BUS_STOP), is_on_earth=_IS_ON_EARTH, point=point.from_wkb(_WKB))

    def place_stops(connection: Connection, ids: list[int], timer: StepTimer) -> BatchOutcome:
        with timer.step(STOP_POINTS):
            connection.execute(update, (id_array(ids),))
            lost = connection.execute(_LOST, (id_array(ids),)).fetchall()
        rejections = tuple(
            Rejection(str(row[0]), STOP_POINTS, Severity.ERROR, "the stop is nowhere on Earth")
            for row in lost
        )
        return BatchOutcome({STOP_POINTS: len(ids) - len(lost)}, rejections)

    return Stage(table=BUS_STOP, pending=_PENDING, handle=place_stops, give_up=_GIVE_UP)
