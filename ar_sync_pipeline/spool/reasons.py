"""Why an archive is parked or in quarantine: ``<file>.reason.json`` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from ar_sync_pipeline.spool.errors import access_to
from ar_sync_pipeline.spool.layout import folder_of
from ar_sync_pipeline.spool.signed_json import MAX_BYTES

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ar_sync_pipeline.errors import ArSyncError

REASON_SUFFIX = ".reason.json"


class VerifiedFile(BaseModel):
    """A file that was read to its last byte and found sound, by which it is known again.

    Without its ctime, which a rename changes. A file that was changed in spite of these is found
    out too, when its rows are loaded.
    """

    model_config = ConfigDict(frozen=True)

    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return what an archive's file is now; None if it is no regular file by now."""
        with folder_of(path) as folder:
            facts = folder.file_facts(path.name)
        if facts is None:
            return None
        return cls(
            device=facts.st_dev,
            inode=facts.st_ino,
            size_bytes=facts.st_size,
            modified_ns=facts.st_mtime_ns,
        )


class Reason(BaseModel):
    """Why an archive is where it is.

    Attributes:
        error: its code.
        since: when the archive was first put aside.
        at: when it was last found to belong there.
        sound: the file, if nothing was wrong with its bytes; None if they were not all read.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    remedy: str
    error: str
    since: AwareDatetime
    at: AwareDatetime
    verified: VerifiedFile | None = None

    def is_verified(self, archive: Path) -> bool:
        """Return whether this very file was read to its end already."""
        return self.verified is not None and self.verified == VerifiedFile.of(archive)


def reason_path(archive: Path) -> Path:
    """Return where the reason of an archive file lies."""
    return archive.with_name(archive.name + REASON_SUFFIX)


def write_reason(
    archive: Path, error: ArSyncError, at: datetime, *, verified: VerifiedFile | None = None
) -> None:
    """Say why the file that is, or is about to be, at ``archive`` lies there.

    Args:
        sound: the file, if all of it was read; what was known of it before is kept.
    """
    earlier = read_reason(archive)
    reason = Reason(
        reason=error.problem,
        remedy=error.remedy,
        error=error.code,
        since=earlier.since if earlier else at,
        at=at,
        verified=verified or (earlier.verified if earlier else None),
    )
    with folder_of(archive) as folder, access_to(reason_path(archive)):
        content = reason.model_dump_json(indent=2).encode() + b"\n"
        folder.write(reason_path(archive).name, content)


def read_reason(archive: Path) -> Reason | None:
    """Return why a file is parked or in quarantine; None if nobody wrote it down readably.

    What is no small regular file counts as unreadable and is never waited for.
    """
    with folder_of(archive) as folder:
        try:
            content = folder.read(reason_path(archive).name, MAX_BYTES)
            return Reason.model_validate_json(content)
        except (OSError, ValidationError):
            return None


def forget_reason(archive: Path) -> None:
    """Remove an archive's reason, if there is one."""
    with folder_of(archive) as folder, access_to(reason_path(archive)):
        folder.remove(reason_path(archive).name)
