"""A complete that takes hours to send, of which production changes files all the time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.sync.dump import media_journal, publish, renew_media
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL, open_journal
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.sync.dump.renew_media import renew_bundle
from ar_sync_pipeline.sync.errors import MediaJournalBusyError
from ar_sync_pipeline_tests.sync.fix_differential import carried_files, put
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names

FILES = ("1.jpeg", "2.jpeg", "3.jpeg", "4.jpeg", "5.jpeg", "later/a.jpeg", "later/b.jpeg", "z.jpeg")


@pytest.fixture
def sender(media_sender: MediaSender, monkeypatch: pytest.MonkeyPatch) -> MediaSender:
    """Return a sender with files, to which every upload is a long one."""
    monkeypatch.setattr(publish, "LONG_UPLOAD_SECONDS", 0)
    for name in FILES:
        put(media_sender, name, name.encode())
    return media_sender


def upload(sender: MediaSender, build: BuildFolder, *changes: Callable[[], object]) -> Manifest:
    """Publish with one change at the beginning of each attempt."""
    left = list(changes)

    def progress(done_bytes: int, _total_bytes: int) -> None:
        if not done_bytes and left:
            left.pop(0)()

    published = publish_archive(
        sender.settings, build, lambda: datetime.now(UTC), progress=progress
    )
    assert left == []
    build.remove()
    verify_archive(sender.waiting(published.manifest), signing_keys=())
    return published.manifest


def change(sender: MediaSender, name: str) -> Callable[[], object]:
    return lambda: put(sender, name, b"other, and longer")


def delete(sender: MediaSender, name: str) -> Callable[[], object]:
    return (sender.media / name).unlink


@pytest.mark.long
def test_second_interruption_leaves_the_rest_to_the_next_complete(sender: MediaSender) -> None:
    sites = sender.sites
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert names(manifest) == ["1.jpeg", "2.jpeg"]
    assert manifest.media_omitted == ("3.jpeg", "4.jpeg"), "the receiver has none of the others"
    with open_journal(sender.scratch) as journal:
        assert journal.owed() == (), "a partial would carry all of it"
    sites.load()
    assert names(sender.partial()) == []
    sites.load()

    following = sender.complete()
    assert carried_files(following) == [
        "4.jpeg",
        "5.jpeg",
        "later/a.jpeg",
        "later/b.jpeg",
        "z.jpeg",
    ]
    assert following.media_omitted == ()
    sites.load()
    received = {
        str(p.relative_to(sites.receiver_media)) for p in sites.receiver_media.rglob("*.jpeg")
    }
    assert received == {*FILES} - {"3.jpeg"}


@pytest.mark.long
def test_what_the_receiver_has_of_the_rest_is_kept(sender: MediaSender) -> None:
    sites = sender.sites
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    sender.complete()
    sites.load()
    for name in ("2.jpeg", "3.jpeg", "5.jpeg", "later/b.jpeg"):
        put(sender, name, b"second version")
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), change(sender, "3.jpeg"))
    assert manifest.media_omitted == ("5.jpeg", "later/")
    report = sites.load()
    assert report.media.removed == 0
    assert (sites.receiver_media / "later" / "b.jpeg").read_bytes() == b"later/b.jpeg"
    assert carried_files(sender.complete()) == ["5.jpeg", "later/b.jpeg"]
    sites.load()
    assert (sites.receiver_media / "later" / "b.jpeg").read_bytes() == b"second version"


@pytest.mark.long
def test_folder_of_the_changed_file_is_named_file_by_file(sender: MediaSender) -> None:
    build = all_sent_and_replaced(sender).bundled_complete()
    manifest = upload(sender, build, change(sender, "later/a.jpeg"), delete(sender, "later/a.jpeg"))
    assert manifest.media_omitted == ("later/a.jpeg", "later/b.jpeg", "z.jpeg")
    assert names(manifest) == [*FILES[:5]]


def test_only_so_many_files_are_named(sender: MediaSender, monkeypatch: pytest.MonkeyPatch) -> None:
    build = all_sent_and_replaced(sender).bundled_complete()
    monkeypatch.setattr(renew_media, "MOST_OMITTED", 2)
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert manifest.media_omitted == ("3.jpeg", "later/", "z.jpeg")
    assert names(manifest) == ["1.jpeg", "2.jpeg", "4.jpeg", "5.jpeg"]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_what_the_receiver_never_had_is_left_to_the_next_complete_without_names(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A first complete of a million files in one folder gets shorter with each interruption."""
    monkeypatch.setattr(renew_media, "MOST_OMITTED", most)
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert names(manifest) == ["1.jpeg", "2.jpeg"]
    sender.sites.load()
    assert carried_files(sender.complete()) == [*FILES[3:]]


def test_lost_journal_does_not_tell_what_the_receiver_has(sender: MediaSender) -> None:
    all_sent_and_replaced(sender)
    (sender.scratch / MEDIA_JOURNAL).unlink()
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert manifest.media_omitted == ("3.jpeg", "4.jpeg", "5.jpeg", "later/", "z.jpeg")


def all_sent_and_replaced(sender: MediaSender) -> MediaSender:
    sender.complete()
    sender.sites.load()
    for name in FILES:
        put(sender, name, b"second version")
    return sender


def test_journal_that_stays_locked_loses_no_file(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is dropped after it is recorded why; a sender may be killed between the two."""
    monkeypatch.setattr(media_journal, "_WAIT_SECONDS", 0.1)
    build = sender.bundled_complete()
    put(sender, "2.jpeg", b"second version")
    renew_bundle(build, sender.media, "media/2.jpeg")
    put(sender, "2.jpeg", b"the third version")
    with closing(sqlite3.connect(sender.scratch / MEDIA_JOURNAL)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(MediaJournalBusyError):
            renew_bundle(build, sender.media, "media/2.jpeg")
    manifest = upload(sender, build)
    assert manifest.media_omitted == ("2.jpeg",)
    assert "2.jpeg" not in names(manifest)


def test_short_upload_is_sent_whole(sender: MediaSender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LONG_UPLOAD_SECONDS", 60)
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert names(manifest) == [name for name in FILES if name != "3.jpeg"]


def test_partial_is_sent_whole(sender: MediaSender) -> None:
    sender.complete()
    sender.sites.load()
    for name in ("1.jpeg", "z.jpeg"):
        put(sender, name, b"second version")
    sender.sites.at_sender(
        "UPDATE app_child SET picture = '1.jpeg' WHERE id = 1",
        "UPDATE app_child SET picture = 'z.jpeg' WHERE id = 2",
    )
    build = sender.bundled_partial()
    changes = (change(sender, "1.jpeg"), delete(sender, "1.jpeg"))
    assert names(upload(sender, build, *changes)) == ["z.jpeg"]
