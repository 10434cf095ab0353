"""Receipts: by which the sender learns what became of an archive (design, section 6).

One small JSON file for each archive, ``receipts/<archive's applied name>.json``; the last state
wins. The sender reads them over SFTP, so `parse_receipt` treats its bytes as hostile.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from pydantic import StringConstraints, field_validator

from ar_sync_pipeline.archive.manifest import Instant
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.spool.errors import ReceiptError, access_to
from ar_sync_pipeline.spool.layout import RECEIPTS, open_folder, regular_files
from ar_sync_pipeline.spool.signed_json import (
    MAX_BYTES,
    UNREADABLE_REMEDY,
    SignedJson,
    parse_signed,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from pathlib import Path

RECEIPT_SUFFIX = ".json"
_Text = Annotated[str, StringConstraints(max_length=4096)]


class ReceiptState(StrEnum):
    """What became of an archive."""

    APPLIED = "applied"
    PARKED = "parked"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


class Receipt(SignedJson):
    """What the receiver says of one archive.

    Attributes:
        archive: the archive's name, without the prefix of waiting ones.
        archive_id: None if its manifest could not be read.
        reason: why it is parked or quarantined; empty otherwise.
        at: when the state was reached.
    """

    archive: Annotated[str, StringConstraints(max_length=200)]
    archive_id: UUID | None = None
    state: ReceiptState
    reason: _Text = ""
    remedy: _Text = ""
    at: Instant

    @field_validator("archive")
    @classmethod
    def _is_an_archive(cls, archive: str) -> str:
        if archive.startswith(WAITING_PREFIX) or ArchiveName.parse(archive) is None:
            raise ValueError("is not the name of an archive")
        return archive

    @property
    def name(self) -> ArchiveName:
        """The archive's name, parsed."""
        name = ArchiveName.parse(self.archive)
        assert name is not None  # noqa: S101  the validator has parsed it
        return name


def receipt_filename(archive: ArchiveName) -> str:
    """Return the file name of an archive's receipt."""
    return archive.applied + RECEIPT_SUFFIX


def parse_receipt(content: bytes, *, signing_keys: Collection[bytes] = ()) -> Receipt:
    """Read a receipt from bytes of any origin.

    Raises:
        ReceiptError: it is not a receipt, or, where keys are shared, not signed with one.
    """
    return parse_signed(Receipt, content, what="a receipt", keys=signing_keys)


def write_receipt(spool: Path, receipt: Receipt, *, signing_keys: Sequence[bytes] = ()) -> Path:
    """Write or replace an archive's receipt; a reader never sees a part of it.

    Raises:
        SpoolMissingError: the spool is not there.
        SpoolAccessError: the operating system refuses.
    """
    return write_small(spool, receipt_filename(receipt.name), receipt.signed(signing_keys))


def list_receipts(spool: Path) -> list[ArchiveName]:
    """Return which archives have a receipt, oldest snapshot first."""
    names = []
    for entry in regular_files(spool, RECEIPTS):
        name = ArchiveName.parse(entry.name.removesuffix(RECEIPT_SUFFIX))
        if name is not None and entry.name == receipt_filename(name):
            names.append(name)
    return sorted(names, key=lambda name: (name.snapshot_at, name.kind))


def read_receipt(
    spool: Path, archive: ArchiveName, *, signing_keys: Collection[bytes] = ()
) -> Receipt | None:
    """Return an archive's receipt; None if there is none.

    Raises:
        ReceiptError: the file is damaged or badly signed.
    """
    content = read_small(spool, receipt_filename(archive))
    return None if content is None else parse_receipt(content, signing_keys=signing_keys)


def clean_receipts(spool: Path, *, older_than: datetime) -> list[ArchiveName]:
    """Delete receipts of archives whose snapshot is older; the sender has read them long ago."""
    old = [name for name in list_receipts(spool) if name.snapshot_at < older_than]
    with open_folder(spool, RECEIPTS) as folder:
        for name in old:
            folder.remove(receipt_filename(name))
    return old


def write_small(spool: Path, name: str, content: SignedJson) -> Path:
    """Write or replace a file of ``receipts/``; the errors are those of `write_receipt`."""
    path = spool / RECEIPTS / name
    with open_folder(spool, RECEIPTS) as folder, access_to(path):
        folder.write(name, content.to_bytes())
    return path


def read_small(spool: Path, name: str) -> bytes | None:
    """Read a file of ``receipts/``; None if there is none.

    Raises:
        ReceiptError: it is no regular file, too large, or cannot be read.
    """
    with open_folder(spool, RECEIPTS) as folder:
        try:
            return folder.read(name, MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ReceiptError(
                f"{spool / RECEIPTS / name} cannot be read ({error.strerror})",
                remedy=UNREADABLE_REMEDY,
            ) from error
