"""A staged file is whole and checked, and nobody sees it before its rows are committed."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from ar_sync_pipeline.disk_errors import DiskFailedError, disk_error
from ar_sync_pipeline.media.errors import MediaContentError, MediaFolderError, MediaSpaceError
from ar_sync_pipeline.media.held import HeldFiles, is_checked_by_content
from ar_sync_pipeline.media.install import clean_leftovers
from ar_sync_pipeline.media.inventory import scan_media
from ar_sync_pipeline.media.stage import Outcome, explained
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline_tests.archive.building import make_entry
from ar_sync_pipeline_tests.media.loading import (
    ARCHIVE,
    OWNER,
    end,
    install,
    new_stage,
    show,
    stage_files,
)
from ar_sync_pipeline_tests.mounted import mounted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "media"
    path.mkdir()
    return path


def visible(folder: Path) -> list[str]:
    return [file.path for file in scan_media(folder, ["*"])]


def test_an_equal_file_is_left_alone_and_the_stream_unread(folder: Path) -> None:
    install(folder, "a.jpeg", b"picture")
    before = (folder / "a.jpeg").stat()
    stream = io.BytesIO(b"picture")

    outcome = new_stage(folder).stage(stream, make_entry("a.jpeg", b"picture"), ARCHIVE)

    assert outcome is Outcome.UNCHANGED
    assert stream.tell() == 0
    assert (folder / "a.jpeg").stat().st_ino == before.st_ino
    assert [path.name for path in folder.iterdir()] == ["a.jpeg"]


@pytest.mark.parametrize("sent", [b"", b"pict", b"PICTURE", b"picture and more"])
def test_d12_a_truncated_or_damaged_picture_is_never_installed(folder: Path, sent: bytes) -> None:
    (folder / "a.jpeg").write_bytes(b"earlier")
    stage = new_stage(folder)

    for name in ("a.jpeg", "new.jpeg", "new/a.jpeg", "a.jpeg/b.jpeg"):
        with pytest.raises(MediaContentError, match=name):
            stage.stage(io.BytesIO(sent), make_entry(name, b"picture"), ARCHIVE)

    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.jpeg", b"earlier")]


def test_a_staged_file_has_no_name_and_makes_no_folder(folder: Path) -> None:
    stage = new_stage(folder)
    outcomes = stage_files(stage, {"a.jpeg": b"a", "new/sub/b.jpeg": b"b"})

    assert outcomes == [Outcome.INSTALLED] * 2
    assert visible(folder) == []
    assert not (folder / "new").exists()
    stage.journal.close()
    end(folder, committed=False)
    assert list(folder.iterdir()) == []


def test_a_file_waits_in_the_deepest_folder_of_its_path_that_exists(folder: Path) -> None:
    """So a rename is enough where a subfolder is another file system."""
    (folder / "mounted").mkdir()
    stage = new_stage(folder)
    stage_files(stage, {"mounted/a.jpeg": b"a", "mounted/new/b.jpeg": b"b", "c.jpeg": b"c"})
    stage.journal.close()

    assert len(list((folder / "mounted").iterdir())) == 2
    assert len(list(folder.glob(".ar-sync-*-2"))) == 1


def test_a_file_larger_than_the_free_space_is_not_begun(folder: Path) -> None:
    entry = make_entry("a.jpeg", b"").model_copy(update={"size_bytes": 2**50})

    with pytest.raises(MediaSpaceError, match="needs 1125899906842624 bytes"):
        new_stage(folder).stage(io.BytesIO(b"x"), entry, ARCHIVE)

    assert list(folder.iterdir()) == []


class _FailingStream:
    def read(self, size: int = -1, /) -> NoReturn:
        raise KeyboardInterrupt(size)


def test_an_interrupted_file_leaves_nothing(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        new_stage(folder).stage(_FailingStream(), make_entry("a.jpeg", b"x"), ARCHIVE)

    assert list(folder.iterdir()) == []


def test_a_folder_that_must_not_be_written_is_one_message(folder: Path) -> None:
    (folder / "linked").symlink_to(folder.parent)
    with pytest.raises(MediaFolderError, match="link or special file"):
        stage_files(new_stage(folder), {"linked/a.jpeg": b"a"})


def test_a_disk_that_became_read_only_is_no_fault_of_an_archive(folder: Path) -> None:
    with mounted(folder, "-t", "tmpfs", "tmpfs"):
        stage = new_stage(folder)
        stage_files(stage, {"a.jpeg": b"a"})
        stage.close()
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        for step in (
            lambda: stage_files(new_stage(folder), {"b.jpeg": b"b"}),
            lambda: end(folder, committed=False),
            lambda: clean_leftovers(folder, OWNER),
        ):
            with pytest.raises(OSError, match="Read-only file system") as caught:
                step()
            found = disk_error(caught.value)
            assert isinstance(found, DiskFailedError)
            assert str(folder) in found.problem
            assert fault_of_archive(caught.value, None) is None


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOTCONN, errno.ESTALE]
)
def test_no_failure_of_a_disk_is_one_of_permissions(folder: Path, number: int) -> None:
    with pytest.raises((OSError, MediaSpaceError)) as caught, explained(folder, "a.jpeg"):
        raise OSError(number, os.strerror(number))

    found = disk_error(caught.value)
    assert found is not None
    assert "permission" not in str(caught.value) + str(found)


def test_a_name_that_the_file_system_does_not_take_is_one_message(folder: Path) -> None:
    """Of eCryptfs, for example, which takes 143 bytes."""
    with (
        pytest.raises(MediaFolderError, match="rename the file at the sender"),
        explained(folder, "a.jpeg"),
    ):
        (folder / ("x" * 300)).touch()


def test_an_installed_file_that_a_damaged_disk_cannot_return_is_replaced(folder: Path) -> None:
    """Address 0 of a process cannot be read: EIO."""
    (folder / "a.jpeg").touch()
    entry = make_entry("a.jpeg", b"")
    days = (datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day) for day in range(30))
    at = next(day for day in days if is_checked_by_content("a.jpeg", day))
    with mounted(folder / "a.jpeg", "--bind", f"/proc/{os.getpid()}/mem"):
        held = HeldFiles(folder)
        assert not held.has(entry, at)
        held.close()
        stage = new_stage(folder)
        assert stage_files(stage, {"a.jpeg": b""}) == [Outcome.REPLACED]
        stage.close()


def test_a_journal_that_a_full_disk_cannot_take_is_closed(folder: Path) -> None:
    with mounted(folder, "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        stage = new_stage(folder)
        stage_files(stage, {"large.jpeg": bytes(1024**2)})
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(MediaSpaceError):
            show(stage)
        stage.close()
        assert len(list(Path("/proc/self/fd").iterdir())) < before
        end(folder, committed=False)
