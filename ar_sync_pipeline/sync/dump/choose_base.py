"""The complete that the next one is compared with, so that it carries only what the receiver lacks.

The base is the newest complete that the receiver says is applied, and of which the manifest is
kept. What the receiver says is only a hint: it compares digests before it leaves out anything, and
reports what it lacks. Without a base a complete carries everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ar_sync_pipeline.archive.manifest import CHANGES_FORMAT, DIFFERENTIAL_FORMAT, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.dump.believed_checkpoint import latest_date
from ar_sync_pipeline.sync.dump.kept_manifests import Base, kept_manifest
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive

# One complete with what is lacking, then one with everything; then it waits for a person.
_MOST_ROUNDS = 2


def choose_base(scratch: Path, view: ReceiverView) -> Base | None:
    """Return the base of the next complete; None: it carries everything."""
    said, checkpoint = view.capabilities, view.checkpoint
    if said is None or DIFFERENTIAL_FORMAT not in said.archive_formats:
        return None
    if checkpoint is None or checkpoint.watermark is None:
        return None
    reached = checkpoint.watermark
    completes = _completes(scratch)
    applied = [place for place, one in enumerate(completes) if _is_applied(one, reached)]
    if not applied:
        return None
    lacking = _lacking(completes[applied[-1] + 1 :])
    manifests = (kept_manifest(scratch, completes[place]) for place in reversed(applied))
    manifest = next((one for one in manifests if one is not None), None)
    if manifest is None or len(lacking) >= _MOST_ROUNDS:
        return None
    return Base(
        manifest,
        reached,
        said.digest_probe,
        lacking[0] if lacking else Lacking(),
        completes[applied[-1]].lacking or Lacking(),
        takes_changes=CHANGES_FORMAT in said.archive_formats,
        unverified=frozenset(checkpoint.unverified),
    )


def complete_to_repeat(scratch: Path, checkpoint: Checkpoint | None, now: datetime) -> str | None:
    """Return the newest complete if the receiver parked it because content is lacking.

    None: nothing is lacking, or it carries everything and another one would not carry more. One
    that lacks nothing by itself was refused for a later partial, which any later one includes.
    """
    *_, newest = [None, *_believable(scratch, checkpoint, now)]
    if newest is None or not newest.is_lacking:
        return None
    # However many lack something before it: `choose_base` lets the next one carry everything.
    return newest.name if newest.differential or newest.lacking == Lacking() else None


def complete_to_compare(scratch: Path, checkpoint: Checkpoint | None, now: datetime) -> str | None:
    """Return the newest complete if the receiver has rows that only another one compares.

    DDL at the receiver has changed them after the newest complete was applied, and no partial
    carries them; or a parked partial would delete them and does not say whether the sender has.
    None: there are none, or a complete is on its way: it waits, is being loaded, or is parked,
    which a later partial does not change.
    """
    completes = _believable(scratch, checkpoint, now)
    reached = checkpoint.watermark if checkpoint else None
    if not completes or checkpoint is None or reached is None:
        return None
    newest = completes[-1]
    is_over = _is_applied(newest, reached) or _is_superseded(newest, reached)
    is_needed = checkpoint.unverified or _is_partial_lacking(scratch, newest, reached)
    return newest.name if is_over and is_needed else None


def complete_to_replace(scratch: Path, checkpoint: Checkpoint | None, now: datetime) -> str | None:
    """Return the newest complete if the receiver has quarantined it; None: it has not.

    Only if it is the first one: another one would not help where the two sides do not match.
    """
    *_, before, newest = [None, None, *_believable(scratch, checkpoint, now)]
    refused = [
        one is not None and one.state is ReceiptState.QUARANTINED for one in (before, newest)
    ]
    return newest.name if newest is not None and refused == [False, True] else None


def _completes(scratch: Path) -> list[SentArchive]:
    return [archive for archive in read_sent(scratch) if archive.kind is ArchiveKind.COMPLETE]


def _believable(scratch: Path, checkpoint: Checkpoint | None, now: datetime) -> list[SentArchive]:
    """Return the completes without those of a clock that was ahead.

    The receiver parks them, and others were sent since that are dated before.
    """
    limit = latest_date(checkpoint, now)
    return [one for one in _completes(scratch) if one.watermark.snapshot_at <= limit]


def _is_partial_lacking(scratch: Path, newest: SentArchive, reached: Watermark) -> bool:
    """Return whether the receiver needs a complete after the newest one to apply a partial."""
    after = max(newest.watermark.snapshot_at, reached.snapshot_at)
    return any(
        one.kind is ArchiveKind.PARTIAL and one.is_lacking and one.watermark.snapshot_at > after
        for one in read_sent(scratch)
    )


def _lacking(completes: Sequence[SentArchive]) -> list[Lacking]:
    """Return what the completes should have carried; one that only came late lacks nothing."""
    found = (a.lacking for a in completes if a.is_lacking)
    return [lacking for lacking in found if lacking is not None and lacking != Lacking()]


def _is_applied(archive: SentArchive, reached: Watermark) -> bool:
    """Return whether the receiver says so, in a receipt or by its checkpoint.

    The receipt outlives a receiver that was restored from a backup; the checkpoint does not.
    """
    if reached.archive_id == archive.watermark.archive_id:
        return True
    applied = archive.state is ReceiptState.APPLIED
    return applied and archive.watermark.snapshot_at <= reached.snapshot_at


def _is_superseded(archive: SentArchive, reached: Watermark) -> bool:
    superseded = archive.state is ReceiptState.SUPERSEDED
    return superseded and archive.watermark.snapshot_at <= reached.snapshot_at
