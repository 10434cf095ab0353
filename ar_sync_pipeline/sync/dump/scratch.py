"""The sender's scratch folder: removal of the files of killed runs, and errors of a full disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from ar_sync_pipeline.disk_errors import DiskFullError, disk_error
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import TEMPORARY_PREFIX, HeldFolder
from ar_sync_pipeline.sync.dump.build_folder import (
    BuildFolder,
    check_scratch,
    clean_members,
    remove_unmarked,
    stale_builds,
)
from ar_sync_pipeline.sync.errors import ScratchFullError

# Longer than any run leaves its folder unchanged, so that no run still uses it.
_ABANDONED = timedelta(days=2)


def _unknown(_: str) -> None:
    return None


def clean_scratch(
    scratch: Path, now: datetime, is_over: Callable[[str], bool | None] = _unknown
) -> int:
    """Remove the build folders that no run resumes, return how many, and files of killed writers.

    Only what the product itself created is removed (D36).

    Args:
        is_over: Whether the run of this id is never resumed; None, as by default: it is unknown,
            and its folder is kept for two days.

    Raises:
        ScratchNotPrivateError: Others can change the content of the scratch folder.
    """
    check_scratch(scratch)
    stale = list(stale_builds(scratch, now, _ABANDONED, is_over))
    for build in stale:
        build.remove()
    remove_unmarked(scratch, now - _ABANDONED)
    _remove_temporary_files(scratch, now - _ABANDONED)
    return len(stale)


def _remove_temporary_files(scratch: Path, older_than: datetime) -> None:
    """Remove the temporary files of journals and manifests whose writer was killed."""
    with HeldFolder.open(scratch, follow=True) as folder:
        for entry in folder.regular_files():
            stale = entry.facts.st_mtime < older_than.timestamp()
            if stale and entry.name.startswith(TEMPORARY_PREFIX):
                folder.remove(entry.name)


@contextmanager
def space_for(build: BuildFolder) -> Iterator[None]:
    """Turn a full disk into one error, and delete what was written.

    Raises:
        ScratchFullError: The disk was full inside the block.
    """
    try:
        yield
    except (OSError, ArSyncError) as error:
        cause = disk_error(error)
        if not isinstance(cause, DiskFullError):
            raise
        clean_members(build)
        raise ScratchFullError(
            f"the disk of the scratch folder {build.path.parent} is full ({cause.problem})",
            remedy="free space there, or let AR_SYNC_TMP_BKP_FLDR name a larger disk; the next run"
            " carries what this one could not",
        ) from error
