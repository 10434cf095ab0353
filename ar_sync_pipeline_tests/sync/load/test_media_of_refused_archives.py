"""A refused archive leaves nothing in the media folder; files come with their rows or not."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

import psycopg
import pytest

from ar_sync_pipeline.media.errors import MediaFolderError, MediaSpaceError
from ar_sync_pipeline.media.install import rename_into_place
from ar_sync_pipeline.media.journal import JournalWriter
from ar_sync_pipeline.media.stage import MediaStage
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.spool.states import list_applied, list_parked, list_quarantined
from ar_sync_pipeline.sync.load import load_session
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, execute, recent_window, watermark_of

_LONG_AGO = 1_500_000_000


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    """Return equal sites with a media file, which the sender has changed since, and a new one."""
    (filled.sender_media / "a.jpeg").write_bytes(b"first")
    os.utime(filled.sender_media / "a.jpeg", (_LONG_AGO, _LONG_AGO))
    filled.complete()
    filled.load()
    (filled.sender_media / "a.jpeg").write_bytes(b"second")
    (filled.sender_media / "new").mkdir()
    (filled.sender_media / "new" / "b.jpeg").write_bytes(b"b")
    filled.at_sender("UPDATE app_child SET amount = -1, picture = 'new/b.jpeg' WHERE id = 5")
    return filled


def media(sites: TwoSites) -> dict[str, tuple[bytes, int]]:
    """Return every file, hidden ones too, with content and time; folders without."""
    return {
        str(path.relative_to(sites.receiver_media)): (
            (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else (b"", 0)
        )
        for path in sites.receiver_media.rglob("*")
    }


BEFORE = {"a.jpeg": (b"first", _LONG_AGO * 10**9)}


def assert_loaded(sites: TwoSites) -> None:
    assert {name: content for name, (content, _) in media(sites).items()} == {
        "a.jpeg": b"second",
        "new": b"",
        "new/b.jpeg": b"b",
    }
    assert equal(sites)


def test_merge_that_the_receiver_refuses_leaves_no_picture(sites: TwoSites) -> None:
    sites.at_receiver("ALTER TABLE app_child ADD CHECK (amount >= 0)")
    sites.complete()
    report = sites.load()
    assert report.loaded == ()
    assert len(report.refused) == 1
    assert media(sites) == BEFORE
    sites.at_receiver("ALTER TABLE app_child DROP CONSTRAINT app_child_amount_check")
    sites.load()
    assert_loaded(sites)


def test_files_that_cannot_be_removed_after_a_refusal_are_no_fault_of_the_next_archive(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.at_receiver("ALTER TABLE app_child ADD CHECK (amount > -5)")
    good = sites.complete()
    sites.at_sender("UPDATE app_child SET amount = -9, changed = now() WHERE id = 6")
    bad = sites.partial(recent_window())
    unlink = os.unlink

    def refuse(path: Any, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and re.fullmatch(r"\.ar-sync-.*-[0-9]+", str(path)):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as immutable:
        immutable.setattr(os, "unlink", refuse)
        with pytest.raises(MediaFolderError, match="Operation not permitted"):
            sites.load()
    assert good.exists()
    assert [archive.path.name for archive in list_parked(sites.spool)] == [bad.name]
    sites.load()
    assert {name: content for name, (content, _) in media(sites).items()} == {
        "a.jpeg": b"second",
        "new": b"",
        "new/b.jpeg": b"b",
    }


def test_delete_guard_leaves_no_picture(sites: TwoSites) -> None:
    sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
    sites.at_sender("DELETE FROM app_child WHERE id > 5")
    sites.complete()
    sites.load()
    assert len(list_parked(sites.spool)) == 1
    assert media(sites) == BEFORE


def test_refused_archive_among_others_leaves_its_own_picture_out(sites: TwoSites) -> None:
    base = watermark_of(list_applied(sites.spool)[0].path)
    good = sites.partial(recent_window(), since=base)
    (sites.sender_media / "bad.jpeg").write_bytes(b"bad")
    sites.at_sender("UPDATE app_child SET amount = -2, picture = 'bad.jpeg' WHERE id = 6")
    sites.partial(recent_window(), since=watermark_of(good))
    sites.at_receiver("ALTER TABLE app_child ADD CHECK (amount >= -1)")
    report = sites.load()
    assert [archive.manifest.name.waiting for archive in report.loaded] == [good.name]
    assert {name: content for name, (content, _) in media(sites).items()} == {
        "a.jpeg": b"second",
        "new": b"",
        "new/b.jpeg": b"b",
    }


def test_archive_that_is_damaged_after_admission_leaves_no_picture(sites: TwoSites) -> None:
    path = sites.complete()
    names = sites.admit().names
    content = bytearray(path.read_bytes())
    content[-1100] ^= 1  # after the media files, which are staged before
    path.write_bytes(content)
    report = load(sites, names)
    assert report.loaded == ()
    assert len(list_quarantined(sites.spool)) == 1
    assert media(sites) == BEFORE


def load(sites: TwoSites, names: tuple[str, ...]) -> LoadReport:
    """Load what was admitted before."""
    return load_archives(sites.settings, sites.catalog, names, sites.clock)


def test_failed_commit_takes_the_pictures_back(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_will_fail(stage: MediaStage, blaming: Any, check_lock: Any) -> None:
        rename_into_place(stage, blaming, check_lock)
        assert media(sites)["a.jpeg"][0] == b"second"
        for statement in ("SET CONSTRAINTS ALL DEFERRED", "INSERT INTO refused VALUES (1)"):
            blaming.__self__._connection.execute(statement)  # noqa: SLF001  nobody else has it

    sites.at_receiver(
        "CREATE TABLE refused (n integer)",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'not today'; END$$",
        "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON refused DEFERRABLE"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
        "ALTER TABLE refused ENABLE ALWAYS TRIGGER refuse",
    )
    sites.complete()
    monkeypatch.setattr(load_session, "rename_into_place", commit_will_fail)
    with pytest.raises(psycopg.Error, match="not today"):
        sites.load()
    assert media(sites) == BEFORE
    monkeypatch.undo()
    sites.load()
    assert_loaded(sites)


@pytest.mark.long
def test_connection_that_breaks_during_the_commit_is_repaired_by_the_next_load(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_cut(*arguments: object) -> None:
        rename_into_place(*arguments)  # type: ignore[arg-type]
        execute(
            sites.receiver,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'ar_sync%load' AND datname = current_database()",
        )

    monkeypatch.setattr(load_session, "rename_into_place", then_cut)
    sites.complete()
    with pytest.raises(DatabaseUnreachableError):
        sites.load()
    assert media(sites)["a.jpeg"][0] == b"second"
    monkeypatch.undo()
    load(sites, ())
    assert media(sites) == BEFORE
    sites.load()
    assert_loaded(sites)


def test_full_disk_leaves_no_picture_and_the_archive_is_tried_again(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    sites.complete()
    with monkeypatch.context() as patch:
        patch.setattr(JournalWriter, "add", full)
        report = sites.load()
    assert [refusal.code for refusal in report.refused] == [MediaSpaceError.code]
    assert media(sites) == BEFORE
    sites.load()
    assert_loaded(sites)


def test_file_that_became_a_folder_within_one_load_is_only_the_folder(sites: TwoSites) -> None:
    first = sites.complete()
    (sites.sender_media / "a.jpeg").unlink()
    (sites.sender_media / "a.jpeg").mkdir()
    (sites.sender_media / "a.jpeg" / "c.jpeg").write_bytes(b"c")
    sites.at_sender("UPDATE app_child SET picture = 'a.jpeg/c.jpeg', changed = now() WHERE id = 7")
    sites.partial(recent_window(), since=watermark_of(first))
    sites.load()
    found = {name: content for name, (content, _) in media(sites).items() if "aside" not in name}
    assert found == {"a.jpeg": b"", "a.jpeg/c.jpeg": b"c", "new": b"", "new/b.jpeg": b"b"}
    assert equal(sites)
