"""A load's media files without a database: staged, put in place, and finished or taken back."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.media.install import finish_or_undo, rename_into_place
from ar_sync_pipeline.media.stage import MediaStage, Outcome
from ar_sync_pipeline_tests.archive.building import make_entry

ARCHIVE = UUID("5f3c2d9e-0000-4000-8000-000000000001")
OWNER = "1234abcd"


def new_stage(folder: Path) -> MediaStage:
    return MediaStage(folder, OWNER, [ARCHIVE])


def stage_files(stage: MediaStage, files: Mapping[str, bytes]) -> list[Outcome]:
    return [
        stage.stage(io.BytesIO(content), make_entry(name, content), ARCHIVE)
        for name, content in files.items()
    ]


def show(stage: MediaStage) -> None:
    """As just before the commit."""
    rename_into_place(stage, lambda _: nullcontext(), lambda: None)


def end(folder: Path, *, committed: bool) -> None:
    """As after the commit or the rollback."""
    finish_or_undo(folder, OWNER, lambda archives: committed and archives == {ARCHIVE})


def put_in_place(stage: MediaStage) -> None:
    show(stage)
    stage.journal.close()
    end(stage.folder, committed=True)


def install(folder: Path, name: str, content: bytes) -> Outcome:
    """A load of one file that is committed."""
    stage = new_stage(folder)
    try:
        (outcome,) = stage_files(stage, {name: content})
        put_in_place(stage)
    finally:
        stage.journal.close()
        end(folder, committed=False)
    return outcome
