"""Receipts, from which the sender learns the state of an archive.

Each archive has one small JSON file, ``receipts/<applied name>.json``, with its latest state. The
sender reads it over SFTP, so `parse_receipt` treats its bytes as hostile.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import StringConstraints, field_validator

from ar_sync_pipeline.archive.manifest_fields import Instant
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.layout import open_folder, regular_files
from ar_sync_pipeline.spool.receiver_files import read_small, write_small
from ar_sync_pipeline.spool.signed_json import SignedJson, parse_signed

RECEIPT_SUFFIX = ".json"
REMEMBERED = timedelta(days=8)
"""Time for which a sender remembers its archives, and a receiver what it answered about them."""
_Text = Annotated[str, StringConstraints(max_length=4096)]


class ReceiptState(StrEnum):
    """State of an archive, as reported to the sender."""

    APPLIED = "applied"
    PARKED = "parked"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


class Receipt(SignedJson):
    """Report of the receiver on one archive.

    Attributes:
        archive: Applied name of the archive.
        archive_id: Id of the archive; None if its manifest could not be read.
        reason: Reason why the archive is parked or quarantined; empty otherwise.
        at: Time when the archive reached the state.
        lacking: What the receiver lacks of a parked differential complete, or what an applied one
            could not verify: the next complete carries it whole. Of a parked partial, the table
            of which only a complete tells what became of its rows. None otherwise.
    """

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"lacking"})

    archive: Annotated[str, StringConstraints(max_length=200)]
    archive_id: UUID | None = None
    state: ReceiptState
    reason: _Text = ""
    remedy: _Text = ""
    at: Instant
    lacking: Lacking | None = None

    @field_validator("archive")
    @classmethod
    def _is_an_archive(cls, archive: str) -> str:
        if archive.startswith(WAITING_PREFIX) or ArchiveName.parse(archive) is None:
            raise ValueError("is not the name of an archive")
        return archive

    @property
    def name(self) -> ArchiveName:
        """Parsed name of the archive."""
        name = ArchiveName.parse(self.archive)
        assert name is not None  # noqa: S101  the validator has parsed it
        return name


def receipt_filename(archive: ArchiveName) -> str:
    """Return the file name of an archive's receipt."""
    return archive.applied + RECEIPT_SUFFIX


def parse_receipt(content: bytes, *, signing_keys: Collection[bytes]) -> Receipt:
    """Read a receipt from bytes of any origin.

    Raises:
        ReceiptError: The bytes are not a receipt, or not signed with an accepted key.
    """
    return parse_signed(Receipt, content, what="a receipt", keys=signing_keys)


def write_receipt(spool: Path, receipt: Receipt, *, signing_keys: Sequence[bytes]) -> Path:
    """Write or replace the receipt of an archive atomically.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    return write_small(spool, receipt_filename(receipt.name), receipt.signed(signing_keys))


def list_receipts(spool: Path) -> list[ArchiveName]:
    """Return the names of archives that have a receipt, oldest snapshot first."""
    names = []
    for entry in regular_files(spool, RECEIPTS):
        name = ArchiveName.parse(entry.name.removesuffix(RECEIPT_SUFFIX))
        if name is not None and entry.name == receipt_filename(name):
            names.append(name)
    return sorted(names, key=lambda name: (name.snapshot_at, name.kind))


def read_receipt(
    spool: Path, archive: ArchiveName, *, signing_keys: Collection[bytes]
) -> Receipt | None:
    """Return the receipt of an archive; None if there is none.

    Raises:
        ReceiptError: The file is damaged or badly signed.
    """
    content = read_small(spool, receipt_filename(archive))
    return None if content is None else parse_receipt(content, signing_keys=signing_keys)


def clean_receipts(
    spool: Path, *, older_than: datetime, kept: Container[str] = ()
) -> list[ArchiveName]:
    """Delete the receipts of archives with older snapshots, and return their names.

    Args:
        kept: Applied names of archives whose receipts stay: the clock of either server may be
            wrong, and an archive may be in the spool for longer.
    """
    old = [
        name
        for name in list_receipts(spool)
        if name.snapshot_at < older_than and name.applied not in kept
    ]
    with open_folder(spool, RECEIPTS) as folder:
        for name in old:
            folder.remove(receipt_filename(name))
    return old
