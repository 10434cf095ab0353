"""Archives whose media files are listed by a member, and receivers that cannot read such a list."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from ar_sync_pipeline.archive import file_stamp
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.manifest_reader import ReadLimits
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.archive.report import facts, summary
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.held import is_checked_by_content
from ar_sync_pipeline.media.media_file import MediaFile
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.states import list_parked, list_quarantined
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.dump import assemble, receiver_view
from ar_sync_pipeline.sync.dump.last_view import receiver_formats
from ar_sync_pipeline.sync.dump.starting_point import starting_point
from ar_sync_pipeline.sync.errors import MediaListTooLongError
from ar_sync_pipeline.sync.load.newest_media import NewestMedia
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline_tests.archive.building import make_entry
from ar_sync_pipeline_tests.fix_sites import equal, rows
from ar_sync_pipeline_tests.sync.fix_differential import asks_for, put
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

FILES = {f"{n % 7}/{n}.jpeg": b"picture %d" % n for n in range(40)} | {"ñ.jpeg": b""}
ONE, TWO = UUID(int=1), UUID(int=2)
NAMES = "UPDATE app_child SET picture = '{}', changed = now() WHERE id = {}"


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file is one too many for the manifest."""
    monkeypatch.setattr(assemble, "MOST_INLINE_MEDIA", 0)


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    """A sender with 41 files, and a receiver that has loaded nothing yet."""
    for path, content in FILES.items():
        put(media_sender, path, content)
    return media_sender


@pytest.fixture
def loaded(pair: MediaSender) -> MediaSender:
    """Two equal servers."""
    apply(pair, pair.complete())
    return pair


def apply(pair: MediaSender, manifest: Manifest) -> None:
    report = pair.sites.load()
    assert report.refused == ()
    assert manifest.archive_id in [archive.manifest.archive_id for archive in report.loaded]
    assert equal(pair.sites)
    assert contents(pair.sites.receiver_media) == contents(pair.media)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def carried(pair: MediaSender, manifest: Manifest) -> list[str]:
    """Paths of the files that a waiting archive carries."""
    with open_archive(pair.waiting(manifest)) as reader:
        return [entry.path for entry in reader.media() if entry.carried]


def said(pair: MediaSender, *formats: int) -> None:
    """The receiver says which formats it reads."""
    capabilities = Capabilities(
        at=datetime.now(UTC) + timedelta(seconds=2), archive_formats=formats, digest_probe="7"
    )
    capabilities.write(pair.sites.spool, signing_keys=())
    starting_point(pair.settings, datetime.now(UTC))


class TestTheWholeWay:
    def test_first_complete_carries_all_and_the_next_one_what_is_new(
        self, pair: MediaSender
    ) -> None:
        first = pair.complete()
        assert (first.format, first.media, first.media_count) == (3, (), 41)
        assert carried(pair, first) == sorted(FILES)
        apply(pair, first)
        same = pair.complete()
        assert (same.format, same.media_count, same.carried_media_count) == (3, 41, 0)
        assert same.base is not None
        assert carried(pair, same) == []
        apply(pair, same)
        put(pair, "3/new.jpeg", b"new")
        put(pair, "3/3.jpeg", b"changed")
        (pair.media / "ñ.jpeg").unlink()
        (pair.sites.receiver_media / "ñ.jpeg").unlink()
        last = pair.complete()
        assert carried(pair, last) == ["3/3.jpeg", "3/new.jpeg"]
        apply(pair, last)

    def test_what_the_receiver_lacks_after_all_is_sent_by_itself(self, loaded: MediaSender) -> None:
        (loaded.sites.receiver_media / "3/3.jpeg").unlink()
        parked = loaded.complete()
        assert loaded.sites.load().loaded == ()
        assert asks_for(loaded) == parked.name.applied
        again = loaded.complete()
        assert carried(loaded, again) == ["3/3.jpeg"]
        apply(loaded, again)

    def test_edited_file_is_found_on_the_day_of_its_check(self, loaded: MediaSender) -> None:
        manifest = loaded.complete()
        path = next(p for p in FILES if p != "ñ.jpeg")
        file = loaded.sites.receiver_media / path
        before = file.stat()
        file.write_bytes(bytes(len(FILES[path])))
        os.utime(file, ns=(before.st_mtime_ns, before.st_mtime_ns))
        today = is_checked_by_content(path, manifest.snapshot_at)
        assert (loaded.sites.load().loaded == ()) == today

    def test_partial_with_a_list_follows_a_complete_with_one(self, loaded: MediaSender) -> None:
        for number in range(3):
            put(loaded, f"new/{number}.jpeg", b"new %d" % number)
            loaded.sites.at_sender(NAMES.format(f"new/{number}.jpeg", number + 1))
        manifest = loaded.partial()
        assert (manifest.format, manifest.window is None) == (5, False)
        assert carried(loaded, manifest) == [f"new/{n}.jpeg" for n in range(3)]
        apply(loaded, manifest)
        loaded.sites.at_sender(NAMES.format("new/0.jpeg", 9))
        assert loaded.partial().media_count == 0

    def test_newest_version_counts_if_several_archives_are_loaded_at_once(
        self, loaded: MediaSender
    ) -> None:
        put(loaded, "3/3.jpeg", b"second")
        loaded.complete()
        put(loaded, "3/3.jpeg", b"third")
        loaded.sites.at_sender(NAMES.format("3/3.jpeg", 1))
        newest = loaded.partial()
        assert carried(loaded, newest) == ["3/3.jpeg"]
        apply(loaded, newest)

    def test_files_that_the_sender_no_longer_has_are_removed(self, pair: MediaSender) -> None:
        pair.sites.environ |= {"AR_SYNC_MEDIA_DELETE": "true", "AR_SYNC_DELETE_GUARD": "100"}
        apply(pair, pair.complete())
        (pair.sites.receiver_media / "own.jpeg").write_bytes(b"own")
        shutil.rmtree(pair.media / "3")
        gone = [path for path in FILES if path.startswith("3/")]
        pair.complete()
        report = pair.sites.load()
        assert (report.media.removed, report.media.warning) == (len(gone), None)
        found = contents(pair.sites.receiver_media)
        assert found == contents(pair.media) | {"own.jpeg": b"own"}
        known = rows(pair.sites.receiver, "SELECT path FROM ar_sync.media_file")
        assert {path for (path,) in known} == set(FILES) - set(gone)

    def test_preview_and_summary_count_what_is_listed(self, pair: MediaSender) -> None:
        manifest = pair.complete()
        path = pair.waiting(manifest)
        sites = pair.sites
        preview = preview_load(sites.settings, sites.catalog, path, sites.clock)
        assert preview.verdict is Verdict.APPLIED
        assert contents(sites.receiver_media) == {}
        size_bytes = sum(map(len, FILES.values()))
        expected = {"file_count": 41, "size_bytes": size_bytes, "omitted": []}
        assert summary(manifest)["media"] == expected
        assert f"41 files, {size_bytes:,} bytes" in dict(facts(manifest)).values()

    def test_file_that_changes_during_the_upload_is_listed_as_it_is_now(
        self, pair: MediaSender
    ) -> None:
        build = pair.bundled_complete()
        put(pair, "3/3.jpeg", b"changed, and longer")
        (pair.media / "4/4.jpeg").unlink()
        manifest = pair.publish(build)
        assert len(pair.failures) == 1
        assert carried(pair, manifest) == sorted(set(FILES) - {"4/4.jpeg"})
        apply(pair, manifest)

    def test_damaged_list_is_quarantined_and_nothing_is_installed(self, pair: MediaSender) -> None:
        path = pair.waiting(pair.complete())
        content = bytearray(path.read_bytes())
        content[content.index(b"media.list.zst\0") + 512 + 60] ^= 1
        path.write_bytes(content)
        assert pair.sites.load().loaded == ()
        (refused,) = list_quarantined(pair.sites.spool)
        assert refused.name.applied == path.name.removeprefix("NEW_")
        assert contents(pair.sites.receiver_media) == {}


class TestUnchangedFiles:
    def test_they_are_not_read_again_except_for_the_share_of_the_day(
        self, pair: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A file that changed just now may change again without a new time; these do not.
        monkeypatch.setattr(file_stamp, "_STABLE_AFTER_NS", -1)
        apply(pair, pair.complete())
        read = list[str]()

        def hashed(files: Iterable[MediaFile]) -> Iterator[MediaEntry]:
            for file in files:
                read.append(file.path)
                yield from hash_media([file])

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ar_sync_pipeline.sync.dump.describe_media.hash_media", hashed)
            manifest = pair.complete()
        share = [path for path in FILES if is_checked_by_content(path, manifest.snapshot_at)]
        assert sorted(read) == sorted(share)

    def test_file_that_was_written_to_without_a_new_time_is_read(self, loaded: MediaSender) -> None:
        put(loaded, "3/3.jpeg", b"Picture 3")
        assert carried(loaded, loaded.complete()) == ["3/3.jpeg"]


class TestOtherReceivers:
    def test_receiver_that_reads_no_list_gets_the_files_in_the_manifest(
        self, loaded: MediaSender
    ) -> None:
        put(loaded, "new.jpeg", b"new")
        said(loaded, 1, 2)
        manifest = loaded.complete()
        assert (manifest.media_list, len(manifest.media)) == (None, 42)
        apply(loaded, manifest)

    def test_receiver_of_a_version_that_says_nothing_gets_them_there_too(
        self, loaded: MediaSender
    ) -> None:
        (loaded.sites.spool / RECEIPTS / "capabilities.json").unlink()
        for cached in loaded.scratch.glob("ar_sync_capabilities*"):
            cached.unlink()
        manifest = loaded.complete()
        assert (manifest.format, len(manifest.media)) == (1, 41)
        apply(loaded, manifest)

    @pytest.mark.parametrize("written", [0, 1, 2])
    def test_view_that_is_stored_in_part_makes_no_receiver_of_an_earlier_version(
        self, loaded: MediaSender, monkeypatch: pytest.MonkeyPatch, written: int
    ) -> None:
        """A partial observes the receiver while a complete assembles; the disk is full then."""
        apply(loaded, loaded.complete())
        files = list[Path]()

        def write(path: Path, content: bytes) -> None:
            files.append(path)
            if len(files) > written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            write_atomically(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(receiver_view, "write_atomically", write)
            receiver_view.observe_receiver(loaded.settings, utc_now)
        formats = receiver_formats(loaded.scratch, datetime.now(UTC))
        assert formats is not None
        assert 3 in formats, [path.name for path in files]

    def test_more_files_than_it_can_read_about_are_one_clear_error(
        self, loaded: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said(loaded, 1, 2)
        monkeypatch.setattr(assemble, "ReadLimits", lambda: ReadLimits(manifest_bytes=3000))
        with pytest.raises(MediaListTooLongError, match="lists 41 media files, too many") as caught:
            loaded.complete()
        assert "bring the receiver to this side's version" in caught.value.remedy
        monkeypatch.setattr(assemble, "ReadLimits", lambda: ReadLimits(manifest_bytes=7000))
        with pytest.raises(MediaListTooLongError):
            loaded.complete()

    def test_older_receiver_parks_the_list_until_it_is_upgraded(
        self, pair: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = pair.complete()
        monkeypatch.setattr("ar_sync_pipeline.archive.manifest_reader.NEWEST_FORMAT", 2)
        assert pair.sites.load().loaded == ()
        assert [archive.name for archive in list_parked(pair.sites.spool)] == [manifest.name]
        monkeypatch.undo()
        apply(pair, manifest)

    def test_short_list_stays_in_the_manifest(
        self, pair: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(assemble, "MOST_INLINE_MEDIA", 41)
        assert pair.complete().format == 1


class TestNewestMedia:
    @pytest.mark.parametrize(
        ("later", "counted"),
        [
            (["b"], {"a/b", "c"}),
            (["a"], {"b", "c"}),
            (["c/d"], {"a/b", "b"}),
            (["a/b", "c"], {"b"}),
            ([], {"a/b", "b", "c"}),
        ],
    )
    def test_version_is_covered_by_a_later_file_folder_or_path(
        self, later: list[str], counted: set[str]
    ) -> None:
        first, last = make_entry("x", b""), [make_entry(path, b"") for path in later]
        newest = NewestMedia(ONE)
        newest.add(TWO, last)
        assert {path for path in ("a/b", "b", "c") if newest.is_of(ONE, path)} == counted
        assert all(newest.is_of(TWO, entry.path) for entry in last)
        assert newest.is_of(ONE, first.path)
        newest.close()

    def test_disk_without_space_for_it_is_not_the_fault_of_an_archive(self) -> None:
        full = sqlite3.OperationalError("database or disk is full")
        assert fault_of_archive(full, None) is None
