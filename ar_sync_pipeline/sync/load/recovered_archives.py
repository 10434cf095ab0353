"""Archives of a load that was killed between its commit and the renaming of their files.

The load that finds them reports what the killed one did; otherwise nobody would, and the drift that
a complete has repaired would never be seen. What was killed after the renaming shows only the
newest complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import AppliedArchive, read_plans
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand
from ar_sync_pipeline.sync.load.net_rows import NetRows, planned_rows


@dataclass(frozen=True)
class AppliedComplete:
    """What the ledger says about an applied complete.

    Attributes:
        tables: Rows added, changed and deleted, by table.
    """

    name: str
    snapshot_at: datetime
    tables: tuple[TablePlan, ...]


def newest_complete(
    connection: Connection, ledger: Sequence[AppliedArchive]
) -> AppliedComplete | None:
    """Return the newest applied complete, whichever load applied it; None without one."""
    completes = [one for one in ledger if one.kind is ArchiveKind.COMPLETE and not one.superseded]
    if not completes:
        return None
    newest = completes[-1]
    plan = read_plans(connection, [newest.archive_id])[newest.archive_id]
    return AppliedComplete(newest.name, newest.snapshot_at, tuple(map(TablePlan.of, plan)))


def recovered_archives(
    connection: Connection, at_hand: ArchivesAtHand
) -> tuple[LoadedArchive, ...]:
    """Return what the ledger says about archives that are applied and still wait, oldest first.

    Archives that this load applies again are left out: it reports them. So is a second copy of an
    archive that was applied and renamed. Media files and chunks are not counted in the ledger.
    """
    applied_now = {candidate.archive_id for candidate in at_hand.plan.apply}
    found = [
        candidate.archive_id
        for candidate in at_hand.plan.already_applied
        if candidate.archive_id not in applied_now
        and not at_hand.applied_path(candidate.archive_id).exists()
    ]
    plans = read_plans(connection, found)
    recovered = (
        LoadedArchive(
            at_hand.manifests[archive_id],
            again=False,
            tables=tuple(map(TablePlan.of, plans[archive_id])),
            chunks=0,
            chunks_staged=0,
            media_installed=0,
            media_unchanged=0,
            size_bytes=at_hand.archives[archive_id].size_bytes,
            media_bytes=0,
            recovered=True,
        )
        for archive_id in found
    )
    return tuple(sorted(recovered, key=lambda archive: archive.manifest.snapshot_at))


def with_plans_of(
    recovered: Sequence[LoadedArchive], net: Mapping[str, NetRows]
) -> Mapping[str, NetRows]:
    """Return the net rows of a load, and what the plans of recovered archives add to them."""
    found = planned_rows([plan for archive in recovered for plan in archive.tables])
    return {
        table: found.get(table, NetRows()) + net.get(table, NetRows()) for table in (*found, *net)
    }
