"""Errors of archives.

::

    CorruptArchiveError (terminal)     the bytes differ from the manifest
    ├── NewerFormatError (waits)       a newer version of the product made it
    └── UnsignedArchiveError           the required signature is missing or wrong
    UnreadableArchiveError (parked)    the file cannot be opened or read at all
    MemberChangedError (transient)     a file changed on disk while its archive was being read
"""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.errors import ParkedError, RetryPolicy, TerminalError, TransientError
from ar_sync_pipeline.visible_text import visible

_LONGEST_QUOTE = 200
USUAL_REMEDY = (
    "the next partial or complete carries what it held; if it happens again, check the disk and the"
    " memory of both servers"
)


def printable(text: str) -> str:
    """Return text from an archive as part of a message: visible and truncated."""
    return visible(text, _LONGEST_QUOTE)


class CorruptArchiveError(TerminalError):
    """An archive can never be applied.

    Args:
        fault: What is wrong, as a clause without a full stop.
        archive: File name of the archive, if known.
        member: Name of the member that has the fault, if any.
        offset: Byte of the archive at which the fault was found.
        remedy: What to do, if not the usual remedy.
    """

    def __init__(
        self,
        fault: str,
        *,
        archive: str = "",
        member: str | None = None,
        offset: int | None = None,
        remedy: str = USUAL_REMEDY,
    ) -> None:
        place = [f"archive {printable(archive)}" if archive else "the archive"]
        if member is not None:
            place.append(f"member {printable(member)}")
        if offset is not None:
            place.append(f"byte {offset}")
        super().__init__(f"{', '.join(place)}: {fault}", remedy=remedy)
        self.member = member
        self.offset = offset


class NewerFormatError(CorruptArchiveError):
    """The format number of an archive is newer than this version, which an upgrade can read."""

    policy = RetryPolicy.WAIT

    def __init__(self, found: int, known: int, *, archive: str = "") -> None:
        super().__init__(
            f"made by a newer version, in format {printable(str(found))} where this one reads"
            f" up to {known}",
            archive=archive,
            remedy="bring this side to the sender's version of ar_sync_pipeline",
        )


class UnsignedArchiveError(CorruptArchiveError):
    """A signing key is set, and the archive is not signed with it."""

    def __init__(self, fault: str, *, archive: str = "") -> None:
        super().__init__(
            fault, archive=archive, remedy="set the same AR_SYNC_SIGNING_KEY on both sides"
        )


class UnreadableArchiveError(ParkedError):
    """The file of an archive cannot be opened or read."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"archive {printable(str(path))} cannot be read ({cause.strerror or cause})",
            remedy="check the path, its permissions and the disk",
        )


class MemberChangedError(TransientError):
    """A file of an archive changed after it was hashed."""

    def __init__(self, member: str, path: Path, change: str) -> None:
        super().__init__(
            f"{printable(str(path))} ({printable(member)}) changed while it was being"
            f" archived: {change}",
            remedy="build the archive again from the files as they are now",
        )
        self.member = member
