"""The scratch folder in which one run builds its archive.

The steps of a run (tables, media, upload) meet here, so a step that is retried finds what the
earlier ones made. Only folders that carry the product's marker are ever deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from ar_sync_pipeline.errors import TerminalError

_MARKER = ".ar_sync_build"
_PREFIX = "ar_sync_build_"

Model = TypeVar("Model", bound=BaseModel)


class BuildMissingError(TerminalError):
    """A later step of a run was started without the earlier ones."""


@dataclass(frozen=True)
class BuildFolder:
    """One run's scratch folder."""

    path: Path

    @property
    def members(self) -> Path:
        """Where the members of the archive are made."""
        return self.path / "members"

    def save(self, part: BaseModel) -> None:
        """Keep what a step found out for the steps behind it."""
        target = self.path / f"{type(part).__name__}.json"
        temporary = target.with_suffix(".part")
        # Bytes, since the list of all pictures is large and a text of it would be a second one.
        temporary.write_bytes(to_json(part))
        temporary.replace(target)

    def read(self, kind: type[Model]) -> Model:
        """What an earlier step kept.

        Raises:
            BuildMissingError: that step has not run in this run.
        """
        source = self.path / f"{kind.__name__}.json"
        try:
            return kind.model_validate_json(source.read_bytes())
        except FileNotFoundError as error:
            raise BuildMissingError(
                f"this run has made no {kind.__name__} yet ({source} is missing)",
                remedy="materialize tables, media and archive together, as the jobs do",
            ) from error

    def remove(self) -> None:
        """Delete the folder and all in it."""
        if (self.path / _MARKER).is_file():
            shutil.rmtree(self.path)


def open_build(scratch: Path, run_id: str) -> BuildFolder:
    """The build folder of a run, made when it is asked for first."""
    build = BuildFolder(scratch / f"{_PREFIX}{run_id}")
    build.path.mkdir(mode=0o700, exist_ok=True)
    (build.path / _MARKER).touch()
    build.members.mkdir(exist_ok=True)
    return build


def clean_members(build: BuildFolder) -> None:
    """Drop what an earlier attempt of the same run left behind."""
    shutil.rmtree(build.members)
    build.members.mkdir()


def stale_builds(scratch: Path, now: datetime, keep: timedelta) -> Iterator[BuildFolder]:
    """Build folders that no run has touched for a while: their run was killed."""
    for path in sorted(scratch.glob(f"{_PREFIX}*")):
        marker = path / _MARKER
        if not path.is_symlink() and marker.is_file():
            touched = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if touched < now - keep:
                yield BuildFolder(path)
