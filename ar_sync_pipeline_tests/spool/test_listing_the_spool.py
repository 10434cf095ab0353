"""What the receiver sees in the spool, and what it must never take for an archive."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.spool.errors import SpoolLayoutError, SpoolMissingError
from ar_sync_pipeline.spool.layout import FOLDERS, prepare_spool
from ar_sync_pipeline.spool.states import (
    SpoolState,
    clean_incoming,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
    mark_applied,
)
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.spool.conftest import NOON, PutArchive


def test_waiting_archives_come_oldest_snapshot_first(spool: Path, put: PutArchive) -> None:
    newest = put(snapshot_at=NOON + timedelta(minutes=5))
    oldest = put(snapshot_at=NOON - timedelta(days=1))
    complete = put(ArchiveKind.COMPLETE, NOON)
    put(snapshot_at=NOON - timedelta(hours=1), applied=True)

    assert [archive.path for archive in list_waiting(spool)] == [oldest, complete, newest]
    assert {archive.state for archive in list_waiting(spool)} == {SpoolState.WAITING}
    assert [archive.size_bytes for archive in list_waiting(spool)] == [7, 7, 7]


def test_applied_archives_are_not_waiting(spool: Path, put: PutArchive) -> None:
    path = put(applied=True)
    assert list_waiting(spool) == []
    assert [archive.path for archive in list_applied(spool)] == [path]


def test_d10_unfinished_upload_is_not_seen(spool: Path, put: PutArchive) -> None:
    """Old system, D10: half an archive was taken under its final name."""
    uploading = put(folder=INCOMING)
    part = spool / INCOMING / f"{uploading.name}.0123456789abcdef.part"
    part.write_bytes(b"6 of 37 MB")
    assert list_waiting(spool) == []

    uploading.rename(spool / ArchiveKind.PARTIAL / uploading.name)
    assert len(list_waiting(spool)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "NEW_backup_partial_20261123T120000.000000Z.tar.part",
        "NEW_backup_partial_20261123T120000.000000Z.tar.2",
        "new_backup_partial_20261123T120000.000000Z.tar",
        "NEW_backup_partial_20261399T120000.000000Z.tar",
        "README",
        "-rf",
        "NEW_backup_partial_20261123T120000.000000Z.tar\n",
    ],
)
def test_other_names_are_ignored(spool: Path, name: str) -> None:
    (spool / "partial" / name).write_bytes(b"")
    assert list_waiting(spool) == list_applied(spool) == []


def test_archive_in_the_folder_of_the_other_kind_waits_until_it_is_moved_to_its_own(
    spool: Path, put: PutArchive
) -> None:
    own = put()
    moved = spool / ArchiveKind.COMPLETE / own.name
    own.rename(moved)
    (archive,) = list_waiting(spool)
    assert archive.path == moved

    assert mark_applied(spool, archive).path.parent == own.parent
    assert list_waiting(spool) == []
    assert len(list_applied(spool)) == 1


@pytest.mark.parametrize("applied", [False, True])
def test_of_two_files_of_a_name_the_one_in_its_own_folder_counts(
    spool: Path, put: PutArchive, applied: bool
) -> None:
    own = put(applied=applied)
    (spool / ArchiveKind.COMPLETE / own.name).write_bytes(b"a copy")
    assert [a.path for a in (*list_waiting(spool), *list_applied(spool))] == [own]


def test_only_regular_files_are_archives(spool: Path, put: PutArchive, tmp_path: Path) -> None:
    name = put().name
    (spool / "partial" / name).unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")

    (spool / "partial" / name).symlink_to(secret)
    assert list_waiting(spool) == []
    (spool / "partial" / name).unlink()
    os.mkfifo(spool / "partial" / name)
    assert list_waiting(spool) == []
    (spool / "partial" / name).unlink()
    (spool / "partial" / name).mkdir()
    assert list_waiting(spool) == []


def test_missing_spool_is_an_error_and_never_an_empty_queue(tmp_path: Path) -> None:
    missing = tmp_path / "not mounted"
    for list_archives in (list_waiting, list_applied, list_parked, list_quarantined):
        with pytest.raises(SpoolMissingError, match="does not exist"):
            list_archives(missing)
    with pytest.raises(SpoolMissingError):
        prepare_spool(missing)
    assert not missing.exists()


def test_empty_spool_without_folders_holds_nothing(tmp_path: Path) -> None:
    assert list_waiting(tmp_path) == list_parked(tmp_path) == []


def test_preparing_twice_changes_nothing(spool: Path, put: PutArchive) -> None:
    path = put()
    prepare_spool(spool)
    assert path.exists()
    assert {entry.name for entry in spool.iterdir()} == set(FOLDERS)


def test_folder_that_leads_elsewhere_is_refused(spool: Path, tmp_path: Path) -> None:
    (spool / "parked").rmdir()
    (spool / "parked").symlink_to(tmp_path)
    with pytest.raises(SpoolLayoutError, match="parked is a symbolic link or a file"):
        prepare_spool(spool)


def test_folder_on_another_file_system_is_refused(spool: Path) -> None:
    """A change of state is one rename, which does not cross file systems."""
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs none '{spool / 'parked'}' 2>/dev/null"):  # noqa: S605  a path of our own making
        skip_unless_in_ci("this account cannot mount a second file system")
    try:
        with pytest.raises(SpoolLayoutError, match="another file system"):
            prepare_spool(spool)
    finally:
        os.system(f"umount '{spool / 'parked'}'")  # noqa: S605  the same


def test_stale_uploads_are_deleted_and_fresh_ones_kept(spool: Path) -> None:
    stale, fresh = spool / INCOMING / "stale.part", spool / INCOMING / "fresh.part"
    killed = spool / "parked" / ".writing-0123456789abcdef"
    for path, written_at in ((stale, NOON - timedelta(days=2)), (fresh, NOON), (killed, NOON)):
        path.write_bytes(b"part")
        os.utime(path, (written_at.timestamp(), written_at.timestamp()))

    older_than = NOON - timedelta(days=1)
    found = {stale: len(b"part")}
    assert clean_incoming(spool, older_than=older_than, dry_run=True) == found
    assert clean_incoming(spool, older_than=older_than) == found
    assert not stale.exists()
    assert set(clean_incoming(spool, older_than=NOON + timedelta(days=1))) == {fresh, killed}


def test_files_of_killed_writers_are_deleted_in_every_folder_of_the_receiver(spool: Path) -> None:
    killed = {
        spool / folder / ".writing-0123456789abcdef"
        for folder in ("parked", "quarantine", "receipts")
    }
    kept = {spool / "receipts" / name for name in ("checkpoint.json", "writing-notes")}
    for path in killed | kept:
        path.write_bytes(b"part")
        os.utime(path, (0, 0))
    assert set(clean_incoming(spool, older_than=NOON)) == killed
    assert all(path.exists() for path in kept)


def test_cleaning_uploads_never_touches_an_archive(spool: Path, put: PutArchive) -> None:
    paths = [put(), put(folder="parked"), put(folder="quarantine")]
    for path in paths:
        os.utime(path, (0, 0))
    assert clean_incoming(spool, older_than=NOON) == {}
    assert all(path.exists() for path in paths)
