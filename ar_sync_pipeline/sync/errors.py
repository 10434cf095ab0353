"""What can keep an archive from being loaded although its bytes are sound."""

from __future__ import annotations

from ar_sync_pipeline.errors import ArSyncError, ParkedError, TerminalError
from ar_sync_pipeline.spool.states import SpooledArchive


class ForeignArchiveError(TerminalError):
    """The archive was made by another sender than the one this receiver follows."""


class OtherPairError(TerminalError):
    """The archive is for another pair of servers than the one this receiver is of."""


class ArchiveParkedError(ParkedError):
    """The archive does not fit the receiver's schema yet."""


class FutureArchiveError(ParkedError):
    """The archive is dated later than the receiver's clock allows."""


class StillArrivingError(ParkedError):
    """An old archive is cut, and was written to so lately that its rest may come."""


class DeleteGuardError(ParkedError):
    """A load would delete suspiciously many rows; a person has to allow it."""


class ScratchFullError(ParkedError):
    """The sender's scratch disk has no room for the archive."""


class ScratchNotPrivateError(ParkedError):
    """Another account may change what is in the sender's scratch folder."""


class ScratchOfAnotherError(TerminalError):
    """The sender's scratch folder holds the journal of another receiver."""


class MediaJournalError(ParkedError):
    """The sender's journal of media files cannot be read or written."""


class NoArchiveError(TerminalError):
    """What an operator named is not an archive."""


class NotGuardedError(TerminalError):
    """What an operator wants to allow is parked for another reason than the delete guard."""


class HeldBackError(ParkedError):
    """An archive came so late that applying it would take readers back in time."""


class ArchiveRefusedError(Exception):
    """One archive of a load cannot be applied; raised inside `sync` only, where it is put aside."""

    def __init__(self, archive: SpooledArchive, error: ArSyncError) -> None:
        super().__init__(str(error))
        self.archive = archive
        self.error = error
