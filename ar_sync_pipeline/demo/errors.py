"""Errors of the demo."""

from __future__ import annotations

from ar_sync_pipeline.errors import TerminalError


class PostgresBinariesMissingError(TerminalError):
    """No PostgreSQL server programs were found on this machine."""


class EmbeddedPostgresError(TerminalError):
    """The embedded PostgreSQL server could not be created, started or stopped."""


class DemoFolderError(TerminalError):
    """A demo cannot use the folder."""


class DemoPortError(TerminalError):
    """Another program uses a port that the demo needs."""


class DemoRunError(TerminalError):
    """A job of the demo failed."""

    def __init__(self, job: str, failures: tuple[str, ...]) -> None:
        super().__init__(
            f"{job} failed ({' '.join(failures) or 'no step said why'})",
            remedy="see its Dagster instance and the database's log, in the folder of the demo",
        )


class DemoNotEqualError(TerminalError):
    """The receiver of a demo did not end equal to its sender."""

    def __init__(self) -> None:
        super().__init__(
            "the receiver did not end equal to the sender",
            remedy="the tables above show what differs; please report it",
        )
