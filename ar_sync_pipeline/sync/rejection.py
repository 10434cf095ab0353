"""An archive that was not applied, and the reason."""

from __future__ import annotations

from dataclasses import dataclass

from ar_sync_pipeline.errors import ArSyncError


@dataclass(frozen=True)
class Rejection:
    """An archive that was parked or quarantined.

    Attributes:
        name: Name of the archive's file, as it was found.
        error: The reason.
    """

    name: str
    error: ArSyncError
