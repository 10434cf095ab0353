"""Which tables a partial covers: the receiver lacks no change of them, if it has the partial."""

from __future__ import annotations

from ar_sync_pipeline.sync.dump.sender_journal import SENT_FILE
from ar_sync_pipeline_tests.sync.dump.test_media_lists import apply, said
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


def test_it_covers_all_tables_that_it_reads_for_the_watermark(media_sender: MediaSender) -> None:
    apply(media_sender, media_sender.complete())
    assert media_sender.partial().uncovered == ()


def test_it_says_nothing_to_a_receiver_that_does_not_read_it(media_sender: MediaSender) -> None:
    apply(media_sender, media_sender.complete())
    said(media_sender, 1, 2, 3, 4)
    partial = media_sender.partial()
    assert (partial.uncovered, partial.format) == (None, 1)
    apply(media_sender, partial)


def test_without_a_starting_point_it_covers_nothing(media_sender: MediaSender) -> None:
    assert media_sender.partial().uncovered is None


def test_tables_are_carried_whole_if_nobody_knows_what_was_covered(
    media_sender: MediaSender,
) -> None:
    apply(media_sender, media_sender.complete())
    (media_sender.scratch / SENT_FILE).unlink()
    partial = media_sender.partial()
    assert all(table.whole for table in partial.tables)
    assert partial.uncovered == ()
