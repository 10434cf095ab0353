"""The first step of a load: which of the waiting archives may be loaded.

Every archive is read to its last byte before anything is changed. One that can never be applied
goes to quarantine, one that does not fit yet is parked, both with their reason beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.errors import NewerFormatError
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity, TypeDefinition
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.old_format import OLD_SYSTEM, comes_from_old_system
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ParkedError, TerminalError
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.gate import (
    missing_migrations,
    missing_rights,
    schema_mismatches,
)
from ar_sync_pipeline.postgres.ledger import (
    AppliedArchive,
    claim_ledger,
    read_allowed,
    read_ledger,
    read_sender,
)
from ar_sync_pipeline.postgres.schema_facts import read_migrations, read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.postgres.type_facts import read_types
from ar_sync_pipeline.settings import OldArchives, ReceiverSettings, SchemaDrift
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_parked,
    list_waiting,
    park,
    quarantine,
    unpark,
)
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ForeignArchiveError
from ar_sync_pipeline.sync.load.acknowledge import acknowledge
from ar_sync_pipeline.sync.load.dates import check_date
from ar_sync_pipeline.sync.load.delete_guard import kept_by_guard
from ar_sync_pipeline.sync.load.load_plan import unknown_to
from ar_sync_pipeline.sync.load.put_aside import PutAside, lost_in_quarantine, parked_by_gate
from ar_sync_pipeline.sync.old_system.old_archives import (
    OldArchiveIntake,
    TakenOver,
    check_old_system,
)
from ar_sync_pipeline.sync.refusal import Refusal
from ar_sync_pipeline.sync.stopwatch import Stopwatch


@dataclass(frozen=True)
class Admission:
    """What became of the archives that were looked at.

    Attributes:
        admitted: sound archives that fit, oldest snapshot first.
        parked: by this run, as `quarantined`.
        warnings: what the operator should know of admitted ones.
        waiting_for_schema: all that are parked for it now, whichever run looked at them.
        lost: all in quarantine of which nothing has yet brought what they held.
        seconds: that reading and judging took.
    """

    admitted: tuple[Manifest, ...]
    parked: tuple[Refusal, ...]
    quarantined: tuple[Refusal, ...]
    warnings: tuple[str, ...] = ()
    waiting_for_schema: tuple[PutAside, ...] = ()
    lost: tuple[PutAside, ...] = ()
    seconds: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The admitted archives' names."""
        return tuple(manifest.name.applied for manifest in self.admitted)


@dataclass(frozen=True)
class Receiver:
    """What archives are held against."""

    catalog: Catalog
    tables: dict[str, TableFacts]
    types: tuple[TypeDefinition, ...]
    migrations: tuple[str, ...]
    sender: SenderIdentity | None
    sender_name: str
    ignores_drift: bool
    ledger: Sequence[AppliedArchive]
    allowed: frozenset[str]
    now: datetime
    takes_old: bool = False

    def waits_for_a_person(self, archive: SpooledArchive) -> bool:
        """Whether the delete guard parked it, nobody has allowed it, and nothing overtook it."""
        overtaken = any(
            line.kind is ArchiveKind.COMPLETE
            and not line.superseded
            and line.snapshot_at > archive.name.snapshot_at
            for line in self.ledger
        )
        return kept_by_guard(archive) and archive.name.applied not in self.allowed and not overtaken


def admit_archives(
    settings: ReceiverSettings,
    catalog: Catalog,
    clock: Clock,
    kinds: Collection[ArchiveKind] = tuple(ArchiveKind),
) -> Admission:
    """Look at every waiting and parked archive; move those that cannot be loaded out of the way.

    Also at archives that bear an applied name and that the ledger does not hold: the receiver's
    database was restored from a backup. Those that the delete guard parked are left to an
    operator's word.

    Args:
        kinds: which archives to look at.

    Raises:
        DatabaseUnreachableError: the receiver's database is not there; nothing was moved.
    """
    watch, spool = Stopwatch(), settings.remote_bkp_fldr
    prepare_spool(spool)
    url = settings.receiver_database_url.get_secret_value()
    with connect(url, application="admit") as connection:
        claim_ledger(connection, catalog.name)
        receiver = describe_receiver(connection, settings, catalog, clock())
        old = _take_over(settings, receiver, clock, kinds)
        admission = _with_old(_sort_out(settings, receiver, clock, kinds), old)
        acknowledge(settings, connection, clock)
    watch.lap("examine")
    return replace(
        admission,
        waiting_for_schema=parked_by_gate(spool),
        lost=lost_in_quarantine(spool, receiver.ledger),
        seconds=watch.seconds["examine"],
    )


def _take_over(
    settings: ReceiverSettings, receiver: Receiver, clock: Clock, kinds: Collection[ArchiveKind]
) -> TakenOver:
    intake = OldArchiveIntake(
        settings, receiver.catalog, receiver.tables, receiver.sender, receiver.ledger, clock
    )
    return intake.take_over(kinds)


def _with_old(admission: Admission, old: TakenOver) -> Admission:
    return replace(
        admission,
        parked=(*old.parked, *admission.parked),
        quarantined=(*old.quarantined, *admission.quarantined),
        warnings=(*old.warnings, *admission.warnings),
    )


def _sort_out(
    settings: ReceiverSettings,
    receiver: Receiver,
    clock: Clock,
    kinds: Collection[ArchiveKind],
) -> Admission:
    admitted: list[Manifest] = []
    parked: list[Refusal] = []
    quarantined: list[Refusal] = []
    warnings: list[str] = []
    spool = settings.remote_bkp_fldr
    for archive in _candidates(spool, receiver):
        if archive.name.kind not in kinds:
            continue
        try:
            manifest = examine(
                archive.path, settings, receiver, warnings, sound=_was_read_before(archive)
            )
        except NewerFormatError as error:
            # An upgrade of this side makes it applicable.
            park(spool, archive, error, at=clock())
            parked.append(Refusal(archive.path.name, error))
        except TerminalError as error:
            quarantine(spool, archive, error, at=clock())
            quarantined.append(Refusal(archive.path.name, error))
        except ParkedError as error:
            park(spool, archive, error, at=clock())
            parked.append(Refusal(archive.path.name, error))
        else:
            if archive.state is not SpoolState.APPLIED:
                unpark(spool, archive)
            admitted.append(manifest)
    return Admission(tuple(admitted), tuple(parked), tuple(quarantined), tuple(warnings))


def _candidates(spool: Path, receiver: Receiver) -> list[SpooledArchive]:
    known = {line.name for line in receiver.ledger}
    parked = [a for a in list_parked(spool) if not receiver.waits_for_a_person(a)]
    unknown = unknown_to(known, list_applied(spool))
    return sorted(
        [*list_waiting(spool), *parked, *unknown], key=lambda archive: archive.name.snapshot_at
    )


def describe_receiver(
    connection: Connection, settings: ReceiverSettings, catalog: Catalog, now: datetime
) -> Receiver:
    """What of this receiver decides whether an archive may be loaded."""
    tables = read_tables(connection, catalog.schema_name, catalog.travels)
    return Receiver(
        catalog,
        tables,
        read_types(connection, tables),
        read_migrations(connection, catalog.schema_name, catalog.django_app),
        read_sender(connection),
        settings.sender_name,
        settings.schema_drift is SchemaDrift.IGNORE,
        read_ledger(connection),
        read_allowed(connection),
        now,
        settings.old_archives is OldArchives.ACCEPT,
    )


def examine(
    path: Path,
    settings: ReceiverSettings,
    receiver: Receiver,
    warnings: list[str],
    *,
    sound: bool = False,
) -> Manifest:
    """Hold one archive against its own manifest and against the receiver.

    Args:
        warnings: where to add what an operator should know of an archive that may be loaded.
        sound: whether all of it was read before; then its manifest is enough, and the load holds
            every byte that it uses against it once more.

    Raises:
        CorruptArchiveError: a byte or the signature is wrong.
        ForeignArchiveError: another sender made it.
        ArchiveParkedError: it does not fit the receiver's schema yet.
        FutureArchiveError: it is dated in the future.
    """
    keys = settings.signing_keys.accepted(receiver.now)
    with open_archive(path) as reader:
        reader.check_signature(keys)
        manifest = reader.manifest
    _check_identity(manifest, receiver)
    check_date(manifest, receiver.ledger, receiver.now)
    warnings += _check_schema(manifest, receiver)
    return manifest if sound else verify_archive(path, signing_keys=keys)


def _was_read_before(archive: SpooledArchive) -> bool:
    reason = read_reason(archive.path) if archive.state is SpoolState.PARKED else None
    return reason is not None and reason.vouches_for(archive.path)


def _check_identity(manifest: Manifest, receiver: Receiver) -> None:
    sender = manifest.sender
    if comes_from_old_system(manifest):
        check_old_system(manifest.name.applied, receiver.sender, accepted=receiver.takes_old)
        return
    if receiver.sender_name:
        known = sender.name == receiver.sender_name
    else:
        # The first archive of the new sender takes over from the old system.
        known = receiver.sender in (None, OLD_SYSTEM, sender)
    if not known:
        raise ForeignArchiveError(
            f"{manifest.name.applied} comes from another sender"
            f" (cluster {sender.system_identifier}, database {sender.database},"
            f" name {sender.name or 'not set'})",
            remedy="if the sender really moved, give both sides the same AR_SYNC_SENDER_NAME",
        )


def _check_schema(manifest: Manifest, receiver: Receiver) -> Sequence[str]:
    mismatches = missing_migrations(manifest, receiver.migrations)
    mismatches += schema_mismatches(manifest, receiver.catalog, receiver.tables, receiver.types)
    if mismatches and not receiver.ignores_drift:
        raise ArchiveParkedError(
            f"{manifest.name.applied} waits for the receiver's schema ({'; '.join(mismatches)})",
            remedy="migrate the receiver; the archive is then loaded by itself",
        )
    lacking = missing_rights(manifest, receiver.tables)
    if lacking:
        raise ArchiveParkedError(
            f"{manifest.name.applied} waits for rights of the receiver's role"
            f" ({'; '.join(lacking)})",
            remedy="run deploy/sql/receiver_role.sql at the receiver's database, with `schema`,"
            " `tables` and `exclude` of the catalog as its variables; the archive is then loaded by"
            " itself",
        )
    return mismatches
