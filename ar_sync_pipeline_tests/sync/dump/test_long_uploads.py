"""A complete that takes hours to send, of which production changes files all the time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.sync.dump import bundle_media, publish
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.media_journal import open_journal
from ar_sync_pipeline.sync.dump.publish import publish_archive
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
    verify_archive(sender.waiting(published.manifest))
    return published.manifest


def change(sender: MediaSender, name: str) -> Callable[[], object]:
    return lambda: put(sender, name, b"other, and longer")


def delete(sender: MediaSender, name: str) -> Callable[[], object]:
    return (sender.media / name).unlink


def test_second_interruption_leaves_the_rest_to_the_next_complete(sender: MediaSender) -> None:
    sites = sender.sites
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert names(manifest) == ["1.jpeg", "2.jpeg"]
    assert manifest.media_omitted == ("3.jpeg", "4.jpeg", "5.jpeg", "later/", "z.jpeg")
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


def test_folder_of_the_changed_file_is_named_file_by_file(sender: MediaSender) -> None:
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "later/a.jpeg"), delete(sender, "later/a.jpeg"))
    assert manifest.media_omitted == ("later/a.jpeg", "later/b.jpeg", "z.jpeg")
    assert names(manifest) == [*FILES[:5]]


def test_only_so_many_files_are_named(sender: MediaSender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_media, "MOST_OMITTED", 2)
    build = sender.bundled_complete()
    manifest = upload(sender, build, change(sender, "2.jpeg"), delete(sender, "3.jpeg"))
    assert manifest.media_omitted == ("3.jpeg", "later/", "z.jpeg")
    assert names(manifest) == ["1.jpeg", "2.jpeg", "4.jpeg", "5.jpeg"]


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
