"""The database of an archive's media files: what a complete costs for each file."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ar_sync_pipeline.media.media_file import MediaFile
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_files import new_bundle_files
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL, open_journal

_FILES, _BASE = 500, 1_000_000


def steps_to_mark(scratch: Path, partials: int, patch: pytest.MonkeyPatch) -> int:
    """Return SQLite's steps, in thousands, to mark files that the base lists."""
    scratch.mkdir()
    archives = [_BASE + number for number in range(partials + 1)]
    with open_journal(scratch):
        pass
    with sqlite3.connect(scratch / MEDIA_JOURNAL) as journal:
        kinds = ["complete", *["partial"] * partials]
        journal.executemany(
            "INSERT INTO archive VALUES (?, ?, NULL)", zip(archives, kinds, strict=True)
        )
        journal.executemany(
            "INSERT INTO carried VALUES (?, ?, 5, 'aa', 1, 2, 3)",
            ((f"{number}.jpeg", _BASE) for number in range(_FILES)),
        )
    steps, connect, opened = 0, sqlite3.connect, list[sqlite3.Connection]()

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def counted(path: Path, **more: Any) -> sqlite3.Connection:
        opened.append(connect(path, **more))
        opened[-1].set_progress_handler(count, 1_000)
        return opened[-1]

    with patch.context() as patched:
        patched.setattr(sqlite3, "connect", counted)
        with new_bundle_files(open_build(scratch, uuid4().hex)) as files:
            opened[-1].executemany(
                "INSERT INTO file (path, size_bytes, modified_us, sha256) VALUES (?, 5, 0, 'aa')",
                ((f"{number}.jpeg",) for number in range(_FILES)),
            )
            before = steps
            files.mark_held(scratch / MEDIA_JOURNAL, archives)
            assert files.totals() == (_FILES, _FILES, 0)
            return steps - before


def test_partials_since_the_base_do_not_make_a_complete_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = steps_to_mark(tmp_path / "few", 1, monkeypatch)
    many = steps_to_mark(tmp_path / "many", 288, monkeypatch)
    assert many < 1.5 * few


def test_sparse_files_of_any_size_are_the_first_that_are_too_large(tmp_path: Path) -> None:
    """XFS and tmpfs have files of 8 EiB; what can be read of them is found when they are."""
    sizes = {"a": 2**63 - 1, "b": 2**63 - 1, "c": 2**62, "d": 1_000}
    with new_bundle_files(open_build(tmp_path, uuid4().hex)) as files:
        files.add(MediaFile(path, tmp_path, n, datetime.now(UTC)) for path, n in sizes.items())
        assert sorted(files.carried_beyond(1_000, 999)) == ["a", "b", "c"]
        assert [*files.carried_beyond(2**65, 999)] == []
