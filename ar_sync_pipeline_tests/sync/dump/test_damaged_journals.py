"""Files of the scratch folder that a power failure or a disk has damaged."""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.disk_errors import DiskFailedError
from ar_sync_pipeline.errors import RetryPolicy
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.sync.dump.build_folder import (
    BuildDamagedError,
    BuildFolder,
    BuildMissingError,
    open_build,
)
from ar_sync_pipeline.sync.dump.bundle_files import CarriedFiles, bundle_files
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump.known_clocks import CLOCKS_FILE
from ar_sync_pipeline.sync.dump.known_objects import OBJECTS_FILE
from ar_sync_pipeline.sync.dump.known_rules import RULED_FILE
from ar_sync_pipeline.sync.dump.last_view import CACHED_CAPABILITIES, CACHED_CHECKPOINT
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL, open_journal
from ar_sync_pipeline.sync.dump.publish import PublishedArchive, publish_archive
from ar_sync_pipeline.sync.dump.scratch_owner import OWNER_FILE
from ar_sync_pipeline.sync.dump.sender_journal_file import (
    SENT_FILE,
    read_journal,
    read_scratch_file,
)
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.errors import (
    MediaJournalBusyError,
    MediaJournalDamagedError,
    MediaJournalError,
    ScratchFileError,
)
from ar_sync_pipeline.sync.watch.folder_findings import scratch_findings
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import equal
from ar_sync_pipeline_tests.missing_parts import only_root
from ar_sync_pipeline_tests.sync.dump.test_media_of_partials import put, touch_rows
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names

PAGE_BYTES = 4096


def damage_pages(database: Path) -> None:
    """Overwrite all pages but the first, which has the version and the tables."""
    with database.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"\xa5" * (database.stat().st_size - PAGE_BYTES))


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    media_sender.sites.at_sender("UPDATE app_child SET picture = '1.jpeg' WHERE id = 1")
    put(media_sender, "1.jpeg", "a picture")
    media_sender.complete()
    media_sender.sites.load()
    return media_sender


@pytest.mark.long
@pytest.mark.parametrize("kind", ["partial", "complete"])
def test_dump_that_finds_its_journal_damaged_works_at_the_next_attempt(
    sender: MediaSender, kind: str
) -> None:
    touch_rows(sender.sites)
    damage_pages(sender.scratch / MEDIA_JOURNAL)
    with pytest.raises(MediaJournalDamagedError, match=r"moved to .*ar_sync_media\.damaged"):
        getattr(sender, kind)()
    assert names(getattr(sender, kind)()) == ["1.jpeg"]
    sender.sites.load()
    assert (sender.scratch / "ar_sync_media.damaged").exists()


@pytest.mark.parametrize("content", [b"no database" * 999, b"\0" * 8192, b""])
def test_journal_that_is_no_database_is_replaced_at_once(
    media_sender: MediaSender, content: bytes
) -> None:
    (media_sender.scratch).mkdir(exist_ok=True)
    (media_sender.scratch / MEDIA_JOURNAL).write_bytes(content)
    with open_journal(media_sender.scratch) as journal:
        assert journal.owed() == ()


def test_journal_that_0_2_0_emptied_after_a_rollback_has_nothing_of_the_time_before(
    tmp_path: Path,
) -> None:
    """It drops the tables that it knows, and sets its version."""
    with open_journal(tmp_path) as journal:
        journal.keep_unresolved([], ["old.jpeg"])
    path = tmp_path / "ar_sync_media.sqlite"
    with closing(sqlite3.connect(path)) as older:
        older.executescript(
            "INSERT INTO left_out VALUES ('old.jpeg', 1); DELETE FROM archive; DELETE FROM carried;"
            " DELETE FROM owed; PRAGMA user_version = 1"
        )
    for _ in range(2):  # the second time it has this version
        with open_journal(tmp_path) as journal:
            assert journal.unresolved() == frozenset()
            journal.keep_unresolved([], ["new.jpeg"])
            assert journal.unresolved() == {"new.jpeg"}
            journal.keep_unresolved(["new.jpeg"], [])
    with closing(sqlite3.connect(path)) as now:
        assert now.execute("SELECT * FROM left_out").fetchall() == []


def test_journal_of_a_newer_version_is_moved_away_whole(sender: MediaSender) -> None:
    path = sender.scratch / MEDIA_JOURNAL
    with closing(sqlite3.connect(path)) as newer:
        newer.executescript(
            "ALTER TABLE unresolved ADD since integer; ALTER TABLE left_out ADD since integer;"
            " CREATE TABLE later (path text); PRAGMA user_version = 4"
        )
    content = path.read_bytes()
    touch_rows(sender.sites)
    assert names(sender.partial()) == ["1.jpeg"], "what the receiver has is not known any more"
    assert path.with_suffix(".newer").read_bytes() == content
    with open_journal(sender.scratch) as journal:
        journal.keep_unresolved([], ["a.jpeg"])
        assert journal.unresolved() == {"a.jpeg"}


def test_half_a_journal_is_moved_away(sender: MediaSender) -> None:
    os.truncate(sender.scratch / MEDIA_JOURNAL, PAGE_BYTES)
    with suppress(MediaJournalDamagedError), open_journal(sender.scratch) as journal:
        journal.owed()
    with open_journal(sender.scratch) as journal:
        assert journal.owed() == ()
    assert (sender.scratch / "ar_sync_media.damaged").exists()


def test_journal_that_another_process_holds_stays(sender: MediaSender) -> None:
    """Neither is one that cannot be written: the disk is at fault, not the file."""
    with (
        closing(sqlite3.connect(sender.scratch / MEDIA_JOURNAL)) as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("ar_sync_pipeline.sync.dump.media_journal._WAIT_SECONDS", 0)
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(MediaJournalBusyError, match="locked") as caught,
            open_journal(sender.scratch) as opened,
        ):
            opened.owed()
    assert caught.value.policy is RetryPolicy.RETRY
    assert "do not remove the file" in caught.value.remedy
    assert (sender.scratch / MEDIA_JOURNAL).exists()


STATE_FILES = (
    SENT_FILE,
    OBJECTS_FILE,
    CLOCKS_FILE,
    RULED_FILE,
    OWNER_FILE,
    CACHED_CHECKPOINT,
    MEDIA_JOURNAL,
)


@pytest.mark.long
def test_file_of_another_account_is_named_with_its_remedy(sender: MediaSender) -> None:
    """For example in a scratch folder that root restored from a backup."""
    sender.partial()
    for name in STATE_FILES:
        file = sender.scratch / name
        mode = file.stat().st_mode
        file.chmod(0)
        with permissions_count():
            (found,) = (f for f in scratch_findings(sender.settings) if f.level is Level.ERROR)
            assert str(file) in found.problem
            for read in (sender.partial, sender.complete):
                with pytest.raises((ScratchFileError, MediaJournalError)) as caught:
                    read()
                assert str(file) in str(caught.value)
                assert "remove" in caught.value.remedy
                assert caught.value.policy is RetryPolicy.WAIT
        file.chmod(mode)
    sender.partial()


def unreadable(file: Path) -> str:
    """Return the remedy for a file that this account cannot read."""
    with permissions_count(), pytest.raises(ScratchFileError) as caught:
        read_scratch_file(file)
    return caught.value.remedy


def test_unreadable_file_is_given_to_the_owner_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "scratch of shop"
    folder.mkdir()
    (folder / SENT_FILE).touch(0)
    remedy = unreadable(folder / SENT_FILE)
    assert f"`chown --reference='{folder}' '{folder / SENT_FILE}'`" in remedy
    folder.chmod(0o600)
    assert unreadable(folder / SENT_FILE) == f"run `chmod u=rwx '{folder}'`"


@only_root("give a folder away")
def test_file_is_not_taken_from_the_sender_by_another_account(tmp_path: Path) -> None:
    """For example by an administrator, who asks for the status."""
    file, me = tmp_path / SENT_FILE, os.geteuid()
    file.touch(0)
    os.chown(tmp_path, 65534, -1)
    for mode, taken in ((0o700, tmp_path), (0o770, file)):
        tmp_path.chmod(mode)
        assert unreadable(file) == (
            f"run this as user 65534, to whom {tmp_path} belongs; only if the sender's account is"
            f" user {me}, run `chown {me} {taken}` as root"
        )


@pytest.mark.long
def test_folder_in_place_of_a_file_is_moved_away(sender: MediaSender) -> None:
    sender.partial()
    for name in (*STATE_FILES[:-1], CACHED_CAPABILITIES):
        file = sender.scratch / name
        file.unlink()
        file.mkdir()
    touch_rows(sender.sites)
    sender.partial()
    sender_status(sender.settings, datetime.now(UTC))
    assert [path for path in sender.scratch.glob("ar_sync_*.json") if not path.is_file()] == []
    assert [str(one) for one in sender.sites.load().refused] == []
    assert equal(sender.sites)


def test_disk_that_fails_is_told_as_such(
    media_sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(self: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle", str(self))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(DiskFailedError, match="Stale file handle"):
        read_journal(media_sender.scratch)


def publish_while_locked(
    sender: MediaSender, build: BuildFolder, patch: pytest.MonkeyPatch
) -> PublishedArchive:
    patch.setattr("ar_sync_pipeline.sync.dump.media_journal._WAIT_SECONDS", 0.1)
    with closing(sqlite3.connect(sender.scratch / MEDIA_JOURNAL)) as other:
        other.execute("BEGIN IMMEDIATE")
        published = publish_archive(sender.settings, build, lambda: datetime.now(UTC))
    sender.sites.load()
    return published


@pytest.mark.long
def test_complete_whose_files_could_not_be_recorded_is_named_and_costs_no_upload_of_all_files(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sender, "2.jpeg", "a new one")
    sender.sites.at_sender("UPDATE app_child SET picture = '2.jpeg' WHERE id = 2")
    sender.partial()
    sender.sites.load()
    put(sender, "3.jpeg", "comes with the complete")
    put(sender, "1.jpeg", "another version")
    published = publish_while_locked(sender, sender.bundled_complete(), monkeypatch)
    assert published.unrecorded is not None
    assert "ar_sync_media.sqlite" in published.unrecorded
    complete = sender.complete()
    assert complete.base is not None
    assert complete.base.archive_id == published.manifest.archive_id
    carried = [entry.path for entry in complete.media if entry.carried]
    assert carried == ["1.jpeg", "3.jpeg"], "only what the journal does not know"
    sender.sites.load()
    assert [*sender.sites.spool.rglob("NEW_*")] == []


@pytest.mark.long
@pytest.mark.parametrize("part", [TableDump, MediaBundle])
@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\0" * 64])
def test_damaged_result_of_a_step_is_told_with_its_remedy(
    media_sender: MediaSender, part: type[TableDump | MediaBundle], content: bytes
) -> None:
    build = media_sender.bundled_complete()
    (build.path / f"{part.__name__}.json").write_bytes(content)
    with pytest.raises(BuildDamagedError, match="launch the job again, not from the failed step"):
        media_sender.publish(build)


@pytest.mark.parametrize("obstacle", ["folder", "permission"])
def test_result_of_a_step_that_cannot_be_opened_is_told_with_its_remedy(
    tmp_path: Path, obstacle: str
) -> None:
    build = open_build(tmp_path, "a-run")
    result = build.path / "TableDump.json"
    if obstacle == "folder":
        result.mkdir()
    else:
        result.touch(mode=0)
    with permissions_count(), pytest.raises(BuildDamagedError, match="launch the job again"):
        build.read(TableDump)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096])
def test_emptied_list_of_media_files_is_told_with_its_remedy(
    tmp_path: Path, content: bytes
) -> None:
    build = open_build(tmp_path, "a-run")
    (build.path / "media.sqlite").write_bytes(content)
    with pytest.raises(BuildDamagedError, match="launch the job again"), bundle_files(build):
        pass
    with pytest.raises(BuildDamagedError, match="launch the job again"):
        [*CarriedFiles(build, tmp_path).carried_after("")]


@pytest.mark.long
@pytest.mark.parametrize("part", ["TableDump.json", "media.sqlite"])
def test_missing_result_of_a_step_is_told_with_its_remedy(sender: MediaSender, part: str) -> None:
    """A later run has removed the folder, and a user re-executes the last step."""
    build = sender.bundled_complete()
    (build.path / part).unlink()
    with pytest.raises(BuildMissingError, match="launch the job again, not from the failed step"):
        sender.publish(build)


@pytest.mark.long
def test_damaged_list_of_media_files_is_told_with_its_remedy(sender: MediaSender) -> None:
    build = sender.bundled_complete()
    damage_pages(build.path / "media.sqlite")
    with pytest.raises(BuildDamagedError, match="launch the job again"):
        sender.publish(build)
    with pytest.raises(BuildDamagedError), bundle_files(build) as files:
        list(files.listed())


@pytest.mark.long
def test_results_of_the_steps_of_a_complete_are_durable_when_they_end(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set[str](), os.fsync

    def note(fd: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    build = sender.bundled_complete()
    parts = {"TableDump.json", "MediaBundle.json", "media.sqlite", "members"}
    assert {str(build.path / part) for part in parts} <= synced
    assert {str(build.path), str(sender.scratch)} <= synced
