"""A link on which the time ends before all receipts are read: what was read before it counts."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.sftp.errors import ConnectionLostError
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import list_names, read_small_file
from ar_sync_pipeline.sync.dump import receiver_files
from ar_sync_pipeline.sync.dump.last_view import CACHED_CHECKPOINT
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView, observe_receiver
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

PARTIALS = 3


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    """Return a sender with a backlog that the receiver has just applied."""
    media_sender.complete()
    media_sender.sites.load()
    for _ in range(PARTIALS):
        media_sender.sites.at_sender("UPDATE app_child SET amount = amount + 1 WHERE id = 1")
        media_sender.partial()
    media_sender.sites.load()
    return media_sender


def look(sender: MediaSender) -> ReceiverView:
    return observe_receiver(sender.settings, utc_now)


def lost() -> ConnectionLostError:
    return ConnectionLostError("it took longer than its time limit", remedy="none")


def test_receipts_that_were_read_before_the_time_ended_are_not_read_again(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()

    def one_receipt(session: SftpSession, path: PurePosixPath, most: int) -> bytes:
        if path.name.startswith("backup_partial"):
            if read:
                raise lost()
            read.append(path.name)
        return read_small_file(session, path, most)

    monkeypatch.setattr(receiver_files, "read_small_file", one_receipt)
    known = set[str]()
    for _ in range(PARTIALS):
        view = look(sender)
        assert view.waiting == frozenset()
        assert known < view.receipts
        known |= view.receipts
        read.clear()
    assert len([name for name in known if "partial" in name]) == PARTIALS


def test_list_of_receipts_that_takes_too_long_does_not_hide_the_checkpoint(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = look(sender).checkpoint

    def endless(session: SftpSession, folder: PurePosixPath) -> list[str]:
        if folder.name == RECEIPTS:
            raise lost()
        return list_names(session, folder)

    (sender.scratch / CACHED_CHECKPOINT).unlink()
    monkeypatch.setattr(receiver_files, "list_names", endless)
    view = look(sender)
    assert view.checkpoint is not None
    assert view.checkpoint == expected
    assert view.waiting == frozenset()


def test_link_that_breaks_before_the_checkpoint_is_read_is_one_that_is_down(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise lost()

    monkeypatch.setattr(receiver_files, "read_small_file", broken)
    assert look(sender).waiting is None
