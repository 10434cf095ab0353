"""Receipts: by which the sender learns what became of an archive (design, section 6).

One small JSON file for each archive, ``receipts/<archive's applied name>.json``; the last state
wins. The sender reads them over SFTP, so `parse_receipt` treats its bytes as hostile.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Self
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)

from ar_sync_pipeline.archive.manifest import (
    Sha256,
    Watermark,
)
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.spool.durable_files import write_atomically
from ar_sync_pipeline.spool.errors import ReceiptError, access_to
from ar_sync_pipeline.spool.layout import RECEIPTS, require_spool

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

RECEIPT_SUFFIX = ".json"
MAX_RECEIPT_BYTES = 64 * 1024
_Text = Annotated[str, StringConstraints(max_length=4096)]


class ReceiptState(StrEnum):
    """What became of an archive."""

    APPLIED = "applied"
    PARKED = "parked"
    QUARANTINED = "quarantined"
    SUPERSEDED = "superseded"


class Receipt(BaseModel):
    """What the receiver says of one archive.

    Attributes:
        archive: the archive's name, without the prefix of waiting ones.
        archive_id: None if its manifest could not be read.
        reason: why it is parked or quarantined; empty otherwise.
        at: when the state was reached.
        data_until: the end of the unbroken chain of archives; None without a complete.
        watermark: the archive's own snapshot; None if its manifest could not be read.
        hmac: HMAC-SHA256 over the receipt without this field, when signed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Annotated[int, Field(ge=1, le=1)] = 1
    archive: Annotated[str, StringConstraints(max_length=200)]
    archive_id: UUID | None = None
    state: ReceiptState
    reason: _Text = ""
    remedy: _Text = ""
    at: AwareDatetime
    data_until: AwareDatetime | None = None
    watermark: Watermark | None = None
    hmac: Sha256 | None = None

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

    def signature(self, key: bytes) -> str:
        """HMAC-SHA256 of the receipt without its ``hmac`` field."""
        content = self.model_dump(mode="json", exclude={"hmac"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hmac.new(key, canonical, hashlib.sha256).hexdigest()

    def signed(self, key: bytes) -> Self:
        """A copy that carries its signature."""
        return self.model_copy(update={"hmac": self.signature(key)})


def receipt_filename(archive: ArchiveName) -> str:
    """The file name of an archive's receipt."""
    return archive.applied + RECEIPT_SUFFIX


def parse_receipt(content: bytes, *, signing_key: bytes | None = None) -> Receipt:
    """Read a receipt from bytes of any origin.

    Raises:
        ReceiptError: it is not a receipt, or, where a key is shared, not signed with it.
    """
    remedy = "delete the receipt; the receiver's next run writes it again"
    if len(content) > MAX_RECEIPT_BYTES:
        raise ReceiptError(f"a receipt has {len(content)} bytes", remedy=remedy)
    try:
        receipt = Receipt.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "JSON"
        raise ReceiptError(
            f"a receipt cannot be read ({place}: {first['msg']})", remedy=remedy
        ) from None
    if signing_key is not None and not hmac.compare_digest(
        receipt.hmac or "", receipt.signature(signing_key)
    ):
        raise ReceiptError(
            f"the receipt of {receipt.archive} is not signed with the shared key",
            remedy="give both sides the same AR_SYNC_SIGNING_KEY",
        )
    return receipt


def write_receipt(spool: Path, receipt: Receipt, *, signing_key: bytes | None = None) -> Path:
    """Write or replace an archive's receipt; a reader never sees a part of it.

    Raises:
        SpoolMissingError: the spool is not there.
        SpoolAccessError: the operating system refuses.
    """
    require_spool(spool)
    signed = receipt.signed(signing_key) if signing_key is not None else receipt
    path = spool / RECEIPTS / receipt_filename(receipt.name)
    with access_to(path):
        write_atomically(path, signed.model_dump_json().encode() + b"\n")
    return path


def list_receipts(spool: Path) -> list[ArchiveName]:
    """Which archives have a receipt, oldest snapshot first."""
    require_spool(spool)
    names = []
    with access_to(spool / RECEIPTS):
        for path in (spool / RECEIPTS).iterdir():
            name = ArchiveName.parse(path.name.removesuffix(RECEIPT_SUFFIX))
            if name is not None and path.name == receipt_filename(name):
                names.append(name)
    return sorted(names, key=lambda name: (name.snapshot_at, name.kind))


def read_receipt(
    spool: Path, archive: ArchiveName, *, signing_key: bytes | None = None
) -> Receipt | None:
    """An archive's receipt; None if there is none.

    Raises:
        ReceiptError: the file is damaged or badly signed.
    """
    path = spool / RECEIPTS / receipt_filename(archive)
    with access_to(path):
        try:
            with path.open("rb") as file:
                content = file.read(MAX_RECEIPT_BYTES + 1)
        except FileNotFoundError:
            return None
    return parse_receipt(content, signing_key=signing_key)


def clean_receipts(spool: Path, *, older_than: datetime) -> list[ArchiveName]:
    """Delete receipts of archives whose snapshot is older; never the newest applied one.

    That one holds the watermark from which the sender's next partial starts.
    """
    names = list_receipts(spool)
    newest_applied = next(
        (name for name in reversed(names) if _state_of(spool, name) is ReceiptState.APPLIED), None
    )
    old = [name for name in names if name.snapshot_at < older_than and name != newest_applied]
    with access_to(spool / RECEIPTS):
        for name in old:
            (spool / RECEIPTS / receipt_filename(name)).unlink(missing_ok=True)
    return old


def _state_of(spool: Path, archive: ArchiveName) -> ReceiptState | None:
    try:
        receipt = read_receipt(spool, archive)
    except ReceiptError:
        return None
    return receipt.state if receipt else None
