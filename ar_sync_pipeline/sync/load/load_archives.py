"""The second step of a load: apply admitted archives and rename their files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.disk_errors import is_full
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.merge.filling import slow_because
from ar_sync_pipeline.postgres.approved_archives import read_admitted
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import BlockingEndedError
from ar_sync_pipeline.postgres.ledger import read_ledger
from ar_sync_pipeline.postgres.ledger_tables import load_lock
from ar_sync_pipeline.postgres.media_files import ensure_media_files
from ar_sync_pipeline.postgres.table_definitions import read_unverified
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.chain import Chain
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    list_waiting,
    mark_applied,
)
from ar_sync_pipeline.sync.errors import (
    ArchiveRefusedError,
    HeldBackError,
)
from ar_sync_pipeline.sync.load.acknowledge import acknowledge
from ar_sync_pipeline.sync.load.applied_chain import promised_chain
from ar_sync_pipeline.sync.load.examine import describe_receiver
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive, LoadOutcome
from ar_sync_pipeline.sync.load.load_plan import (
    ArchivesAtHand,
    archives_at_hand,
)
from ar_sync_pipeline.sync.load.load_session import LoadSession
from ar_sync_pipeline.sync.load.lock_budget import names_that_fit
from ar_sync_pipeline.sync.load.media_of_load import (
    left_out_warning,
    recover_media,
    staged_media,
)
from ar_sync_pipeline.sync.load.missing_parts import missing_parts
from ar_sync_pipeline.sync.load.net_rows import NetRows
from ar_sync_pipeline.sync.load.receiver_ledger import open_ledger
from ar_sync_pipeline.sync.load.recovered_archives import (
    AppliedComplete,
    newest_complete,
    recovered_archives,
    with_plans_of,
)
from ar_sync_pipeline.sync.load.rejected_archives import (
    lost_in_quarantine,
    parked_by_load,
)
from ar_sync_pipeline.sync.load.remove_media import MediaRemoval, remove_absent_media
from ar_sync_pipeline.sync.load.retention import clean_spool
from ar_sync_pipeline.sync.load.stage_archives import MediaFolder
from ar_sync_pipeline.sync.load.unsent_tables import unsent_tables
from ar_sync_pipeline.sync.load.vanished_archives import vanished_archives
from ar_sync_pipeline.sync.rejection import Rejection, reject


@dataclass(frozen=True)
class LoadReport:
    """Result of a load.

    Attributes:
        loaded: Archives that are applied: by this load, or by one that was killed after its commit.
        superseded: Names of archives that are older than the base and brought nothing.
        refused: Archives that were rejected, each with its reason.
        chain: Chain of applied archives without a gap; None without a complete.
        obstacle: Why empty tables were filled slowly and what would change that; None: they were
            not.
        gaps_since: Snapshot of the first archive after a gap that no waiting archive closes.
        kept: All archives that match and are now parked, whichever run parked them.
        lost: All quarantined archives whose content no other archive has brought, after the load.
        vanished: Archives that are gone and whose content no other archive has brought.
        unsent: Tables with rows that the sender does not send.
        missing: What the sender sends and the receiver lacks, as of `missing_parts`.
        unverified: Tables whose rows DDL or other rules changed, until a complete is applied.
        net: Rows by table that the load as a whole has added, changed and deleted.
        tables: Tables of the receiver, as its database describes them.
        seconds: Seconds by phase: stage, media, merge, verify, commit.
        media: Result for media files that the sender no longer has.
        left_out: Message about media files that this receiver does not install; None: there are
            none.
        newest_complete: What the ledger says about the newest complete; None: it has none.
        unreported: Why the sender has no report of the load yet; None: it has one.
    """

    loaded: tuple[LoadedArchive, ...]
    superseded: tuple[str, ...]
    refused: tuple[Rejection, ...]
    chain: Chain | None
    kept: tuple[Rejection, ...]
    lost: tuple[Rejection, ...]
    net: Mapping[str, NetRows]
    tables: Mapping[str, TableFacts]
    seconds: Mapping[str, float]
    media: MediaRemoval
    left_out: str | None = None
    gaps_since: datetime | None = None
    vanished: tuple[Rejection, ...] = ()
    unsent: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    obstacle: str | None = None
    newest_complete: AppliedComplete | None = None
    unreported: SpoolAccessError | None = None


def load_archives(
    settings: ReceiverSettings, catalog: Catalog, names: Collection[str] | None, clock: Clock
) -> LoadReport:
    """Load the admitted archives of these names, and later retained partials after them.

    To apply an archive twice changes nothing. A load that is killed leaves the state before it, and
    the next one recovers what was left between commit, renaming and receipts. An archive that
    cannot be applied is rejected with its reason, and the others are loaded. Of a very long backlog
    the oldest are loaded; the others keep waiting.

    Args:
        names: Names of admitted archives, without the prefix of waiting ones; None: all of them.

    Raises:
        LoadInProgressError: Another load is running.
        BlockingEndedError: Another session waited too long for the load's locks.
        LockWaitError: Another session holds a lock that the load needs.
    """
    try:
        return _load(settings, catalog, names, clock)
    except BlockingEndedError as ended:
        # Readers waited for tables that are filled for the first time; without the rebuild nobody
        # waits.
        return _load(settings, catalog, names, clock, obstacle=slow_because(ended))


def _load(
    settings: ReceiverSettings,
    catalog: Catalog,
    names: Collection[str] | None,
    clock: Clock,
    *,
    obstacle: str | None = None,
) -> LoadReport:
    url = settings.database_url
    with (
        end_when_blocking(url, settings.max_blocking_seconds, work="the load") as watch,
        connect(url, application="load") as connection,
    ):
        open_ledger(connection, settings.remote_bkp_fldr, catalog)
        if settings.media_delete:
            ensure_media_files(connection)
        with load_lock(connection), watch.over(connection):
            chosen = read_admitted(connection) if names is None else names
            return _Loader(connection, settings, catalog, clock, obstacle).load(chosen)


@dataclass
class _Loader:
    connection: Connection
    settings: ReceiverSettings
    catalog: Catalog
    clock: Clock
    obstacle: str | None
    refused: list[Rejection] = field(default_factory=list)

    def load(self, names: Collection[str]) -> LoadReport:
        self._recover_media(cleans=bool(names))
        at_hand, outcome = self._load_what_can_be(names)
        plan = at_hand.plan
        self.refused += at_hand.unusable
        for candidate in plan.held_back:
            late = at_hand.archives[candidate.archive_id]
            self._reject(late, _held_back(late, at_hand.unusable))
        recovered = recovered_archives(self.connection, at_hand)
        loaded = (*recovered, *outcome.loaded)
        applied = [archive.manifest for archive in loaded]
        media = remove_absent_media(
            self.connection, self.settings, applied, unrecorded=outcome.unrecorded_media
        )
        # As late as possible: the next load reports what still waits if this one is killed.
        for candidate in (*plan.apply, *plan.superseded, *plan.already_applied):
            mark_applied(self._spool, at_hand.archives[candidate.archive_id])
        unsent = self._unsent_tables()
        unreported = self._report_and_clean(unsent)
        ledger = read_ledger(self.connection)
        chain = promised_chain(ledger, list_waiting(self._spool))
        after_gaps = {gap.before for gap in chain.gaps} if chain else ()
        return LoadReport(
            loaded,
            superseded=at_hand.names(plan.superseded),
            refused=tuple(self.refused),
            chain=chain,
            kept=parked_by_load(self.settings),
            lost=lost_in_quarantine(self.settings, ledger),
            net=with_plans_of(recovered, outcome.net),
            tables=outcome.tables,
            seconds=outcome.seconds,
            media=media,
            left_out=left_out_warning(
                (path for archive in outcome.loaded for path in archive.media_left_out),
                self.settings.receiver_media_allow,
                count=sum(archive.media_left_out_count for archive in outcome.loaded),
            ),
            vanished=tuple(vanished_archives(self.settings, ledger, self.clock())),
            unsent=unsent,
            missing=missing_parts(self.connection, self.catalog),
            unverified=read_unverified(self.connection),
            obstacle=outcome.obstacle,
            unreported=unreported,
            newest_complete=newest_complete(self.connection, ledger),
            gaps_since=min(
                (line.snapshot_at for line in ledger if line.archive_id in after_gaps), default=None
            ),
        )

    def _recover_media(self, *, cleans: bool) -> None:
        recover_media(self.connection, self.settings, self.catalog.name, cleans=cleans)

    def _unsent_tables(self) -> tuple[str, ...]:
        """Return the tables that are no longer sent; none if one is locked, until the next load."""
        try:
            return unsent_tables(self.connection, self.catalog)
        except (
            psycopg.errors.LockNotAvailable
        ):  # what is applied is to be acknowledged whatever holds other tables
            return ()

    def _report_and_clean(self, unsent: Sequence[str]) -> SpoolAccessError | None:
        """Report to the sender, then apply retention; return what prevents it.

        The load is committed, and its archives no longer wait: no other load would do what follows
        this one. `acknowledge_by_hand` reports later.
        """
        try:
            self._try_to_report_and_clean(unsent)
        except SpoolAccessError as error:
            return error
        return None

    def _try_to_report_and_clean(self, unsent: Sequence[str]) -> None:
        """Report and apply retention; a full spool needs the retention first."""
        try:
            acknowledge(self.settings, self.connection, self.clock, unsent)
        except SpoolAccessError as error:
            if not is_full(error):
                raise
            clean_spool(self.settings, self.connection, self.clock)
            acknowledge(self.settings, self.connection, self.clock, unsent)
        else:
            clean_spool(self.settings, self.connection, self.clock)

    @property
    def _spool(self) -> Path:
        return self.settings.remote_bkp_fldr

    def _load_what_can_be(self, names: Collection[str]) -> tuple[ArchivesAtHand, LoadOutcome]:
        """Load what can be loaded; it ends, because each refused archive leaves the queue."""
        receiver = describe_receiver(self.connection, self.settings, self.catalog, self.clock())
        admitted = read_admitted(self.connection)
        direct = True
        while True:
            session: LoadSession | None = None
            try:
                at_hand = archives_at_hand(self._spool, names, receiver, admitted)
                fitting = names_that_fit(self.connection, names, at_hand)
                if len(fitting) < len(names):
                    names = fitting
                    continue
                ids = [candidate.archive_id for candidate in at_hand.plan.apply]
                with staged_media(self.connection, self.settings, self.catalog.name, ids) as media:
                    session = LoadSession(
                        self.connection,
                        self.catalog,
                        MediaFolder(
                            self.settings.receiver_media_fldr,
                            self.settings.receiver_media_allow,
                            media,
                        ),
                        at_hand,
                        obstacle=self.obstacle,
                        direct=direct,
                    )
                    outcome = session.run(
                        self.clock,
                        guard_percent=self.settings.delete_guard,
                        allowed=receiver.allowed,
                        remembers_media=self.settings.media_delete,
                    )
            except ArchiveRefusedError as refusal:
                filling = session.filling if session else None
                if filling and (filling.dropped or filling.direct):
                    direct = False  # retry with staged rows, which finds the reason
                else:
                    self._reject(refusal.archive, refusal.error)
                self.connection.execute("DISCARD TEMP")
                # What could not be undone fails here, and not as a fault of the next archive.
                self._recover_media(cleans=False)
            else:
                return at_hand, outcome

    def _reject(self, archive: SpooledArchive, error: ArSyncError) -> None:
        # It was admitted, so its last byte was read.
        self.refused.append(reject(self._spool, archive, error, self.clock(), verified=True))


def _held_back(late: SpooledArchive, unusable: Sequence[Rejection]) -> HeldBackError:
    """Return why a late archive is not applied.

    Args:
        unusable: Applied archives that cannot be applied again.
    """
    why = (
        f"{late.name.applied} came late, and a later archive that was applied is no longer in the"
        " spool to be applied after it"
    )
    for one in unusable:
        name = ArchiveName.parse(one.name)
        if name and name.kind is ArchiveKind.PARTIAL and name.snapshot_at > late.name.snapshot_at:
            why = (
                f"{late.name.applied} came late, and a later archive that was applied cannot be"
                f" applied again after it ({one.clause})"
            )
            break
    return HeldBackError(
        why,
        remedy="no action is needed: the receiver keeps its newer state, and the next complete"
        " repairs",
    )
