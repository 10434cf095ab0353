"""Errors that prevent a dump, or the load of an archive whose bytes are verified."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from shlex import quote

from ar_sync_pipeline.errors import (
    NO_ACTION,
    ArSyncError,
    ParkedError,
    TerminalError,
    TransientError,
)
from ar_sync_pipeline.files import may
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.states import SpooledArchive


class ForeignArchiveError(TerminalError):
    """The archive comes from another sender than the one that this receiver follows."""


class ReplacedSenderError(ForeignArchiveError):
    """The archive comes from the old system, whose sender was replaced: nothing of it is wanted."""


class OtherPairError(TerminalError):
    """The archive is for another pair of servers than this receiver's."""


class ArchiveParkedError(ParkedError):
    """The archive does not fit the receiver's schema yet."""


class FutureArchiveError(ParkedError):
    """The archive is dated later than the receiver's clock allows."""


class SetBackError(ParkedError):
    """The archive contradicts applied ones: the sender's database or clock was set back.

    Attributes:
        lacking: Nothing of its own: any later complete will do.

    Args:
        other: Name of the applied archive.
    """

    def __init__(self, archive: str, other: str) -> None:
        super().__init__(
            f"{archive} came after {other}, whose data the receiver has, and is of an earlier state"
            " of the sender's database: the sender's database was set back, and so was its scratch"
            " folder, or its clock was ahead when this archive was made",
            remedy=f"{NO_ACTION}: the sender's next complete replaces this archive and what a"
            " sender that was set back has lost; `complete_for_receiver` at the sender requests one"
            " within minutes after the next partial",
        )
        self.lacking = Lacking()


class StillArrivingError(ParkedError):
    """An archive of the old system is truncated, but so new that the rest may still come."""


class DeleteGuardError(ParkedError):
    """A load would delete suspiciously many rows; it needs an approval."""


class ScratchFullError(ParkedError):
    """The sender's scratch disk has no space for the archive."""


class ScratchMissingError(ParkedError):
    """The sender's scratch folder does not exist."""


class ScratchNotPrivateError(ParkedError):
    """Another account can change the content of the sender's scratch folder."""


class ScratchOfAnotherError(TerminalError):
    """The sender's scratch folder contains the journal of another receiver."""


class ScratchFileError(ParkedError):
    """A file in which the sender remembers what it sent cannot be read."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"the sender cannot read its file {path} ({reason})",
            remedy=_readable_again(path),
        )


class MediaJournalError(ParkedError):
    """The sender's journal of media files cannot be read or written."""


class MediaJournalBusyError(TransientError):
    """Another process holds the sender's journal of media files."""


class MediaJournalDamagedError(TransientError):
    """The sender's journal of media files was damaged and moved away; a new one is begun."""


class UnknownArchivesError(TransientError):
    """The receiver has archives that the sender's journal should know and does not."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} has archives of this sender that its journal does not know, or no checkpoint"
            " any more, and the link was down when the dump began: another sender publishes into"
            " this spool, this one was restored together with its scratch folder, or the spool was"
            " lost",
            remedy="the archive is not sent; start a complete_dump, which reads the receiver first",
        )


class MediaListTooLongError(TerminalError):
    """There are more media files than the receiver's version can read about in an archive."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"the archive lists {count:,} media files, too many for the manifest, and the"
            " receiver's version of ar_sync_pipeline does not read a longer list",
            remedy="bring the receiver to this side's version and let it load once; it then says"
            " what it reads, and the next archive is sent",
        )


class ManifestTooLongError(TerminalError):
    """The description of an archive is longer than a receiver reads."""

    def __init__(self, size_bytes: int, table: str, chunks: int) -> None:
        super().__init__(
            f"the manifest of the archive would have {size_bytes:,} bytes, more than a receiver"
            f" reads; table {table} takes most of it, with {chunks:,} chunks",
            remedy="give the largest tables to a pair of their own, with a catalog that names them",
        )


class BeyondFormatError(TerminalError):
    """The sender's database has something that the format of archives cannot describe."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(
            f"{what} cannot be described in an archive ({problem})",
            remedy="shorten that definition, or leave the table out by `exclude` of both catalogs",
        )


class NoArchiveError(TerminalError):
    """The name given to a command is not an archive."""


class NotGuardedError(TerminalError):
    """The archive to be allowed is parked for another reason than the delete guard."""


class ContentLackingError(ParkedError):
    """The receiver lacks rows or media files that a differential complete does not carry.

    Attributes:
        lacking: What the sender has to carry with its next complete.

    Args:
        fault: What fails without it; None: the lack itself is found.
    """

    def __init__(self, archive: str, lacking: Lacking, fault: ArSyncError | None = None) -> None:
        why = f"; without it, {fault.problem}" if fault else ""
        else_ = f"; if that changes nothing: {fault.remedy}" if fault else ""
        super().__init__(
            f"{archive} does not carry what this receiver lacks ({lacking.in_words}){why}",
            remedy=f"{NO_ACTION}: the sender carries it with its next complete, by itself;"
            f" `complete_for_receiver` at the sender requests one within minutes{else_}. If this"
            " receiver was not restored, find out who changed its rows or files",
        )
        self.lacking = lacking


class ReceiverIsSenderError(TerminalError):
    """The receiver's URL names the database that the archives come from."""


class HeldBackError(ParkedError):
    """An archive came so late that applying it would show readers an older state."""


class ReplayTooLongError(ParkedError):
    """More archives follow a late one than one transaction of the receiver's server can apply."""


class ArchiveRefusedError(Exception):
    """One archive of a load cannot be applied; raised only inside `sync`, which rejects it."""

    def __init__(self, archive: SpooledArchive, error: ArSyncError) -> None:
        super().__init__(str(error))
        self.archive = archive
        self.error = error


class WindowStillOpenError(TerminalError):
    """The window of a partial has not ended, by this side's clock, when it should have."""

    def __init__(self, end: datetime, now: datetime) -> None:
        super().__init__(
            f"the window ends at {end:%Y-%m-%d %H:%M:%S} UTC, and the clock says"
            f" {now:%Y-%m-%d %H:%M:%S}: it was set back, or a window of the future was requested",
            remedy="check the time synchronization of this machine; the schedule requests the"
            " window when it has ended",
        )


def _readable_again(path: Path) -> str:
    """Return how the sender can read a file again, whichever account runs this."""
    folder, us = path.parent, os.geteuid()
    owner = us
    with suppress(OSError):
        owner = folder.stat().st_uid
    is_closed = not may(folder, os.X_OK)
    if owner != us:
        return (
            f"run this as user {owner}, to whom {folder} belongs; only if the sender's account is"
            f" user {us}, run `chown {us} {quote(str(folder if is_closed else path))}` as root"
        )
    if is_closed:
        return f"run `chmod u=rwx {quote(str(folder))}`"
    file = quote(str(path))
    return (
        f"run `chown --reference={quote(str(folder))} {file}` as root, and `chmod u=rw {file}`; if"
        " that is impossible, remove it: the sender then forgets what the file says, such as what"
        " was sent (the next archives are larger), to which receiver, or which values had rules"
    )
