"""What a receiver must hold: the newest complete, then all later partials in their order.

Where two rows want one unique value, the newer archive is right: a row that is not in it and holds
the value has changed or gone at the sender, so it goes, and with it every row that refers to it
and that the archive does not bring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline_tests.convergence.application import TABLES
from ar_sync_pipeline_tests.convergence.row_images import Row, State


@dataclass(frozen=True)
class Shipment:
    """The contents of one archive, as the model sees them."""

    complete: bool
    snapshot_at: datetime
    rows: State


def expected_state(applied: Sequence[Shipment]) -> State:
    """The state that a set of archives makes, in whatever order they were applied."""
    base = max((s.snapshot_at for s in applied if s.complete), default=None)
    state: State = {name: {} for name in TABLES}
    for shipment in sorted(applied, key=lambda shipment: shipment.snapshot_at):
        if base is None or shipment.snapshot_at >= base:
            state = (
                {name: dict(shipment.rows.get(name, {})) for name in TABLES}
                if shipment.complete
                else _after_partial(state, shipment.rows)
            )
    return state


def _after_partial(before: State, partial: State) -> State:
    doomed = {name: _displaced(name, before, partial) for name in TABLES}
    while more := _dependents(before, partial, doomed):
        for name, key in more:
            doomed[name].add(key)
    return {
        name: {key: row for key, row in before[name].items() if key not in doomed[name]}
        | partial.get(name, {})
        for name in TABLES
    }


def _displaced(name: str, before: State, partial: State) -> set[Row]:
    table = TABLES[name]
    if table.unique is None:
        return set()
    column = table.columns.index(table.unique)
    taken = {row[column] for row in partial.get(name, {}).values()} - {None}
    return {
        key
        for key, row in before[name].items()
        if row[column] in taken and key not in partial.get(name, {})
    }


def _dependents(
    before: State, partial: State, doomed: dict[str, set[Row]]
) -> list[tuple[str, Row]]:
    return [
        (name, key)
        for name, table in TABLES.items()
        for column, parent in table.references.items()
        for key, row in before[name].items()
        if (row[table.columns.index(column)],) in doomed[parent]
        and key not in doomed[name]
        and key not in partial.get(name, {})
    ]
