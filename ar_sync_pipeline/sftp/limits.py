"""Time limits of a session, and the names of its opening steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class OpeningStep(StrEnum):
    """Steps of opening a session, in order, as shown to operators."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    HOST_KEY = "host key"
    LOGIN = "login"
    SFTP = "sftp"


@dataclass(frozen=True)
class SessionLimits:
    """Time limits of a session.

    Attributes:
        resolve_seconds: Limit for the name lookup.
        connect_seconds: Limit for a TCP connection, for all addresses together.
        opening_seconds: Limit from the name lookup to an open SFTP channel.
        silence_seconds: Limit for a later call without progress. The kernel's limit for a dead
            network is 60 s, too; this one also covers a frozen server.
        disk_bytes_per_second: Slowest disk for which a flush at the server is awaited.
        whole_seconds: Limit for all operations of the open session together; None: no limit,
            because an upload may take hours.
    """

    resolve_seconds: float = 10
    connect_seconds: float = 10
    opening_seconds: float = 30
    silence_seconds: float = 60
    disk_bytes_per_second: float = 5_000_000
    whole_seconds: float | None = None

    def within(self, seconds: float) -> Self:
        """Return shorter limits, so that opening and one silence end within a duration."""
        share = seconds / (self.opening_seconds + self.silence_seconds)
        if share >= 1:
            return self
        return replace(
            self,
            opening_seconds=share * self.opening_seconds,
            silence_seconds=share * self.silence_seconds,
        )
