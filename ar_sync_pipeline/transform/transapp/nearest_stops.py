"""Rule 7: the two stops that are nearest to a position, by distance on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import shapely
from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.receiver_tables import BUS_STOP, GTFS

_Floats = np.ndarray[Any, np.dtype[np.float64]]
_Indices = np.ndarray[Any, np.dtype[np.int64]]

# WGS84 (NIMA TR8350.2): semi-major axis in metres, first eccentricity squared.
_SEMI_MAJOR_M: Final = 6_378_137.0
_ECCENTRICITY_2: Final = 6.694379990141e-3
# Smallest radius of curvature of the ellipsoid, at the equator along the meridian.
_SMALLEST_RADIUS_M: Final = 6_335_439.0
# Up to this distance a box in degrees is a cheap filter. Beyond it, and near a pole or the date
# line, every stop is compared. Only the few positions of a broken GPS are that far from all stops.
_LARGEST_BOX_M: Final = 200_000.0
_COMPARED_AT_ONCE: Final = 2_000_000
_WANTED: Final = 2

# The code is unique within a version, so two stops of one version always have different codes.
_STOPS = """
SELECT code, longitude, latitude FROM {stop}
WHERE gtfs_id = (
    SELECT id FROM {gtfs} ORDER BY "timeCreation" DESC NULLS LAST, id DESC LIMIT 1)
  AND longitude BETWEEN -180 AND 180 AND latitude BETWEEN -90 AND 90
ORDER BY code COLLATE "C"
"""


@dataclass(frozen=True)
class Stops:
    """Stops of one GTFS version, in the order of their codes.

    Attributes:
        codes: Codes, ascending by code point.
        degrees: Longitude and latitude of each stop, shape (n, 2).
    """

    codes: np.ndarray[Any, np.dtype[np.object_]]
    degrees: _Floats


def read_stops(connection: Connection) -> Stops:
    """Read the stops of the newest GTFS version with valid coordinates.

    The newest version has the greatest ``timeCreation``, then the greatest id; a version without
    ``timeCreation`` is older than all others.
    """
    query = sql.SQL(_STOPS).format(stop=sql.Identifier(BUS_STOP), gtfs=sql.Identifier(GTFS))
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(query).fetchall()
    return Stops(
        codes=np.array([row[0] for row in rows], dtype=object),
        degrees=np.array([row[1:] for row in rows], dtype=float).reshape(-1, 2),
    )


def nearest_stops(positions: pd.DataFrame, stops: Stops) -> pd.DataFrame:
    """Return the nearest and the second nearest stop of each position.

    Args:
        positions: Valid ``longitude`` and ``latitude``.
        stops: Stops to search.

    Returns:
        ``busStop1`` and ``busStop2`` (codes, None if there are fewer stops), indexed as
        ``positions``.
    """
    degrees = positions[["longitude", "latitude"]].to_numpy(dtype=float).reshape(-1, 2)
    nearest = np.full((len(degrees), _WANTED), None, dtype=object)
    if len(degrees) and len(stops.codes):
        position, stop = _candidates(degrees, stops.degrees)
        distances = _distances_m(degrees[position], stops.degrees[stop])
        _fill_nearest(nearest, position, stop, distances, stops.codes)
    return pd.DataFrame(nearest, columns=["busStop1", "busStop2"], index=positions.index)


def _fill_nearest(
    nearest: np.ndarray[Any, np.dtype[np.object_]],
    position: _Indices,
    stop: _Indices,
    distances_m: _Floats,
    codes: np.ndarray[Any, np.dtype[np.object_]],
) -> None:
    # Micrometres: two stops at one place have the same distance in spite of rounding.
    order = np.lexsort((stop, distances_m.round(6), position))
    position, stop = position[order], stop[order]
    starts = np.searchsorted(position, position, side="left")
    rank = np.arange(len(position)) - starts
    is_near = rank < _WANTED
    nearest[position[is_near], rank[is_near]] = codes[stop[is_near]]


def _candidates(positions: _Floats, stops: _Floats) -> tuple[_Indices, _Indices]:
    """Return pairs of position and stop that include the two nearest stops of every position.

    Any stop and any neighbour of it limit the distance of the second nearest stop (triangle
    inequality, exact for straight lines through the ellipsoid). The tree, in plain degrees, finds
    such a stop, and then all stops within a box of that distance.
    """
    tree = shapely.STRtree(shapely.points(stops))
    some = _nearest_in_degrees(tree, shapely.points(positions))
    reach_m = _distances_m(positions, stops[some]) + _distances_to_a_neighbour_m(tree, stops)[some]
    half_width, half_height = _box_degrees(positions, reach_m)
    west, east = positions[:, 0] - half_width, positions[:, 0] + half_width
    south, north = positions[:, 1] - half_height, positions[:, 1] + half_height
    is_boxed = (reach_m < _LARGEST_BOX_M) & (west > -180) & (east < 180)  # noqa: PLR2004 - degrees
    is_boxed &= (south > -89) & (north < 89)  # noqa: PLR2004 - degrees
    boxed = np.flatnonzero(is_boxed)
    boxes = shapely.box(west[boxed], south[boxed], east[boxed], north[boxed])
    box, stop = tree.query(boxes)
    far_position, far_stop = _candidates_of_far(positions, np.flatnonzero(~is_boxed), stops)
    return np.concatenate((boxed[box], far_position)), np.concatenate((stop, far_stop))


def _candidates_of_far(
    positions: _Floats, far: _Indices, stops: _Floats
) -> tuple[_Indices, _Indices]:
    """Compare with every stop, a limited number of pairs at a time; keep all ties."""
    kept: list[tuple[_Indices, _Indices]] = []
    wanted = min(_WANTED, len(stops))
    for part in np.array_split(far, 1 + len(far) * len(stops) // _COMPARED_AT_ONCE):
        distances = _distances_m(positions[part][:, np.newaxis], stops[np.newaxis]).round(6)
        limit = np.partition(distances, wanted - 1, axis=1)[:, wanted - 1]
        row, stop = np.nonzero(distances <= limit[:, np.newaxis])
        kept.append((part[row], stop))
    return np.concatenate([one[0] for one in kept]), np.concatenate([one[1] for one in kept])


def _nearest_in_degrees(tree: shapely.STRtree, points: Any) -> _Indices:  # noqa: ANN401 - shapely
    position, stop = tree.query_nearest(points, all_matches=False)
    found = np.zeros(len(points), dtype=np.int64)
    found[position] = stop
    return found


def _distances_to_a_neighbour_m(tree: shapely.STRtree, stops: _Floats) -> _Floats:
    if len(stops) < _WANTED:
        return np.zeros(len(stops))
    by_longitude = np.argsort(stops[:, 0], kind="stable")
    neighbour = np.empty(len(stops), dtype=np.int64)
    neighbour[by_longitude] = np.roll(by_longitude, 1)
    # The tree excludes stops at the same place as "the same geometry"; the line above covers them.
    stop, other = tree.query_nearest(tree.geometries, exclusive=True, all_matches=False)
    neighbour[stop] = other
    return _distances_m(stops, stops[neighbour])


def _box_degrees(positions: _Floats, reach_m: _Floats) -> tuple[_Floats, _Floats]:
    """Return half the width and height of a box with everything within reach, plus 1 %."""
    angle = np.minimum(1.01 * reach_m / _SMALLEST_RADIUS_M + 1e-9, np.pi / 2)
    ratio = np.sin(angle) / np.maximum(np.cos(np.radians(positions[:, 1])), 1e-9)
    return np.degrees(np.arcsin(np.minimum(ratio, 1.0))), np.degrees(angle)


def _distances_m(one: _Floats, other: _Floats) -> _Floats:
    """Return distances straight through the ellipsoid, which order like those on the ground."""
    distances: _Floats = np.linalg.norm(_earth_centred_m(one) - _earth_centred_m(other), axis=-1)
    return distances


def _earth_centred_m(degrees: _Floats) -> _Floats:
    """Convert longitude and latitude to x, y, z in metres, on the WGS84 ellipsoid."""
    longitude, latitude = np.radians(degrees[..., 0]), np.radians(degrees[..., 1])
    radius = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY_2 * np.sin(latitude) ** 2)
    flat = radius * np.cos(latitude)
    height = radius * (1 - _ECCENTRICITY_2) * np.sin(latitude)
    return np.stack((flat * np.cos(longitude), flat * np.sin(longitude), height), axis=-1)
