"""Point from which the next partial must contain every change, from the sender's view."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE, SentArchive
from ar_sync_pipeline.sync.dump.starting_point import (
    newest_joined,
    starting_point,
    unacknowledged,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

START = datetime(2026, 11, 23, tzinfo=UTC)
COMPLETE, PARTIAL = ArchiveKind.COMPLETE, ArchiveKind.PARTIAL


def mark(minute: int) -> Watermark:
    return Watermark(
        snapshot_at=START + timedelta(minutes=minute),
        snapshot=f"{minute}:{minute}:",
        system_identifier="7",
        timeline=1,
    )


def sent(minute: int, since: int | None = None, kind: ArchiveKind = PARTIAL) -> SentArchive:
    name = ArchiveName(kind, START + timedelta(minutes=minute)).applied
    return SentArchive(
        name=name,
        kind=kind,
        size_bytes=1,
        since=None if since is None else mark(since),
        watermark=mark(minute),
        sent_at=START,
    )


def view(position: int | None, *waiting: SentArchive) -> ReceiverView:
    said = None if position is None else Checkpoint(at=START, watermark=mark(position))
    return ReceiverView(said, frozenset(archive.name for archive in waiting))


def test_everything_since_the_receivers_checkpoint_is_carried() -> None:
    assert newest_joined(view(10), [sent(5, 0), sent(10, 5)]) == mark(10)


def test_what_waits_in_the_spool_is_not_sent_again() -> None:
    waiting = [sent(15, 10), sent(20, 15)]
    assert newest_joined(view(10, *waiting), waiting) == mark(20)


def test_what_a_lost_archive_held_is_sent_again() -> None:
    lost, waiting = sent(15, 10), sent(20, 15)
    assert newest_joined(view(10, waiting), [lost, waiting]) == mark(10)


def test_complete_that_waits_will_be_the_base() -> None:
    complete = sent(15, kind=COMPLETE)
    assert newest_joined(view(None, complete), [complete]) == mark(15)
    assert newest_joined(view(10, complete), [complete]) == mark(15)


def test_partial_does_not_start_from_a_complete_that_may_turn_out_to_lack_something() -> None:
    complete = sent(15, kind=COMPLETE).model_copy(update={"differential": True})
    partial = sent(20, 10)
    assert newest_joined(view(10, complete), [complete]) == mark(10)
    assert newest_joined(view(10, complete, partial), [complete, partial]) == mark(20)


def test_partial_without_a_base_joins_nothing() -> None:
    waiting = sent(15, None)
    assert newest_joined(view(None, waiting), [waiting]) is None


def test_with_the_link_down_the_last_checkpoint_that_was_seen_counts() -> None:
    seen = Checkpoint(at=START, watermark=mark(10))
    assert newest_joined(ReceiverView(seen, None), [sent(15, 10)]) == mark(10)


def test_receiver_that_never_said_anything_is_believed_to_apply_what_it_was_sent() -> None:
    archives = [sent(5, kind=COMPLETE), sent(10, 5)]
    assert newest_joined(ReceiverView(None, None), archives) == mark(10)


def test_restored_receiver_that_went_back_is_sent_everything_again() -> None:
    assert newest_joined(view(5), [sent(10, 5), sent(15, 10)]) == mark(5)


def test_complete_that_waits_is_not_acknowledged_by_later_partials() -> None:
    waits, gone, partial = sent(5, kind=COMPLETE), sent(6, kind=COMPLETE), sent(7, 5)
    later, hour = START + timedelta(hours=2), timedelta(hours=1)
    journal = [waits, gone, partial]
    assert unacknowledged(view(10, waits, partial), journal, later, hour) == [waits]
    assert unacknowledged(view(10, waits), journal, START + hour, hour) == []
    known = replace(view(10, waits), receipts=frozenset({waits.name}))
    assert unacknowledged(known, journal, later, hour) == []


def sent_days_ago(sender: MediaSender, days: int) -> None:
    path = sender.scratch / SENT_FILE
    journal = json.loads(path.read_text())
    for archive in journal["archives"]:
        archive["sent_at"] = f"{datetime.now(UTC) - timedelta(days=days)}"
    path.write_text(json.dumps(journal))


def since(sender: MediaSender) -> Watermark | None:
    return starting_point(sender.settings, datetime.now(UTC)).since


@pytest.mark.long
def test_what_waits_for_longer_than_the_journal_reaches_is_not_sent_again(
    media_sender: MediaSender,
) -> None:
    """The receiver loads nothing for nine days: its database is down, or a migration is missing."""
    media_sender.complete()
    media_sender.sites.load()
    waiting = [media_sender.partial(), media_sender.partial()]
    assert waiting[1].since == waiting[0].watermark
    sent_days_ago(media_sender, 9)
    waiting.append(media_sender.partial())
    assert since(media_sender) == waiting[-1].watermark
    # Once they are applied they are forgotten like others.
    media_sender.sites.load()
    media_sender.partial()
    partials = [a.watermark for a in read_sent(media_sender.scratch) if a.kind is PARTIAL]
    assert waiting[0].watermark not in partials
    assert waiting[2].watermark in partials


def test_sender_that_knows_nothing_makes_no_archive_before_it_has_read_the_receiver(
    media_sender: MediaSender,
) -> None:
    """Its database and its scratch folder may have been restored; only the receiver shows it."""
    settings = media_sender.settings
    unreachable = settings.model_copy(update={"remote_port": 1})
    with pytest.raises(TransientError, match="port 1 does not answer"):
        starting_point(unreachable, datetime.now(UTC))
    assert since(media_sender) is None
    complete = media_sender.complete()
    assert starting_point(unreachable, datetime.now(UTC)).since == complete.watermark


spans = st.lists(
    st.tuples(st.integers(1, 20), st.integers(1, 6), st.booleans()),
    unique_by=lambda span: span[0],
    max_size=8,
)


@given(st.integers(0, 20), spans)
def test_no_change_falls_between_what_arrives_and_the_next_partial(
    position: int, history: list[tuple[int, int, bool]]
) -> None:
    """A waiting archive covers every minute from the receiver's checkpoint to the result."""
    archives = [sent(minute, max(0, minute - length)) for minute, length, _ in history]
    waiting = [a for a, (_, _, waits) in zip(archives, history, strict=True) if waits]
    end = newest_joined(view(position, *waiting), archives)
    assert end is not None
    reached = int((end.snapshot_at - START).total_seconds() // 60)
    assert reached >= position
    for minute in range(position, reached):
        instant = START + timedelta(minutes=minute)
        assert any(
            a.since is not None and a.since.snapshot_at <= instant < a.watermark.snapshot_at
            for a in waiting
        )
