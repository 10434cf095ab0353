"""A file whose bytes were hardly written is refused before it is read; a whole one never is."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline_tests.archive.building import make_source, write_archive
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

MEGABYTE = 2**20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """On a file system that knows holes, or there is nothing to test."""
    probe = tmp_path / "probe"
    probe.touch()
    os.truncate(probe, MEGABYTE)
    # Where a file system tells no holes, all of a file is data.
    with probe.open("rb") as file, suppress(OSError):
        os.lseek(file.fileno(), 0, os.SEEK_DATA)
        skip_unless_in_ci("this file system does not tell holes")
    return tmp_path / "NEW_backup_partial_20261123T153000.123456Z.tar"


def sparse(path: Path, size_bytes: int, *written: tuple[int, int]) -> None:
    """A file of this size, of which some ranges (offset, length) were written."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for offset, length in written:
            file.seek(offset)
            file.write(os.urandom(length))


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        (2**42, ()),
        (2**40, ((0, MEGABYTE),)),
        (2**40, ((0, MEGABYTE), (2**40 - MEGABYTE, MEGABYTE))),
        (2**30, tuple((n * 16 * MEGABYTE, 4096) for n in range(64))),
        (20 * MEGABYTE, ((0, 3 * MEGABYTE),)),
    ],
)
def test_mostly_unwritten_file_is_refused_at_once(
    path: Path, size_bytes: int, written: tuple[tuple[int, int], ...]
) -> None:
    sparse(path, size_bytes, *written)
    started = time.monotonic()
    with pytest.raises(CorruptArchiveError, match="were never written") as caught:
        open_regular_file(path)
    assert time.monotonic() - started < 5
    assert str(caught.value).startswith(f"archive {path.name}: most of its {size_bytes} bytes")
    with pytest.raises(CorruptArchiveError, match="were never written"):
        verify_archive(path, signing_keys=())


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [
        (0, ()),
        (8 * MEGABYTE, ()),
        (64 * MEGABYTE, ((0, 17 * MEGABYTE),)),
        (64 * MEGABYTE, ((0, 64 * MEGABYTE),)),
    ],
)
def test_file_that_is_small_or_was_written_for_a_good_part_is_read(
    path: Path, size_bytes: int, written: tuple[tuple[int, int], ...]
) -> None:
    sparse(path, size_bytes, *written)
    with open_regular_file(path) as file:
        assert len(file.read(MEGABYTE)) == min(size_bytes, MEGABYTE)


def test_file_that_is_not_on_the_disk_yet_is_read(path: Path) -> None:
    """Its blocks are allocated later; it is counted by what was written to it."""
    path.write_bytes(bytes(40 * MEGABYTE))
    with open_regular_file(path) as file:
        assert file.read() == bytes(40 * MEGABYTE)


def test_archive_with_a_picture_of_nothing_but_zeros_is_read(tmp_path: Path) -> None:
    source = make_source(tmp_path / "files", media={"black.jpeg": bytes(32 * MEGABYTE)})
    assert (
        verify_archive(write_archive(tmp_path, source), signing_keys=()).media[0].path
        == "black.jpeg"
    )
