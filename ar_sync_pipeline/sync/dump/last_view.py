"""What the sender read of the receiver last, in its scratch folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.manifest import WHOLE_FORMAT, Watermark
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.sync.dump.believed_checkpoint import checkpoint_problem
from ar_sync_pipeline.sync.dump.sender_journal import read_points
from ar_sync_pipeline.sync.dump.sender_journal_file import read_scratch_file

CACHED_CHECKPOINT = "ar_sync_position.json"
CACHED_CAPABILITIES = "ar_sync_capabilities.json"


def receiver_formats(scratch: Path, now: datetime) -> tuple[int, ...] | None:
    """Return the numbers of the archive formats that the receiver reads.

    None: it has written nothing yet, neither what it can read nor a checkpoint, which any version
    writes with its first load.
    """
    # The reverse of the order in which another dump may be writing them now.
    checkpoint = last_checkpoint(scratch, now)
    said = capabilities_before(scratch)
    if checkpoint is None:
        return said.archive_formats if said is not None else None
    said = current(said, checkpoint)
    return said.archive_formats if said is not None else (WHOLE_FORMAT,)


def last_checkpoint(scratch: Path, now: datetime) -> Checkpoint | None:
    """Return the checkpoint that the last dump accepted; None without one, or if it is outdated."""
    return believed_before(scratch / CACHED_CHECKPOINT, read_points(scratch), now)


def current(said: Capabilities | None, checkpoint: Checkpoint | None) -> Capabilities | None:
    """Return the capabilities unless an earlier version wrote the newest checkpoint."""
    if said is None or checkpoint is None or said.at < checkpoint.at:
        return None
    return said


def capabilities_before(scratch: Path) -> Capabilities | None:
    """Return the capabilities that were accepted last, whatever key signed them."""
    content = read_scratch_file(scratch / CACHED_CAPABILITIES)
    try:
        return Capabilities.parse(content, signing_keys=())
    except ReceiptError:
        return None


def believed_before(cache: Path, known: Sequence[Watermark], now: datetime) -> Checkpoint | None:
    """Return the checkpoint that was accepted last, whatever key signed it, if still possible."""
    try:
        checkpoint = Checkpoint.parse(read_scratch_file(cache), signing_keys=())
    except ReceiptError:
        return None
    point = checkpoint.watermark
    wrong = point is not None and checkpoint_problem(point, known, now) is not None
    return None if wrong else checkpoint
