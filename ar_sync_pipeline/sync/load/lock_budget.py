"""How many archives one transaction may apply: PostgreSQL's lock table has a fixed size.

Each table of each archive has temporary tables with indexes, whose locks last until the commit. A
load that needs more fails, and so do the receiver's own sessions meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.lock_table import read_lock_table
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand

# A staging table, the differences, the rows to delete, each with indexes, and unique values.
_LOCKS_PER_TABLE = 16


def names_that_fit(
    connection: Connection, names: Collection[str], at_hand: ArchivesAtHand
) -> Collection[str]:
    """Return the names without the newest archives that need more than half of the lock table.

    These wait for the next load. If applied archives are applied again after an older one, all are
    loaded at once: readers would see an older state in between.
    """
    apply = at_hand.plan.apply
    if any(candidate.archive_id in at_hand.known for candidate in apply):
        return names
    left = read_lock_table(connection).size // 2
    too_many = set[str]()
    for number, candidate in enumerate(apply):
        left -= _LOCKS_PER_TABLE * len(at_hand.manifests[candidate.archive_id].tables)
        if number and left < 0:
            too_many.add(at_hand.archives[candidate.archive_id].name.applied)
    return [name for name in names if name not in too_many]
