"""Errors of the spool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class SpoolMissingError(ParkedError):
    """The spool does not exist, for example because its file system is not mounted."""

    def __init__(self, spool: Path) -> None:
        super().__init__(
            f"the spool {spool} does not exist",
            remedy="mount or make the folder that AR_SYNC_REMOTE_BKP_FLDR names",
        )


class SpoolAccessError(ParkedError):
    """The operating system refuses to read or change a file or folder of the spool."""


class SpoolLayoutError(TerminalError):
    """The folders of the spool cannot form a queue, for example because they are on two disks."""


class ArchiveGoneError(TransientError):
    """An archive is neither in its old nor in its new folder."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path.name} disappeared from {path.parent}",
            remedy="the next run lists the spool again; move archives only while no load works",
        )


class ReceiptError(TerminalError):
    """A receipt cannot be read, or is not signed with the shared key."""


@contextmanager
def access_to(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one that names ``path``."""
    try:
        yield
    except OSError as error:
        raise SpoolAccessError(
            f"{path} cannot be used ({error.strerror or error})",
            remedy="check the permissions and the free space of the spool; it is tried again",
        ) from error
