"""An archive that was not applied, and the sentence that says why."""

from __future__ import annotations

from dataclasses import dataclass

from ar_sync_pipeline.errors import ArSyncError


@dataclass(frozen=True)
class Rejection:
    """What was put aside: parked or quarantined.

    Attributes:
        name: of the archive's file, as it was found.
    """

    name: str
    error: ArSyncError
