"""How the manifest marks an archive that was converted from the old system."""

from __future__ import annotations

from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind

OLD_SYSTEM = SenderIdentity(system_identifier="old-system", database="", name="")
"""Sender of every converted archive; no cluster has this identifier, so no watermark joins."""


def comes_from_old_system(manifest: Manifest) -> bool:
    """Return whether an archive was converted from the old system."""
    return manifest.sender.system_identifier == OLD_SYSTEM.system_identifier


def has_truncated_times(manifest: Manifest) -> bool:
    """Return whether times in an archive are truncated to milliseconds (old system, D20)."""
    return comes_from_old_system(manifest) and manifest.kind is ArchiveKind.PARTIAL
