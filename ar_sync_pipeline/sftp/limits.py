"""How long each part of a session may take, and what the parts of its opening are called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self


class OpeningStep(StrEnum):
    """The steps of opening a session, in their order, as a person reads them."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    HOST_KEY = "host key"
    LOGIN = "login"
    SFTP = "sftp"


@dataclass(frozen=True)
class SessionLimits:
    """How long each part of a session may take.

    Attributes:
        resolve_seconds: for the host's address.
        connect_seconds: for a TCP connection, all addresses together.
        opening_seconds: from the host's name to an open SFTP channel, all together.
        silence_seconds: for any later call without progress; the kernel's own limit for a dead
            network is 60 s too, this one also covers a server that is alive but frozen.
        disk_bytes_per_second: slowest disk for which the server's fsync is waited.
        whole_seconds: for everything that is done in the open session, together; None: no limit,
            since an upload may rightly take hours.
    """

    resolve_seconds: float = 10
    connect_seconds: float = 10
    opening_seconds: float = 30
    silence_seconds: float = 60
    disk_bytes_per_second: float = 5_000_000
    whole_seconds: float | None = None

    def within(self, seconds: float) -> Self:
        """These limits, shortened so that opening and one silence end within so many seconds."""
        share = seconds / (self.opening_seconds + self.silence_seconds)
        if share >= 1:
            return self
        return replace(
            self,
            opening_seconds=share * self.opening_seconds,
            silence_seconds=share * self.silence_seconds,
        )
