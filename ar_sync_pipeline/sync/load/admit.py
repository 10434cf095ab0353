"""The first step of a load: decide which of the waiting archives may be loaded.

Every archive is read to its last byte before anything is changed. One that can never be applied is
quarantined, one that does not match yet is parked, each with its reason file.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.disk_errors import is_full
from ar_sync_pipeline.postgres.approved_archives import admit, forget_admitted
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.errors import ArchiveGoneError, SpoolAccessError
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.ownership import remove_dead_copies
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_waiting,
    unpark,
)
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.intake import IntakeContext, TakenOver
from ar_sync_pipeline.sync.load.acknowledge import acknowledge
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.examine import Receiver, describe_receiver, examine
from ar_sync_pipeline.sync.load.examine_again import renew_reasons
from ar_sync_pipeline.sync.load.intakes import take_over
from ar_sync_pipeline.sync.load.load_plan import unknown_to
from ar_sync_pipeline.sync.load.media_of_load import recover_left
from ar_sync_pipeline.sync.load.receiver_ledger import open_ledger
from ar_sync_pipeline.sync.load.rejected_archives import (
    lost_in_quarantine,
    parked_by_gate,
)
from ar_sync_pipeline.sync.rejection import Rejection, reject
from ar_sync_pipeline.sync.stopwatch import Stopwatch


@dataclass(frozen=True)
class Admission:
    """Result of the admission of archives.

    Attributes:
        admitted: Verified archives that match, oldest snapshot first.
        rejected: Archives that this run parked or quarantined.
        warnings: What the operator should know of admitted archives.
        waiting_for_schema: All archives that are now parked by the gate, whichever run checked
            them.
        lost: All quarantined archives whose content no other archive has brought yet.
        seconds: Seconds for reading and checking.
    """

    admitted: tuple[Manifest, ...]
    rejected: tuple[Rejection, ...]
    warnings: tuple[str, ...] = ()
    waiting_for_schema: tuple[Rejection, ...] = ()
    lost: tuple[Rejection, ...] = ()
    seconds: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the admitted archives."""
        return tuple(manifest.name.applied for manifest in self.admitted)

    @property
    def parked(self) -> tuple[Rejection, ...]:
        """Archives that this run parked."""
        return tuple(rejection for rejection in self.rejected if rejection.waits)

    @property
    def quarantined(self) -> tuple[Rejection, ...]:
        """Archives that this run quarantined."""
        return tuple(rejection for rejection in self.rejected if not rejection.waits)


def admit_archives(
    settings: ReceiverSettings,
    catalog: Catalog,
    clock: Clock,
    kinds: Collection[ArchiveKind] = tuple(ArchiveKind),
    names: Collection[str] | None = None,
) -> Admission:
    """Check every waiting and parked archive; move those that cannot be loaded.

    Archives with an applied name that are not in the ledger are checked too, or wait again if they
    are of another kind: the receiver's database was restored from a backup. Archives that the
    delete guard parked wait for an operator's approval. First, what a killed load left in the media
    folder is finished or undone, since none of them may be loaded.

    Args:
        kinds: Kinds of archives to check; admissions of the other kind are forgotten. A parked
            archive that a newer one has overtaken is checked whatever its kind.
        names: Names of the archives to check, without the prefix of waiting ones; None: all.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached; nothing was moved.
        LockWaitError: Another session holds a lock on a table.
    """
    stopwatch, spool = Stopwatch(), settings.remote_bkp_fldr
    prepare_spool(spool)
    remove_dead_copies(spool)
    url = settings.database_url
    with (
        # It also finds who holds a lock that the admission does not get.
        end_when_blocking(url, settings.max_blocking_seconds, work="the admission") as watch,
        connect(url, application="admit") as connection,
        watch.over(connection),
    ):
        open_ledger(connection, spool, catalog)
        left = recover_left(connection, settings, catalog.name)
        receiver = describe_receiver(connection, settings, catalog, clock())
        old = _take_over(settings, receiver, clock, kinds)
        admission = _with_old(_sort_out(connection, spool, receiver, clock, kinds, names), old)
        unreported = _acknowledge(settings, connection, clock)
    stopwatch.lap("examine")
    return replace(
        admission,
        warnings=(*admission.warnings, *unreported, *([left] if left else [])),
        waiting_for_schema=parked_by_gate(settings),
        lost=lost_in_quarantine(settings, receiver.ledger),
        seconds=stopwatch.seconds["examine"],
    )


def _acknowledge(
    settings: ReceiverSettings, connection: Connection, clock: Clock
) -> tuple[str, ...]:
    """Report to the sender; on a full disk return a warning, since only loads free space."""
    try:
        acknowledge(settings, connection, clock)
    except SpoolAccessError as error:
        if not is_full(error):
            raise
        warning = (
            f"the disk of the spool is full, and the sender has no report yet ({error.problem}):"
            " the load deletes what retention allows and reports then."
        )
        return (warning,)
    return ()


def _take_over(
    settings: ReceiverSettings, receiver: Receiver, clock: Clock, kinds: Collection[ArchiveKind]
) -> TakenOver:
    context = IntakeContext(
        settings,
        receiver.catalog,
        receiver.tables,
        receiver.sender,
        receiver.ledger,
        receiver.has_content_of,
        clock,
    )
    return take_over(context, kinds)


def _with_old(admission: Admission, old: TakenOver) -> Admission:
    return replace(
        admission,
        rejected=(*old.rejected, *admission.rejected),
        warnings=(*old.warnings, *admission.warnings),
    )


@dataclass
class _Sorting:
    """Checks archives one by one, so that a problem of one does not affect the others."""

    connection: Connection
    spool: Path
    receiver: Receiver
    clock: Clock
    admitted: list[Manifest] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def check(self, archive: SpooledArchive) -> None:
        # Whoever uploaded it may remove it at any moment.
        with suppress(ArchiveGoneError):
            self._check(archive)

    def _check(self, archive: SpooledArchive) -> None:
        try:
            with open_archive(archive.path) as reader:
                if self._awaits_approval(archive, reader):
                    return
                warnings = examine(reader, self.receiver)
                if not _was_read_before(archive):
                    reader.read_to_the_end()
        except Exception as error:
            if not archive.path.exists():
                return
            fault = fault_of_archive(error, None)
            if fault is None:
                raise
            self.rejected.append(reject(self.spool, archive, fault, self.clock()))
        else:
            self.warnings += warnings
            self._admit(archive, reader)

    def _awaits_approval(self, archive: SpooledArchive, reader: ArchiveReader) -> bool:
        """Return whether the delete guard parked it, and the approved bytes are others."""
        approved = self.receiver.allowed.get(archive.name.applied)
        return approved not in (None, reader.manifest_sha256) and held_by_guard(archive)

    def _admit(self, archive: SpooledArchive, reader: ArchiveReader) -> None:
        if archive.state is not SpoolState.APPLIED:
            unpark(self.spool, archive)
        admit(self.connection, archive.name.applied, reader.manifest_sha256, self.clock())
        self.admitted.append(reader.manifest)

    def result(self) -> Admission:
        return Admission(tuple(self.admitted), tuple(self.rejected), tuple(self.warnings))


def _sort_out(
    connection: Connection,
    spool: Path,
    receiver: Receiver,
    clock: Clock,
    kinds: Collection[ArchiveKind],
    names: Collection[str] | None,
) -> Admission:
    sorting = _Sorting(connection, spool, receiver, clock)
    candidates = _candidates(spool, receiver)
    # A complete that an earlier run admitted and could not load must not stop a load of partials.
    of_kinds = [
        archive
        for archive in candidates
        if archive.name.kind in kinds or _waits_in_vain(archive, receiver)
    ]
    others = [archive for archive in candidates if archive.name.kind not in kinds]
    _let_wait(spool, others)
    renew_reasons(
        [one for one in others if one.state is SpoolState.PARKED and one not in of_kinds],
        receiver,
        clock(),
    )
    forget_admitted(connection, [archive.name.applied for archive in of_kinds])
    for archive in of_kinds:
        if names is None or archive.name.applied in names:
            sorting.check(archive)
    return sorting.result()


def _let_wait(spool: Path, others: Collection[SpooledArchive]) -> None:
    """Give applied names that the ledger does not know the waiting name, unread.

    The sensor of their kind sees by its name that an archive waits. One that waits already is not
    replaced by a file that nobody has read.
    """
    waiting = {archive.name for archive in others if archive.state is SpoolState.WAITING}
    for archive in others:
        if archive.state is SpoolState.APPLIED and archive.name not in waiting:
            with suppress(ArchiveGoneError):
                unpark(spool, archive)


def _candidates(spool: Path, receiver: Receiver) -> list[SpooledArchive]:
    known = {line.name for line in receiver.ledger}
    parked = [a for a in list_parked(spool) if not receiver.waits_for_a_person(a)]
    unknown = unknown_to(known, list_applied(spool))
    return sorted(
        [*list_waiting(spool), *parked, *unknown], key=lambda archive: archive.name.snapshot_at
    )


def _waits_in_vain(archive: SpooledArchive, receiver: Receiver) -> bool:
    """Return whether a newer one has overtaken a parked archive, which then costs no reading."""
    parked = archive.state is SpoolState.PARKED
    return parked and receiver.has_content_of(archive.name) and _was_read_before(archive)


def _was_read_before(archive: SpooledArchive) -> bool:
    reason = read_reason(archive.path) if archive.state is SpoolState.PARKED else None
    return reason is not None and reason.is_verified(archive.path)
