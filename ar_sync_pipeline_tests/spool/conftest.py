"""A prepared spool, and archives put into it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.spool.layout import prepare_spool

PutArchive = Callable[..., "Path"]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    prepare_spool(folder)
    return folder


@pytest.fixture
def put(spool: Path) -> PutArchive:
    """Put an archive file of a kind and snapshot into a folder of the spool."""

    def put(
        kind: ArchiveKind = ArchiveKind.PARTIAL,
        snapshot_at: datetime = NOON,
        *,
        applied: bool = False,
        folder: str | None = None,
        content: bytes = b"archive",
    ) -> Path:
        name = ArchiveName(kind, snapshot_at)
        path = spool / (folder or kind) / (name.applied if applied else name.waiting)
        path.write_bytes(content)
        return path

    return put
