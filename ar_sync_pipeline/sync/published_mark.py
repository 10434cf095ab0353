"""What the sender remembers of its newest archive, for as long as no receipt says more."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Manifest, Watermark
from ar_sync_pipeline.archive.names import ArchiveKind

_PUBLISHED = "ar_sync_published.json"


class PublishedMark(BaseModel):
    """The watermark of the newest archive that was published, kept in the sender's scratch."""

    model_config = ConfigDict(frozen=True)

    kind: ArchiveKind
    watermark: Watermark


def remember_published(scratch: Path, manifest: Manifest) -> None:
    """Keep the archive's watermark for the next partial."""
    mark = PublishedMark(kind=manifest.kind, watermark=manifest.watermark)
    target = scratch / _PUBLISHED
    known = read_published(scratch)
    if known is not None and known.watermark.snapshot_at >= manifest.snapshot_at:
        return
    temporary = target.with_suffix(".part")
    temporary.write_text(mark.model_dump_json(), encoding="utf-8")
    temporary.replace(target)


def read_published(scratch: Path) -> PublishedMark | None:
    """What `remember_published` kept; None on a new machine or if the file is damaged."""
    try:
        return PublishedMark.model_validate_json((scratch / _PUBLISHED).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
