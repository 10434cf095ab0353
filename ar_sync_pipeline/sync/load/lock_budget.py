"""How many archives one transaction may apply: PostgreSQL's lock table has a fixed size.

Each table of each archive has temporary tables with indexes, whose locks last until the commit. A
load that needs more fails, and so do the receiver's own sessions meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.lock_table import LockTable, read_lock_table
from ar_sync_pipeline.spool.load_order import Candidate
from ar_sync_pipeline.sync.errors import ArchiveRefusedError, ReplayTooLongError
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand

# A staging table, the differences, the rows to delete, each with indexes, and unique values. A
# table of which rows are only added takes 12.
_LOCKS_PER_TABLE = 16


def names_that_fit(
    connection: Connection, names: Collection[str], at_hand: ArchivesAtHand
) -> Collection[str]:
    """Return the names without the newest archives that need more than half of the lock table.

    These wait for the next load. If applied archives are applied again after an older one, all are
    loaded at once: readers would see an older state in between.

    Raises:
        ArchiveRefusedError: So many archives are to be applied again after a late one that they do
            not fit.
    """
    locks = read_lock_table(connection)
    check_replay(locks, at_hand)
    replay, others = _replay_and_others(at_hand)
    left = locks.size // 2 - _locks_of(replay, at_hand)
    too_many = set[str]()
    for number, candidate in enumerate(others):
        left -= _locks_of([candidate], at_hand)
        if (number or replay) and left < 0:
            too_many.add(at_hand.archives[candidate.archive_id].name.applied)
    return [name for name in names if name not in too_many]


def check_replay(locks: LockTable, at_hand: ArchivesAtHand) -> None:
    """Check that a late archive and those that are applied again after it fit the lock table.

    Raises:
        ArchiveRefusedError: They need more than all of it.
    """
    replay, _ = _replay_and_others(at_hand)
    needed = _locks_of(replay, at_hand)
    # Most tables take fewer locks, so that other sessions keep some.
    if needed <= locks.size:
        return
    late = at_hand.archives[replay[0].archive_id]
    error = ReplayTooLongError(
        f"{late.name.applied} came late, and the {len(replay) - 1:,} archives that would be applied"
        f" after it in the same transaction need about {needed:,} of the {locks.size:,} locks that"
        " all sessions of the receiver's server can have together",
        # Twice as many, since more archives follow until the server is restarted.
        remedy=f"set max_locks_per_transaction of that server to {-(-2 * needed // locks.sessions)}"
        f" (it is {locks.per_session}) and restart it; the archive is then loaded by itself, or"
        " superseded by a newer complete",
    )
    raise ArchiveRefusedError(late, error)


def _replay_and_others(
    at_hand: ArchivesAtHand,
) -> tuple[Sequence[Candidate], Sequence[Candidate]]:
    """Return what is applied up to the last archive that was applied before, and what follows."""
    apply = at_hand.plan.apply
    known = [number for number, c in enumerate(apply, 1) if c.archive_id in at_hand.known]
    end = max(known, default=0)
    return apply[:end], apply[end:]


def _locks_of(candidates: Sequence[Candidate], at_hand: ArchivesAtHand) -> int:
    tables = sum(len(at_hand.manifests[candidate.archive_id].tables) for candidate in candidates)
    return _LOCKS_PER_TABLE * tables
