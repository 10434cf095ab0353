"""Rule 5: zone that contains a position, border included; of several the lowest id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.transform.errors import TransformInterruptedError
from ar_sync_pipeline.transform.transapp.receiver_tables import ZONE, geometry_column


@dataclass(frozen=True)
class Zones:
    """All zones, in memory.

    Attributes:
        ids: Ids of the readable zones, ascending.
        shapes: Geometries of these zones, degrees WGS84, in the same order.
        unreadable: Ids of the zones whose geometry is missing, not valid WKB, or has curves.
    """

    ids: np.ndarray[Any, np.dtype[np.int64]]
    shapes: np.ndarray[Any, np.dtype[np.object_]]
    unreadable: tuple[int, ...] = ()


def read_zones(connection: Connection) -> Zones:
    """Read the zones from PostGIS geometries, or from WKB in ``bytea``."""
    geometry = geometry_column(connection, ZONE, "geom")
    query = sql.SQL("SELECT id, {} FROM {} ORDER BY id").format(
        geometry.as_wkb, sql.Identifier(ZONE)
    )
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(query).fetchall()
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    shapes = np.array([_shape(row[1]) for row in rows], dtype=object)
    is_readable = ~shapely.is_missing(shapes)
    return Zones(
        ids=ids[is_readable],
        shapes=shapes[is_readable],
        unreadable=tuple(int(one) for one in ids[~is_readable]),
    )


def _shape(wkb: bytes | memoryview | None) -> shapely.Geometry | None:
    """Return a geometry; None if there is none or it cannot be read."""
    if wkb is None:
        return None
    try:
        return shapely.from_wkb(bytes(wkb), on_invalid="ignore")
    except (shapely.errors.ShapelyError, NotImplementedError):  # such as a curve
        return None


def zones_of(positions: pd.DataFrame, zones: Zones) -> pd.Series[Any]:
    """Return the zone of each position.

    The positions are indexed, not the zones: each zone is prepared once for all its candidates, and
    a zone far from every position costs one search in the tree.

    Args:
        positions: Valid ``longitude`` and ``latitude``.
        zones: Zones to search.

    Returns:
        Zone ids, indexed as ``positions``, without positions outside of every zone.
    """
    points = shapely.points(positions["longitude"].to_numpy(), positions["latitude"].to_numpy())
    zone, point = shapely.STRtree(points).query(zones.shapes, predicate="intersects")
    found = pd.DataFrame({"zone": zones.ids[zone], "key": positions.index.to_numpy()[point]})
    # As objects: ids must not become floats if a row has no zone.
    return found.groupby("key")["zone"].min().astype(object)


def require_zones(connection: Connection, found: pd.Series[Any]) -> None:
    """Check that zones that were found are still there: people may replace them during a run.

    Raises:
        TransformInterruptedError: One is not; the retry reads the zones again.
    """
    used = [int(zone) for zone in found.dropna().unique()]
    query = sql.SQL("SELECT count(*) FROM {} WHERE id = ANY (%s)").format(sql.Identifier(ZONE))
    if used and scalar(connection, query, (used,)) < len(used):
        raise TransformInterruptedError(
            f"zones of {ZONE} were deleted or replaced while the transform ran",
            remedy="it is tried again, and reads the new zones",
        )
