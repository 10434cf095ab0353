"""Why an archive is parked or in quarantine: ``<file>.reason.json`` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from ar_sync_pipeline.spool.durable_files import write_atomically

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ar_sync_pipeline.errors import ArSyncError

REASON_SUFFIX = ".reason.json"


class Reason(BaseModel):
    """Why an archive is where it is.

    Attributes:
        error: name of the error's class.
        since: when the archive was first put aside.
        at: when it was last found to belong there.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    remedy: str
    error: str
    since: AwareDatetime
    at: AwareDatetime


def reason_path(archive: Path) -> Path:
    """Where the reason of an archive file lies."""
    return archive.with_name(archive.name + REASON_SUFFIX)


def write_reason(archive: Path, error: ArSyncError, at: datetime) -> None:
    """Say why the file that is, or is about to be, at ``archive`` lies there."""
    earlier = read_reason(archive)
    reason = Reason(
        reason=error.problem,
        remedy=error.remedy,
        error=type(error).__name__,
        since=earlier.since if earlier else at,
        at=at,
    )
    write_atomically(reason_path(archive), reason.model_dump_json(indent=2).encode() + b"\n")


def read_reason(archive: Path) -> Reason | None:
    """Why a file is parked or in quarantine; None if nobody wrote it down readably."""
    try:
        return Reason.model_validate_json(reason_path(archive).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
