"""What can keep an archive from being loaded although its bytes are sound."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError


class ForeignArchiveError(TerminalError):
    """The archive was made by another sender than the one this receiver follows."""


class ArchiveParkedError(ParkedError):
    """The archive does not fit the receiver's schema yet."""
