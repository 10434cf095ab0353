"""A change of a chunk that somebody forged: the receiver believes what its own rows prove."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline.archive.chunk_member import ChunkWriter
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline_tests.fix_sites import CHILDREN, rows
from ar_sync_pipeline_tests.sync.fix_changed_chunks import changes, complete_after, equal_pair
from ar_sync_pipeline_tests.sync.fix_differential import (
    assert_applied,
    load,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    return equal_pair(media_sender)


def ranges(*pairs: tuple[int, int]) -> bytes:
    """Ranges of keys as a binary COPY (PostgreSQL manual, COPY, "Binary Format")."""
    rows = b"".join(struct.pack(">hiqiq", 2, 8, low, 8, high) for low, high in pairs)
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows + b"\xff\xff"


def forge(
    path: Path,
    folder: Path,
    *,
    absent: bytes | None = None,
    **changes: object,
) -> None:
    """Replace the absent keys of children, or change what their chunk says."""
    folder.mkdir()
    members: dict[str, Path] = {}
    with open_archive(path) as reader:
        manifest = reader.manifest
        for number, (name, stream) in enumerate(reader.members()):
            members[name] = folder / str(number)
            members[name].write_bytes(stream.read() or b"")
    place, found = next((n, t) for n, t in enumerate(manifest.tables) if t.name == "app_child")
    assert found.absent_keys is not None
    if absent is not None:
        with ChunkWriter(folder, "app_child", "absent") as writer:
            writer.write(absent)
            count = (len(absent) - 21) // 26
            keys = writer.finish(row_count=count, digest="0", key_range=None)
        members[keys.member] = writer.path
        found = found.model_copy(update={"absent_keys": keys})
    chunks = tuple(c.model_copy(update=changes) if c.is_change else c for c in found.chunks)
    found = found.model_copy(update={"chunks": chunks})
    tables = (*manifest.tables[:place], found, *manifest.tables[place + 1 :])
    path.unlink()
    ArchiveSource(manifest.model_copy(update={"tables": tables}), members).write_to(path)


class TestForgedChange:
    """A receiver without a signing key believes nothing that its own rows do not prove."""

    def refuse(self, pair: MediaSender, tmp_path: Path, **forged: Any) -> None:
        manifest = complete_after(pair, "UPDATE app_child SET amount = -5 WHERE id = (1 << 16) + 6")
        assert changes(manifest) == {1: 1}
        path = pair.waiting(manifest)
        forge(path, tmp_path / "forged", **forged)
        before = rows(pair.sites.receiver, CHILDREN)
        report = load(pair)
        assert report.loaded == ()
        assert rows(pair.sites.receiver, CHILDREN) == before

    @pytest.mark.parametrize(
        "absent",
        [
            pytest.param([], id="nothing is absent"),
            pytest.param([(-(2**63), 2**63 - 1)], id="everything"),
            pytest.param([((1 << 16) + 2, (1 << 16) + 3)], id="rows that exist"),
            pytest.param([((1 << 16) + 6, (1 << 16) + 6)], id="the changed row"),
        ],
    )
    def test_other_absent_keys(
        self, pair: MediaSender, tmp_path: Path, absent: list[tuple[int, int]]
    ) -> None:
        if absent:
            self.refuse(pair, tmp_path, absent=ranges(*absent))
        else:
            pair.sites.at_sender("DELETE FROM app_child WHERE id = (1 << 16) + 9")
            self.refuse(pair, tmp_path, absent=ranges())

    def test_absent_keys_outside_its_chunk_mean_nothing(
        self, pair: MediaSender, tmp_path: Path
    ) -> None:
        manifest = complete_after(pair, "UPDATE app_child SET amount = -5 WHERE id = (1 << 16) + 6")
        forge(
            pair.waiting(manifest),
            tmp_path / "forged",
            absent=ranges((-100, 100), ((2 << 16), (3 << 16)), (5, 4)),
        )
        assert_applied(pair, manifest)

    @pytest.mark.parametrize("said", [{"digest": "1"}, {"changed_rows": 2}, {"changed_rows": 0}])
    def test_other_content(
        self, pair: MediaSender, tmp_path: Path, said: dict[str, object]
    ) -> None:
        self.refuse(pair, tmp_path, **said)

    def test_absent_keys_that_are_no_ranges(self, pair: MediaSender, tmp_path: Path) -> None:
        self.refuse(pair, tmp_path, absent=ranges((1, 1))[:-6] + b"\xff\xff")
