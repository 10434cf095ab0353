"""Checkpoint of the receiver: the point up to which it has the sender's data, in one small file.

The receiver derives it from the ledger and writes it to ``receipts/`` after each change of state.
The sender reads it over SFTP: its next partial contains every change since this point.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.manifest_fields import Instant
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.spool.receipts import read_small, write_small
from ar_sync_pipeline.spool.signed_json import SignedJson, parse_signed

CHECKPOINT_FILE = "position.json"
MOST_PARKED = 20
MOST_UNVERIFIED = 5
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class ParkedArchive(BaseModel):
    """A parked archive and its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: Annotated[str, StringConstraints(max_length=200)]
    reason: Annotated[str, StringConstraints(max_length=1000)]


class Checkpoint(SignedJson):
    """State of the receiver.

    Attributes:
        at: Time when the checkpoint was written.
        watermark: Snapshot at the end of the unbroken chain of applied archives; None while no
            complete has been applied.
        gaps: Number of known gaps after the watermark, ``holes`` in the file.
        waiting: Number of archives that are not applied yet.
        parked: Parked archives, oldest first, at most `MOST_PARKED`.
        quarantined: Number of quarantined archives.
        unverified: Tables whose rows DDL at the receiver has changed, until a complete is applied;
            at most `MOST_UNVERIFIED`.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    at: Instant
    watermark: Watermark | None = None
    gaps: _Count = Field(default=0, alias="holes")
    waiting: _Count = 0
    parked: Annotated[tuple[ParkedArchive, ...], Field(max_length=MOST_PARKED)] = ()
    quarantined: _Count = 0
    unverified: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=130)], ...],
        Field(max_length=MOST_UNVERIFIED),
    ] = ()

    @model_serializer(mode="wrap")
    def _without_unverified(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A sender of an earlier version refuses the whole file for a field that it lacks."""
        return {name: value for name, value in write(self).items() if name != "unverified" or value}


def parse_checkpoint(content: bytes, *, signing_keys: Collection[bytes] = ()) -> Checkpoint:
    """Read a checkpoint from bytes of any origin.

    Raises:
        ReceiptError: The bytes are not a checkpoint, or not signed with an accepted key.
    """
    return parse_signed(
        Checkpoint, content, what=f"{RECEIPTS}/{CHECKPOINT_FILE}", keys=signing_keys
    )


def write_checkpoint(
    spool: Path, checkpoint: Checkpoint, *, signing_keys: Sequence[bytes] = ()
) -> Path:
    """Write or replace the checkpoint atomically.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    return write_small(spool, CHECKPOINT_FILE, checkpoint.signed(signing_keys))


def read_checkpoint(spool: Path, *, signing_keys: Collection[bytes] = ()) -> Checkpoint | None:
    """Return the receiver's checkpoint; None if none was written yet.

    Raises:
        ReceiptError: The file is damaged or badly signed.
    """
    content = read_small(spool, CHECKPOINT_FILE)
    return None if content is None else parse_checkpoint(content, signing_keys=signing_keys)
