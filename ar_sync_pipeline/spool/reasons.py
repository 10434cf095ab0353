"""Reason file of a parked or quarantined archive: ``<file>.reason.json`` in the same folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.spool.errors import access_to
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.layout import folder_of
from ar_sync_pipeline.spool.signed_json import MAX_BYTES

REASON_SUFFIX = ".reason.json"


class VerifiedFile(BaseModel):
    """Metadata that identifies a file that was read to its last byte and verified.

    The ctime is not included, because a rename changes it. A changed file with equal metadata is
    detected when its rows are loaded.
    """

    model_config = ConfigDict(frozen=True)

    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Return the metadata of a file; None if it is not a regular file."""
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
    """Reason why an archive is parked or quarantined.

    Attributes:
        reason: Problem of the error.
        remedy: Remedy of the error.
        error: Code of the error.
        since: Time when the archive was first parked or quarantined.
        at: Time when the reason was last confirmed.
        verified: Metadata of the file if all its bytes were verified; None if not.
        lacking: What the receiver lacks of a differential complete, or in order to apply a partial;
            None: not the reason.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    reason: str
    remedy: str
    error: str
    since: AwareDatetime
    at: AwareDatetime
    # The file format of an earlier version.
    verified: VerifiedFile | None = Field(default=None, alias="sound")
    lacking: Lacking | None = None

    def is_verified(self, archive: Path) -> bool:
        """Return whether this file was already read to its end and verified."""
        return self.verified is not None and self.verified == VerifiedFile.of(archive)


def reason_path(archive: Path) -> Path:
    """Return the path of the reason file of an archive."""
    return archive.with_name(archive.name + REASON_SUFFIX)


def write_reason(
    archive: Path,
    error: ArSyncError,
    at: datetime,
    *,
    verified: VerifiedFile | None = None,
    lacking: Lacking | None = None,
) -> None:
    """Write the reason file of an archive that is, or will be, at ``archive``.

    Args:
        verified: Metadata of the file if all its bytes were verified; None keeps an earlier value.
        lacking: What the receiver lacks of the archive.
    """
    earlier = read_reason(archive)
    reason = Reason(
        reason=error.problem,
        remedy=error.remedy,
        error=error.code,
        since=earlier.since if earlier else at,
        at=at,
        verified=verified or (earlier.verified if earlier else None),
        lacking=lacking,
    )
    with folder_of(archive) as folder, access_to(reason_path(archive)):
        content = reason.model_dump_json(indent=2).encode() + b"\n"
        folder.write(reason_path(archive).name, content)


def read_reason(archive: Path) -> Reason | None:
    """Return the reason of an archive; None if there is no readable reason file.

    An entry that is not a small regular file counts as unreadable; reading it never blocks.
    """
    with folder_of(archive) as folder:
        try:
            content = folder.read(reason_path(archive).name, MAX_BYTES)
            return Reason.model_validate_json(content)
        except (OSError, ValidationError):
            return None


def explains_nothing(folder: HeldFolder, name: str) -> bool:
    """Return whether a file is a reason file without its archive, as a killed run leaves one."""
    return name.endswith(REASON_SUFFIX) and folder.facts(name.removesuffix(REASON_SUFFIX)) is None


def forget_reason(archive: Path) -> None:
    """Remove the reason file of an archive, if there is one."""
    with folder_of(archive) as folder, access_to(reason_path(archive)):
        folder.remove(reason_path(archive).name)
