"""COPY bytes that go into a member come out of it, described exactly."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.chunk_member import ChunkWriter, decompress_chunk
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Chunk, KeyRange
from ar_sync_pipeline.archive.manifest_reader import ReadLimits
from ar_sync_pipeline.archive.member_names import (
    ABSENT_KEYS,
    CHANGED_KEYS,
    name_problem,
    table_member_path,
)


@given(blocks=st.lists(st.binary(max_size=2000), max_size=20), factor=st.sampled_from([1, 300]))
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], factor: int
) -> None:
    blocks = [block * factor for block in blocks]
    folder = tmp_path_factory.mktemp("chunks")
    with ChunkWriter(folder, "AndroidRequests_bus", 3) as writer:
        for block in blocks:
            assert writer.write(memoryview(block)) == len(block)
        chunk = writer.finish(row_count=7, digest="-12", key_range=KeyRange(low=1, high=9))
    stored = writer.path.read_bytes()

    assert chunk.member == "tables/AndroidRequests_bus.00003.copy.zst"
    assert (chunk.size_bytes, chunk.raw_bytes) == (len(stored), sum(map(len, blocks)))
    assert chunk.sha256 == hashlib.sha256(stored).hexdigest()
    assert b"".join(decompress_chunk(io.BytesIO(stored), chunk)) == b"".join(blocks)


def test_an_unfinished_chunk_leaves_no_file(tmp_path: Path) -> None:
    with ChunkWriter(tmp_path, "t", 0) as writer:
        writer.write(b"rows")
        assert writer.path.exists()

    assert list(tmp_path.iterdir()) == []


def test_a_chunk_is_never_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "t.00000.copy.zst").write_bytes(b"earlier")

    with pytest.raises(FileExistsError):
        ChunkWriter(tmp_path, "t", 0)

    assert (tmp_path / "t.00000.copy.zst").read_bytes() == b"earlier"


@pytest.mark.parametrize(
    ("table", "file"),
    [
        ("AndroidRequests_bus", "AndroidRequests_bus"),
        ("x.bus", "x.bus"),
        ("órdenes de día 🚌", "órdenes de día 🚌"),
        ("in/out", "in%2Fout"),
        ("in%2Fout", "in%252Fout"),
        ("..", "%2E."),
        ("a\nb", "a%0Ab"),
        ("'\"\\", "'\"\\"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_a_table_of_any_name_has_a_member_and_ordinary_names_stay(table: str, file: str) -> None:
    assert table_member_path(table, 0) == f"tables/{file}.00000.copy.zst"


PARTS = (CHANGED_KEYS, ABSENT_KEYS)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 200_000) | st.sampled_from(PARTS))
@example("/" * 127, "/" * 126, "absent")
@example("🚌" * 127, "🚌" * 126 + "/", 100_000)
@example("t", "T", 0)
@example("a.00000", "a", 0)
def test_two_tables_never_have_the_same_member(one: str, other: str, part: int | str) -> None:
    member = table_member_path(one, part)
    assert name_problem(member) is None
    assert member.count("/") == 1
    assert (table_member_path(other, part) == member) == (other == one)


SKIPPABLE = b"\x50\x2a\x4d\x18"


def repeated(folder: Path) -> tuple[bytes, Chunk]:
    """A member of 40 MB that compresses many thousandfold."""
    with ChunkWriter(folder, "t", 0) as writer:
        for _ in range(40):
            writer.write(bytes(1_000_000))
        chunk = writer.finish(row_count=1, digest="0", key_range=None)
    return writer.path.read_bytes(), chunk


def test_what_repeats_itself_is_padded_to_what_a_reader_accepts(tmp_path: Path) -> None:
    stored, chunk = repeated(tmp_path)
    limits = ReadLimits()
    assert chunk.raw_bytes <= limits.free_raw_bytes + chunk.size_bytes * limits.compression_ratio
    assert chunk.size_bytes == len(stored) < 100_000
    assert chunk.sha256 == hashlib.sha256(stored).hexdigest()
    assert sum(map(len, decompress_chunk(io.BytesIO(stored), chunk))) == 40_000_000


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored + b"\0",
        lambda stored: stored[:-1],
        lambda stored: stored[:-1] + b"x",
        lambda stored: stored + SKIPPABLE + bytes(4),
        lambda stored: stored[: stored.rindex(SKIPPABLE) + 6],
        lambda stored: stored.replace(SKIPPABLE, b"\x51\x2a\x4d\x18"),
        lambda stored: stored.replace(SKIPPABLE, b"\x28\xb5\x2f\xfd"),
    ],
)
def test_only_one_frame_of_zeros_may_follow(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    stored, chunk = repeated(tmp_path)
    with pytest.raises(CorruptArchiveError, match="bytes after its zstd frame"):
        list(decompress_chunk(io.BytesIO(change(stored)), chunk))


@given(st.text())
def test_an_accepted_name_stays_below_its_folder(name: str) -> None:
    if name_problem(name) is None:
        assert not name.startswith("/")
        assert not {"", ".", ".."} & set(name.split("/"))
        assert not set(name) & {"\0", "\n", "\r", "\x1b"}
        assert name.encode()
