"""What the manifest of an archive says that was converted from one of the old system."""

from __future__ import annotations

from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind

OLD_SYSTEM = SenderIdentity(system_identifier="old-system", database="", name="")
"""The sender of every converted archive; no cluster has this identifier, so no watermark joins."""


def comes_from_old_system(manifest: Manifest) -> bool:
    """Whether an archive was converted from one of the old system."""
    return manifest.sender.system_identifier == OLD_SYSTEM.system_identifier


def has_truncated_times(manifest: Manifest) -> bool:
    """Whether an archive's times have milliseconds only, as in the old system's partials (D20)."""
    return comes_from_old_system(manifest) and manifest.kind is ArchiveKind.PARTIAL
