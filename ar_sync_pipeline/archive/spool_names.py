"""Names of the folders of a spool that both sides use; the receiver has more of its own."""

from __future__ import annotations

from typing import Final

from ar_sync_pipeline.archive.names import ArchiveKind

INCOMING: Final = ".incoming"
"""Uploads that are not complete, and announcements."""
ARCHIVE_FOLDERS: Final = tuple(str(kind) for kind in ArchiveKind)
"""Archives by kind."""
RECEIPTS: Final = "receipts"
"""What the receiver tells the sender."""
