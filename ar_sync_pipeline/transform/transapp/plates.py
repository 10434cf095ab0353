"""Rule 2: formats the plates of buses in place.

This shared column differs from the sender's by design; the catalog declares it as
``rewritten_by_transform``. Reports look up buses by the same expression, since a load may bring
buses after this step.
"""

from __future__ import annotations

from typing import Final

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.transapp.frames import id_array
from ar_sync_pipeline.transform.transapp.receiver_tables import BUS
from ar_sync_pipeline.transform.transapp.report import PLATES
from ar_sync_pipeline.transform.transapp.report_info import NO_PLATE
from ar_sync_pipeline.transform.transapp.stage import (
    BatchOutcome,
    Stage,
    StepTimer,
    marked_transformed,
    untransformed,
)

# With COLLATE "C" the case functions change only ASCII, in any locale: a plate has ASCII letters
# and digits, and the Turkish upper case of `i` is not `I`.
FORMATTED_PLATE: Final = sql.SQL(
    """CASE
      WHEN lower("registrationPlate" COLLATE "C") = 'dummylpt' THEN {no_plate}
      WHEN "registrationPlate" COLLATE "C"
        ~ '^([A-Za-z]{{4}}[0-9]{{2}}|[A-Za-z]{{2}}[0-9]{{4}})$'
      THEN upper(concat_ws(' ', substr("registrationPlate", 1, 2),
        substr("registrationPlate", 3, 2), substr("registrationPlate", 5, 2)) COLLATE "C")
      ELSE "registrationPlate"
    END"""
).format(no_plate=sql.Literal(NO_PLATE))
"""Expression for the formatted plate of a row of buses."""
_FORMAT = sql.SQL(
    """UPDATE {bus} SET "registrationPlate" = {formatted}, transformed = true
    WHERE id = ANY (%s::int[]) AND {formatted} <> "registrationPlate" """
).format(bus=sql.Identifier(BUS), formatted=FORMATTED_PLATE)
_MARK = marked_transformed(BUS)


def bus_stage() -> Stage:
    """Return the stage of buses whose plate was not handled yet."""
    return Stage(
        table=BUS,
        pending=untransformed(BUS),
        handle=_format_plates,
        give_up=sql.SQL("UPDATE {} SET transformed = true WHERE id = %(id)s").format(
            sql.Identifier(BUS)
        ),
    )


def _format_plates(connection: Connection, ids: list[int], timer: StepTimer) -> BatchOutcome:
    with timer.step(PLATES):
        changed = connection.execute(_FORMAT, (id_array(ids),)).rowcount
        connection.execute(_MARK, (id_array(ids),))
    return BatchOutcome({PLATES: changed})
