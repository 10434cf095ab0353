"""Check that a partial comes from the database that the receiver follows.

A partial holds changes of one database only. After rows of another one it would mix both, even if
they are equally named copies. So the first archive of another database must be a complete; a
sender that has moved needs one anyway. If two senders publish into one spool by accident, the
receiver has the state of one of them at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ar_sync_pipeline.archive.converted import comes_from_old_system
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.postgres.own_database import REMEDY, OwnDatabase
from ar_sync_pipeline.spool.chain import Source
from ar_sync_pipeline.sync.errors import ArchiveParkedError
from ar_sync_pipeline.sync.load.applied_chain import source_of

ONE_OF_TWO = (
    "two senders publish into this spool: stop the one that should not (`SELECT system_identifier"
    " FROM pg_control_system()` in its database tells which one it is), then launch `complete_dump`"
    " at the other"
)
"""Remedy, as the end of a sentence, if two senders have the name that the receiver accepts."""


def check_database(manifest: Manifest, ledger: Sequence[AppliedArchive]) -> None:
    """Check that a partial comes from the database of the newest applied complete.

    Before the first complete the newest applied archive decides.

    Raises:
        ArchiveParkedError: It comes from another one.
    """
    if any(line.archive_id == manifest.archive_id for line in ledger):
        return
    followed = followed_archive(ledger)
    if followed is None or _is_overtaken(manifest, followed):
        return
    check_source(manifest, source_of(followed), followed.name)


def _is_overtaken(manifest: Manifest, followed: AppliedArchive) -> bool:
    """Return whether an archive brings nothing, as older than the newest applied complete."""
    is_base = followed.kind is ArchiveKind.COMPLETE
    return is_base and manifest.snapshot_at <= followed.snapshot_at


def check_own_database(
    manifest: Manifest, here: OwnDatabase | None, ledger: Sequence[AppliedArchive]
) -> None:
    """Check that an archive does not come from the database into which it would be loaded.

    Raises:
        ArchiveParkedError: It does. It is valid, and is loaded once the URL is correct. What a
            second sender made of this database ends with the followed one's next complete.
    """
    followed = followed_archive(ledger)
    if followed is not None and _is_overtaken(manifest, followed):
        return
    if here is not None and here.is_of(manifest.sender, manifest.watermark.timeline):
        problem, remedy = own_database_problem(here, ledger)
        raise ArchiveParkedError(f"{problem}, from which the archive comes", remedy=remedy)


def own_database_problem(here: OwnDatabase, ledger: Sequence[AppliedArchive]) -> tuple[str, str]:
    """Return problem and remedy of archives that come from the receiver's own database.

    One whose ledger follows another database is the receiver's: the archives are a second sender's.
    """
    followed = followed_archive(ledger)
    source = source_of(followed) if followed is not None else None
    if source in (None, (here.system_identifier, here.database)):
        return here.problem, REMEDY
    problem = (
        f"another sender dumps this receiver's own database {here.database}"
        f" (cluster {here.system_identifier})"
    )
    remedy = (
        "stop the sender whose AR_SYNC_SENDER_DATABASE_URL is this database, or correct it; what is"
        f" parked is superseded by the next complete of database {source[1]}, which this receiver"
        " follows. If you changed AR_SYNC_RECEIVER_DATABASE_URL to this database, correct that"
    )
    return problem, remedy


def check_source(manifest: Manifest, source: Source | None, archive: str) -> None:
    """Check that a partial comes from a database.

    Args:
        source: The database.
        archive: Name of an archive that comes from it.

    Raises:
        ArchiveParkedError: It comes from another one.
    """
    own = source_in(manifest)
    if source is None or own is None or manifest.kind is ArchiveKind.COMPLETE or own == source:
        return
    raise ArchiveParkedError(
        f"{manifest.name.applied} comes from database {own[1]} of cluster {own[0]}, and {archive},"
        f" whose data the receiver has, from database {source[1]} of cluster {source[0]}",
        remedy="if the sender has moved, launch `complete_dump` there: the complete replaces the"
        f" data of the database before; if not, {ONE_OF_TWO}",
    )


def source_in(manifest: Manifest) -> Source | None:
    """Return the database that an archive comes from; None: the old system's."""
    sender = manifest.sender
    is_old = comes_from_old_system(manifest)
    return None if is_old else (sender.system_identifier, sender.database)


def followed_archive(ledger: Sequence[AppliedArchive]) -> AppliedArchive | None:
    """Return the archive that tells which database the receiver follows; None: none yet."""
    applied = [line for line in ledger if not line.superseded and source_of(line) is not None]
    completes = [line for line in applied if line.kind is ArchiveKind.COMPLETE]
    if completes:
        return max(completes, key=lambda line: line.snapshot_at)
    return max(applied, key=lambda line: line.applied_at, default=None)


def databases_of_completes(ledger: Sequence[AppliedArchive]) -> list[Source]:
    """Return the databases of the applied completes by snapshot, equal neighbors once."""
    completes = (
        line for line in ledger if line.kind is ArchiveKind.COMPLETE and not line.superseded
    )
    sources = map(source_of, sorted(completes, key=lambda line: line.snapshot_at))
    return [source for source, _ in groupby(source for source in sources if source is not None)]
