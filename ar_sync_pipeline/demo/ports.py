"""Ports of the loopback interface."""

from __future__ import annotations

import socket

_HOST = "127.0.0.1"


def free_port() -> int:
    """Return a port that no program uses now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])
