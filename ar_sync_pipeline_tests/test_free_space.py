"""Free space, counted as an operator's ``df`` counts it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from ar_sync_pipeline.disk_errors import DiskFailedError, measure_free_space
from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.files import FreeSpace, why_unwritable
from ar_sync_pipeline_tests.mounted import mounted


def test_floor_is_crossed_below_it_and_not_at_it() -> None:
    assert not FreeSpace(free_bytes=10, usable_bytes=100).is_below(10)
    assert FreeSpace(free_bytes=9, usable_bytes=100).is_below(10)
    assert not FreeSpace(free_bytes=0, usable_bytes=100).is_below(0)


def test_file_system_that_does_not_report_its_space_is_not_full() -> None:
    """A FUSE file system without ``statfs`` has 0 blocks, of which 0 are free."""
    unknown = FreeSpace.of_blocks(512, 0, 0, 0)
    assert not unknown.is_below(100)
    assert not unknown.is_too_small_for(2**50)
    full = FreeSpace.of_blocks(512, 100, 0, 0)
    assert full.is_below(1)
    assert full.is_too_small_for(1)
    assert not full.is_too_small_for(0)


@pytest.mark.parametrize(
    ("option", "why"),
    [("ro", "its file system is mounted read-only"), ("nr_inodes=1", "has no inode left")],
)
def test_disk_on_which_no_file_can_be_made_says_so(tmp_path: Path, option: str, why: str) -> None:
    assert measure_free_space(tmp_path).unwritable == ""
    with mounted(tmp_path, "-t", "tmpfs", "-o", option, "tmpfs"):
        assert why in measure_free_space(tmp_path).unwritable
        assert measure_free_space(tmp_path).free_percent == 100


def test_file_system_without_a_number_of_inodes_is_writable() -> None:
    """Btrfs reports 0 of 0."""
    assert why_unwritable(0, 0, 0) == ""
    assert why_unwritable(5, 1, 0) == ""


@pytest.mark.parametrize(
    ("free_blocks", "why"), [(0, ""), (1, "its file system has no inode left")]
)
def test_file_system_without_free_bytes_is_full_and_not_out_of_inodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_blocks: int, why: str
) -> None:
    """ZFS makes inodes of free bytes, and reports none where no byte is free."""
    facts = os.statvfs_result((4096, 4096, 100, free_blocks, free_blocks, 7, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: facts)
    space = measure_free_space(tmp_path)
    assert space.unwritable == why
    assert space.is_below(2)


def test_real_disk_is_measured(tmp_path: Path) -> None:
    space = measure_free_space(tmp_path)
    assert space.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert 0 <= space.free_percent <= 100


def test_missing_disk_is_one_sentence() -> None:
    with pytest.raises(ParkedError, match="cannot be used") as caught:
        measure_free_space(Path("/no/such/disk"))
    assert "/no/such/disk" in caught.value.problem
    assert "spool" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOTCONN, "mount the file system"), (errno.EACCES, "may read it")]
)
def test_disk_that_cannot_be_measured_names_its_own_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "statvfs", refuse)
    with pytest.raises(DiskFailedError, match=remedy) as caught:
        measure_free_space(tmp_path)
    assert str(tmp_path) in caught.value.problem
