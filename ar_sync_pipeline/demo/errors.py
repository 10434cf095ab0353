"""What can go wrong while two servers are built in one folder."""

from __future__ import annotations

from ar_sync_pipeline.errors import TerminalError


class PostgresBinariesMissingError(TerminalError):
    """No PostgreSQL server programs were found on this machine."""


class EmbeddedPostgresError(TerminalError):
    """The embedded PostgreSQL server could not be made, started or stopped."""
