"""A media file that is not in its place while a complete is made, and comes back.

With ``AR_SYNC_MEDIA_DELETE`` the receiver deletes what a complete does not list. Partials that were
made before its arrival may have left the file out, since the receiver still had it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL, open_journal
from ar_sync_pipeline_tests.sync.fix_differential import (
    assert_applied,
    assert_equal,
    carried_files,
    load,
    put,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names

NAME = "UPDATE app_child SET picture = 'back.jpeg' WHERE id = {}"


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    """Two equal servers; the receiver deletes files, and has applied completes and a partial."""
    media_sender.sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    for name in ("back.jpeg", *(f"{number}.jpeg" for number in range(25))):
        put(media_sender, name, name.encode())
    for _ in range(2):
        assert_applied(media_sender, media_sender.complete())
    media_sender.partial()
    load(media_sender)
    return media_sender


def is_there(pair: MediaSender) -> bool:
    return (pair.sites.receiver_media / "back.jpeg").exists()


@pytest.mark.long
@pytest.mark.parametrize("completes", [1, 4])
def test_disk_that_was_not_mounted_makes_no_complete_carry_everything(
    pair: MediaSender, completes: int
) -> None:
    """The receiver keeps its files, since all of them are gone."""
    pair.sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
    mounted = pair.media.rename(pair.sites.folder / "elsewhere")
    pair.media.mkdir()
    for _ in range(completes):
        manifest = pair.complete()
        assert (manifest.media, manifest.media_omitted) == ((), ())
        assert pair.bundle is not None
        assert dict(pair.bundle.omitted)["./"].startswith("the media folder is empty")
        load(pair)
    pair.media.rmdir()
    mounted.rename(pair.media)
    put(pair, "new.jpeg", b"new")
    manifest = pair.complete()
    assert (len(names(manifest)), carried_files(manifest)) == (27, ["new.jpeg"])
    assert_applied(pair, manifest)
    assert_equal(pair)
    pair.sites.at_sender(NAME.format(1))
    assert names(pair.partial()) == []


@pytest.mark.long
@pytest.mark.parametrize(("guard", "more"), [("5", 0), ("100", 30)])
def test_what_an_empty_complete_does_not_list_stays_whatever_came_meanwhile(
    media_sender: MediaSender, guard: str, more: int
) -> None:
    pair = media_sender
    pair.sites.environ |= {"AR_SYNC_MEDIA_DELETE": "true", "AR_SYNC_DELETE_GUARD": guard}
    for name in ("back.jpeg", "lost.jpeg", *(f"{number}.jpeg" for number in range(more))):
        put(pair, name, name.encode())
    assert_applied(pair, pair.complete())
    put(pair, "lost.jpeg", b"of a partial that is lost")
    pair.waiting(pair.partial()).unlink()
    mounted = pair.media.rename(pair.sites.folder / "elsewhere")
    pair.media.mkdir()
    build = pair.bundled_complete()
    pair.media.rmdir()
    mounted.rename(pair.media)
    put(pair, "new.jpeg", b"new")
    pair.sites.at_sender(NAME.format(1))
    assert "back.jpeg" not in names(pair.partial())
    load(pair)
    pair.publish(build)
    report = load(pair)
    assert report.media.removed == 0
    assert "lists no file at all" in str(report.media.warning)
    assert is_there(pair)
    pair.partial()
    load(pair)
    manifest = pair.complete()
    assert not {"back.jpeg", "0.jpeg"} & {*carried_files(manifest)}
    assert_applied(pair, manifest)
    assert_equal(pair)


def late_complete(pair: MediaSender, aside: Path, partials: int = 1) -> None:
    """Apply a complete without the file, which came back before partials that name it."""
    file = pair.media / "back.jpeg"
    file.rename(aside)
    build = pair.bundled_complete()
    aside.rename(file)
    for number in range(partials):
        pair.sites.at_sender(NAME.format(number + 1))
        assert names(pair.partial()) == []
        load(pair)
    assert_applied_without_file(pair, pair.publish(build))


def assert_applied_without_file(pair: MediaSender, manifest: Manifest) -> None:
    report = load(pair)
    assert report.loaded[0].manifest.archive_id == manifest.archive_id
    assert report.media.removed == 1
    assert not is_there(pair)


@pytest.mark.long
def test_next_partial_carries_it_although_no_row_of_it_names_it(
    pair: MediaSender, tmp_path: Path
) -> None:
    late_complete(pair, tmp_path / "aside")
    assert names(pair.partial()) == ["back.jpeg"]
    load(pair)
    assert_equal(pair)
    pair.sites.at_sender(NAME.format(7))
    assert names(pair.partial()) == []
    load(pair)
    manifest = pair.complete()
    assert carried_files(manifest) == []
    assert_applied(pair, manifest)


@pytest.mark.long
def test_next_complete_carries_it_at_once(pair: MediaSender, tmp_path: Path) -> None:
    late_complete(pair, tmp_path / "aside", partials=2)
    manifest = pair.complete()
    assert carried_files(manifest) == ["back.jpeg"]
    assert_applied(pair, manifest)
    assert names(pair.partial()) == []


@pytest.mark.long
def test_partial_that_is_lost_is_made_good(pair: MediaSender, tmp_path: Path) -> None:
    late_complete(pair, tmp_path / "aside")
    pair.waiting(pair.partial()).unlink()
    assert names(pair.partial()) == ["back.jpeg"]
    load(pair)
    assert_equal(pair)


def test_file_that_is_gone_again_is_not_waited_for(pair: MediaSender, tmp_path: Path) -> None:
    late_complete(pair, tmp_path / "aside")
    (pair.media / "back.jpeg").unlink()
    assert names(pair.partial()) == []
    with open_journal(pair.scratch) as journal:
        assert journal.owed() == ()


def test_journal_of_an_earlier_version_is_kept(pair: MediaSender) -> None:
    path = pair.scratch / MEDIA_JOURNAL
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE left_out")
        connection.execute("PRAGMA user_version = 2")
    pair.sites.at_sender(NAME.format(1))
    assert names(pair.partial()) == []
