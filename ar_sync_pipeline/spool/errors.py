"""What can go wrong in the spool."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SpoolMissingError(ParkedError):
    """The spool is not there, for example because its file system is not mounted."""

    def __init__(self, spool: Path) -> None:
        super().__init__(
            f"the spool {spool} does not exist",
            remedy="mount or make the folder that AR_SYNC_REMOTE_BKP_FLDR names",
        )


class SpoolAccessError(ParkedError):
    """The operating system refuses to read or change something in the spool."""


class SpoolLayoutError(TerminalError):
    """The spool's folders cannot work as a queue, for example because they are on two disks."""


class ArchiveGoneError(TransientError):
    """An archive is neither where it was nor where it was to go."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} vanished from {path.parent}",
            remedy="the next run looks at the spool again; do not move archives by hand",
        )


class ReceiptError(TerminalError):
    """A receipt cannot be read, or is not signed with the shared key."""


@contextmanager
def access_to(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise SpoolAccessError(
            f"{path} cannot be used ({error.strerror or error})",
            remedy="see to the permissions and the free space of the spool; it is tried again",
        ) from error
