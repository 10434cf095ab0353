"""The receiver's position: up to where it holds the sender's data, in one small file.

It is the ledger's answer to the sender's question "from where must the next partial carry every
change?", written into ``receipts/`` after each change of state and read over SFTP.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ar_sync_pipeline.archive.manifest import Instant, Watermark
from ar_sync_pipeline.spool.layout import RECEIPTS
from ar_sync_pipeline.spool.receipts import read_small, write_small
from ar_sync_pipeline.spool.signed_json import SignedJson, parse_signed

CHECKPOINT_FILE = "position.json"
MOST_PARKED = 20
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class ParkedArchive(BaseModel):
    """An archive that waits for something to change, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: Annotated[str, StringConstraints(max_length=200)]
    reason: Annotated[str, StringConstraints(max_length=1000)]


class Checkpoint(SignedJson):
    """Where the receiver stands.

    Attributes:
        at: when this was written.
        watermark: the sender's snapshot that ends the unbroken chain of applied archives; None
            while no complete has been applied.
        holes: how many stretches behind it are known to be missing.
        waiting: archives in the spool that are not applied yet.
        parked: those that wait for something to change, oldest first, at most `MOST_PARKED`.
        quarantined: archives that a person has to look at.
    """

    at: Instant
    watermark: Watermark | None = None
    gaps: _Count = 0
    waiting: _Count = 0
    parked: Annotated[tuple[ParkedArchive, ...], Field(max_length=MOST_PARKED)] = ()
    quarantined: _Count = 0


def parse_checkpoint(content: bytes, *, signing_keys: Collection[bytes] = ()) -> Checkpoint:
    """Read a position from bytes of any origin.

    Raises:
        ReceiptError: it is not one, or, where keys are shared, not signed with one.
    """
    return parse_signed(
        Checkpoint, content, what=f"{RECEIPTS}/{CHECKPOINT_FILE}", keys=signing_keys
    )


def write_checkpoint(
    spool: Path, checkpoint: Checkpoint, *, signing_keys: Sequence[bytes] = ()
) -> Path:
    """Write or replace the position; a reader never sees a part of it.

    Raises:
        SpoolMissingError: the spool is not there.
        SpoolAccessError: the operating system refuses.
    """
    return write_small(spool, CHECKPOINT_FILE, checkpoint.signed(signing_keys))


def read_checkpoint(spool: Path, *, signing_keys: Collection[bytes] = ()) -> Checkpoint | None:
    """Return the receiver's position; None if none was written yet.

    Raises:
        ReceiptError: the file is damaged or badly signed.
    """
    content = read_small(spool, CHECKPOINT_FILE)
    return None if content is None else parse_checkpoint(content, signing_keys=signing_keys)
