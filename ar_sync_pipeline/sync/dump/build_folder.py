"""The scratch folder in which one run builds its archive.

All steps of a run (tables, media, upload) use it, so a retried step finds the results of the
earlier ones. Only folders with the product's marker are ever deleted.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from ar_sync_pipeline.archive.microseconds import nearest_instant
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.files import HeldFolder, sync_folder
from ar_sync_pipeline.sync.errors import ScratchMissingError, ScratchNotPrivateError

_MARKER = ".ar_sync_build"
_PREFIX = "ar_sync_build_"
# A run may make an archive of either kind; the folders of completes have only the run's id.
_OF_PARTIAL = "_partial"
_RUN_ID = "-".join("[0-9a-f]" * digits for digits in (8, 4, 4, 4, 12))

BUILD_AGAIN = "launch the job again, not from the failed step: it builds the archive from the start"
"""Remedy for a build folder that no step can continue."""
Model = TypeVar("Model", bound=BaseModel)


class BuildMissingError(TerminalError):
    """The results of an earlier step of a run are not there, or no longer."""


class BuildDamagedError(TerminalError):
    """The results of an earlier step of a run cannot be read."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"the result of an earlier step of this run, {path}, is damaged ({reason})",
            remedy=f"{BUILD_AGAIN}; look for errors of the disk in the kernel's log",
        )


@dataclass(frozen=True)
class BuildFolder:
    """The scratch folder of one run for one archive."""

    path: Path

    @property
    def run_id(self) -> str:
        """Id of the run that created the folder."""
        return self.path.name.removeprefix(_PREFIX).removesuffix(_OF_PARTIAL)

    @property
    def members(self) -> Path:
        """Folder of the archive's members."""
        return self.path / "members"

    def save(self, part: BaseModel) -> None:
        """Store the result of a step for later steps."""
        target = self.path / f"{type(part).__name__}.json"
        temporary = target.with_suffix(".part")
        # Bytes, since the list of all media files is large and a text of it would be a second copy.
        temporary.write_bytes(to_json(part))
        temporary.replace(target)

    def read(self, kind: type[Model], stored_as: str | None = None) -> Model:
        """Return the stored result of an earlier step.

        Args:
            kind: Model of the result.
            stored_as: Name of the model that was saved, if ``kind`` is only a part of it.

        Raises:
            BuildMissingError: That step has not run in this run.
            BuildDamagedError: The file is damaged, or this account cannot read it.
            DiskFailedError: The disk fails.
        """
        source = self.path / f"{stored_as or kind.__name__}.json"
        try:
            return kind.model_validate_json(source.read_bytes())
        except FileNotFoundError as error:
            raise BuildMissingError(
                f"the result of an earlier step of this run is not there ({source} is missing)",
                remedy=BUILD_AGAIN,
            ) from error
        except OSError as error:
            raise disk_error(error) or BuildDamagedError(source, error.strerror) from error
        except ValidationError as error:
            raise BuildDamagedError(source, f"{error.error_count()} errors in its JSON") from error

    def sync(self) -> None:
        """Make the results of a step durable: after a power failure a retry resumes from them.

        The chunks of rows are already; a step that is not over is repeated.
        """
        with HeldFolder.open(self.path) as folder:
            for file in folder.regular_files():
                with (self.path / file.name).open("rb") as opened:
                    os.fsync(opened.fileno())
            folder.sync()
        for parent in (self.members, self.path.parent):
            sync_folder(parent)

    def require_members(self) -> None:
        """Check that there is any member.

        Raises:
            BuildMissingError: They were removed, because their archive had arrived.
        """
        if not any(self.members.iterdir()):
            raise BuildMissingError(
                f"the rows of this run were removed when their archive had arrived ({self.members}"
                " is empty)",
                remedy=BUILD_AGAIN,
            )

    def remove_members(self) -> None:
        """Delete the members after their archive has arrived; the results of the steps stay.

        If the run is killed before its success is recorded, its retry finds the archive by them.
        """
        _remove_tree(self.members)

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        if (self.path / _MARKER).is_file():
            _remove_tree(self.path)


def check_scratch(scratch: Path) -> None:
    """Check that only this account can change the content of the scratch folder.

    Other accounts could otherwise add rows to the archives, or redirect the product to other
    folders.

    Raises:
        ScratchMissingError: It does not exist.
        ScratchNotPrivateError: It, or the link to it, belongs to another account, or others may
            write.
    """
    us = os.geteuid()
    try:
        facts = scratch.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScratchMissingError(
            f"the scratch folder {scratch} does not exist",
            remedy=f"mount its disk; if there is none, run `install -d -m 0700 -o {us} {scratch}`"
            " as root",
        ) from error
    if facts.st_uid != us or scratch.lstat().st_uid not in {us, 0}:
        raise ScratchNotPrivateError(
            f"the scratch folder {scratch} belongs to another account than this one (uid {us})",
            remedy=f"run `install -d -m 0700 -o {us} FOLDER` as root for a new FOLDER, and let"
            " AR_SYNC_TMP_BKP_FLDR name it",
        )
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ScratchNotPrivateError(
            f"other accounts may write to the scratch folder {scratch}"
            f" (mode {stat.S_IMODE(facts.st_mode):04o})",
            remedy=f"run `chmod 0700 {scratch}`",
        )


def open_build(scratch: Path, run_id: str, kind: ArchiveKind = ArchiveKind.COMPLETE) -> BuildFolder:
    """Return the build folder of a run for a kind of archive; create it if it is missing.

    Raises:
        ScratchNotPrivateError: Others can change the content of the scratch folder.
    """
    check_scratch(scratch)
    suffix = _OF_PARTIAL if kind is ArchiveKind.PARTIAL else ""
    build = BuildFolder(scratch / f"{_PREFIX}{run_id}{suffix}")
    build.path.mkdir(mode=0o700, exist_ok=True)
    (build.path / _MARKER).touch()
    build.members.mkdir(exist_ok=True)
    return build


def clean_members(build: BuildFolder) -> None:
    """Delete what an earlier attempt of the same run left."""
    shutil.rmtree(build.members)
    build.members.mkdir()


def build_folders(scratch: Path) -> Iterator[BuildFolder]:
    """Yield all build folders."""
    for path in sorted(scratch.glob(f"{_PREFIX}*")):
        if not path.is_symlink() and (path / _MARKER).is_file():
            yield BuildFolder(path)


def stale_builds(
    scratch: Path, now: datetime, keep: timedelta, is_over: Callable[[str], bool | None]
) -> Iterator[BuildFolder]:
    """Yield build folders whose run is never resumed, or unknown and not used for a while.

    Args:
        is_over: Whether the run of this id is never resumed; None: it is unknown. The age of the
            folder of a known run does not count: a clock that is ahead would make it old.
    """
    for build in build_folders(scratch):
        touched = _mtime(build.path)
        if touched is None:
            continue
        over = is_over(build.run_id)
        if over or (over is None and touched < now - keep):
            yield build


def remove_unmarked(scratch: Path, older_than: datetime) -> None:
    """Delete empty folders with the id of a run, killed before it marked or deleted its own.

    Any other name without a marker may be that of a person's folder.
    """
    of_any_kind = (scratch.glob(f"{_PREFIX}{_RUN_ID}{kind}") for kind in ("", _OF_PARTIAL))
    for path in chain.from_iterable(of_any_kind):
        with suppress(OSError):  # it is not empty, or a link
            if path.lstat().st_mtime < older_than.timestamp():
                path.rmdir()


def _mtime(path: Path) -> datetime | None:
    """Return the mtime of a folder; None if another run has just removed it."""
    try:
        return nearest_instant(path.stat().st_mtime_ns // 1000)
    except FileNotFoundError:
        return None


def _remove_tree(folder: Path) -> None:
    """Delete a folder, also if another run deletes it at the same time.

    The results of steps go first, so that no run resumes with them and without the members. The
    marker goes last, so that a later run deletes what is left if this one is killed.
    """
    while folder.exists():
        with suppress(FileNotFoundError):
            inner = [path for path in folder.iterdir() if path.name != _MARKER]
            for path in sorted(inner, key=Path.is_dir):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            shutil.rmtree(folder)
