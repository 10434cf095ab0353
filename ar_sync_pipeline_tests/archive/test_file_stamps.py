"""A file with an equal stamp is not hashed again while it is sent; any other is."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from ar_sync_pipeline.archive import file_stamp
from ar_sync_pipeline.archive.errors import MemberChangedError
from ar_sync_pipeline.archive.file_stamp import FileStamp, steady_stamp
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline_tests.archive.building import make_source

# Several blocks of a reader's buffer, so that the middle of the archive is in the member.
CONTENT = bytes(range(256)) * 4 * 4096


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return tmp_path / "files" / "picture0"


def stamped(tmp_path: Path) -> ArchiveSource:
    """An archive of one picture whose file has the stamp from when it was hashed."""
    source = make_source(tmp_path / "files", media={"a.jpeg": CONTENT})
    picture = tmp_path / "files" / "picture0"
    stamps = {"media/a.jpeg": FileStamp.of(picture.stat())}
    return ArchiveSource(source.manifest, {"media/a.jpeg": picture}, stamps=stamps)


def wait_a_tick() -> None:
    """Until a change would show: the kernel's clock of files goes in steps of some ms."""
    time.sleep(0.02)


def test_stamped_archive_has_the_same_bytes(tmp_path: Path) -> None:
    source = stamped(tmp_path)
    hashed = ArchiveSource(source.manifest, {"media/a.jpeg": tmp_path / "files" / "picture0"})
    for start in (0, 700_001):
        with source.open() as one, hashed.open() as other:
            one.seek(start)
            other.seek(start)
            assert one.read() == other.read()


def test_file_that_was_rewritten_is_hashed_and_found_out(tmp_path: Path, picture: Path) -> None:
    source = stamped(tmp_path)
    wait_a_tick()
    facts = picture.stat()
    picture.write_bytes(b"\xff" + CONTENT[1:])
    # Size and mtime as before: ctime cannot be set back.
    os.utime(picture, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with source.open() as stream, pytest.raises(MemberChangedError, match="sha256"):
        stream.read()


def test_file_that_was_only_touched_is_hashed_and_sent(tmp_path: Path, picture: Path) -> None:
    source = stamped(tmp_path)
    wait_a_tick()
    picture.touch()
    with source.open() as stream:
        assert CONTENT in stream.read()


def test_file_that_is_written_to_while_it_is_read_stops_the_archive(
    tmp_path: Path, picture: Path
) -> None:
    source = stamped(tmp_path)
    with source.open() as stream:
        stream.read(source.size_bytes // 2)
        wait_a_tick()
        with picture.open("r+b") as file:
            file.write(b"\xff")
        with pytest.raises(MemberChangedError, match="written to while"):
            stream.read()


def test_file_that_was_changed_just_now_has_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change within the clock's tick of the last one would not show."""
    path = tmp_path / "x"
    path.write_bytes(b"x")
    assert steady_stamp(path) is None
    monkeypatch.setattr(file_stamp, "_STABLE_AFTER_NS", -1)
    assert steady_stamp(path) == FileStamp.of(path.stat())
    assert steady_stamp(tmp_path / "absent") is None


@pytest.mark.parametrize("time_ns", [-(2**80), -(2**63), -1, 2**63 - 1, 2**63, 2**90])
@pytest.mark.parametrize("number", [0, 2**64 - 1])
def test_stamp_of_any_file_system_fits_sqlite(time_ns: int, number: int) -> None:
    times = {"st_mtime_ns": time_ns, "st_ctime_ns": time_ns}
    facts = os.stat_result((0o100644, number, number, 1, 0, 0, 2**63 - 1, 0, 0, 0), times)
    stamp = FileStamp.of(facts)
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute("SELECT ?, ?, ?, ?, ?", stamp).fetchone() == stamp
