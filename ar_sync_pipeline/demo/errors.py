"""What can go wrong while two servers are built in one folder."""

from __future__ import annotations

from ar_sync_pipeline.errors import TerminalError


class PostgresBinariesMissingError(TerminalError):
    """No PostgreSQL server programs were found on this machine."""


class EmbeddedPostgresError(TerminalError):
    """The embedded PostgreSQL server could not be made, started or stopped."""


class DemoRunError(TerminalError):
    """A job of the demo failed."""

    def __init__(self, job: str, failures: tuple[str, ...]) -> None:
        super().__init__(
            f"{job} failed ({' '.join(failures) or 'no step said why'})",
            remedy="the folder of the demo holds its Dagster instance and the database's log",
        )
