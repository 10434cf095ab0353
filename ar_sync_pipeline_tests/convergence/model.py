"""What a receiver must hold: the newest complete, then all later partials in their order.

Where two rows want one unique value, the newer archive is right: a row that is not in it and holds
the value has changed or gone at the sender, so it goes, and with it every row that refers to it
and that the archive does not bring. After a gap that may be wrong: what became of such a row was
in the missing archive. A receiver to which the archives came in another order may still hold it, as
an older archive had it; it is never the worse for that, so the model keeps these rows apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline_tests.convergence.application import TABLES
from ar_sync_pipeline_tests.convergence.row_images import Row, State


@dataclass(frozen=True)
class Shipment:
    """The contents of one archive, as the model sees them.

    Attributes:
        dropped: unique constraints that the sender no longer had.
    """

    complete: bool
    snapshot_at: datetime
    rows: State
    dropped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Expected:
    """The state that a set of archives makes.

    Attributes:
        rows: what must be there.
        displaced: rows that had to make way for a newer archive's, as they were before.
    """

    rows: State
    displaced: State


def expected_state(applied: Sequence[Shipment]) -> Expected:
    """The state that a set of archives makes, in whatever order they were applied."""
    base = max((s.snapshot_at for s in applied if s.complete), default=None)
    rows: State = {name: {} for name in TABLES}
    displaced: State = {name: {} for name in TABLES}
    for shipment in sorted(applied, key=lambda shipment: shipment.snapshot_at):
        if base is not None and shipment.snapshot_at < base:
            continue
        if shipment.complete:
            rows = {name: dict(shipment.rows.get(name, {})) for name in TABLES}
            displaced = {name: {} for name in TABLES}
        else:
            before, rows = rows, _after_partial(rows, shipment)
            for name in TABLES:
                gone = {k: row for k, row in before[name].items() if k not in rows[name]}
                displaced[name] |= gone
    return Expected(rows, displaced)


def _after_partial(before: State, shipment: Shipment) -> State:
    partial = shipment.rows
    to_delete = {name: _displaced(name, before, shipment) for name in TABLES}
    while more := _dependents(before, partial, to_delete):
        for name, key in more:
            to_delete[name].add(key)
    return {
        name: {key: row for key, row in before[name].items() if key not in to_delete[name]}
        | partial.get(name, {})
        for name in TABLES
    }


def _displaced(name: str, before: State, shipment: Shipment) -> set[Row]:
    table, incoming = TABLES[name], shipment.rows.get(name, {})
    found = set[Row]()
    for constraint, value in table.unique.items():
        if constraint in shipment.dropped:
            continue
        taken = {value(table.values(row)) for row in incoming.values()} - {None}
        found |= {
            key
            for key, row in before[name].items()
            if key not in incoming and value(table.values(row)) in taken
        }
    return found


def _dependents(
    before: State, partial: State, to_delete: dict[str, set[Row]]
) -> list[tuple[str, Row]]:
    return [
        (name, key)
        for name, table in TABLES.items()
        for column, parent in table.references.items()
        for key, row in before[name].items()
        if (row[table.columns.index(column)],) in to_delete[parent]
        and key not in to_delete[name]
        and key not in partial.get(name, {})
    ]
