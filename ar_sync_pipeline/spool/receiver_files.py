"""Small JSON files that the receiver writes to ``receipts/`` for the sender."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar, Self

from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.spool.errors import ReceiptError, SpoolAccessError, access_to
from ar_sync_pipeline.spool.layout import open_folder
from ar_sync_pipeline.spool.signed_json import (
    MAX_BYTES,
    UNREADABLE_REMEDY,
    SignedJson,
    parse_signed,
)


class ReceiverFile(SignedJson):
    """A file of which a spool has one."""

    FILE: ClassVar[str]
    """Name of the file in ``receipts/``."""

    @classmethod
    def parse(cls, content: bytes, *, signing_keys: Collection[bytes]) -> Self:
        """Read the file from bytes of any origin.

        Raises:
            ReceiptError: The bytes are not such a file, or not signed with an accepted key.
        """
        return parse_signed(cls, content, what=f"{RECEIPTS}/{cls.FILE}", keys=signing_keys)

    @classmethod
    def read(cls, spool: Path, *, signing_keys: Collection[bytes]) -> Self | None:
        """Read the file; return None if none was written yet.

        Raises:
            ReceiptError: The file is damaged or badly signed.
        """
        content = read_small(spool, cls.FILE)
        return None if content is None else cls.parse(content, signing_keys=signing_keys)

    def write(self, spool: Path, *, signing_keys: Sequence[bytes]) -> None:
        """Write or replace the file atomically.

        Raises:
            SpoolMissingError: The spool does not exist.
            SpoolAccessError: The operating system refuses.
        """
        write_small(spool, self.FILE, self.signed(signing_keys))


def write_small(spool: Path, name: str, content: SignedJson) -> Path:
    """Write or replace a file in ``receipts/`` atomically.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    path = spool / RECEIPTS / name
    with open_folder(spool, RECEIPTS) as folder, access_to(path):
        # The sender's account reads it; the modes of the folders keep others out.
        folder.write(name, content.to_bytes(), 0o644)
    return path


def read_small(spool: Path, name: str) -> bytes | None:
    """Read a file in ``receipts/``; return None if there is none, or no such folder yet.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses to open the folder.
        ReceiptError: The file is not a regular file, is too large, or cannot be read.
    """
    try:
        with open_folder(spool, RECEIPTS) as folder:
            return _read(folder, name, spool)
    except SpoolAccessError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _read(folder: HeldFolder, name: str, spool: Path) -> bytes | None:
    try:
        return folder.read(name, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReceiptError(
            f"{spool / RECEIPTS / name} cannot be read ({error.strerror})",
            remedy=UNREADABLE_REMEDY,
        ) from error
