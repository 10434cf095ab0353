"""What paramiko raises, and the error for a lost connection."""

from __future__ import annotations

import paramiko
from paramiko.sftp import SFTPError

from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import ConnectionLostError
from ar_sync_pipeline.sftp.watchdog import Watchdog

# The errors that paramiko raises; undecodable text of the server is a UnicodeError.
FAILURES = (OSError, EOFError, SFTPError, paramiko.SSHException, UnicodeError)


def connection_lost(endpoint: SftpEndpoint, watchdog: Watchdog, when: str) -> ConnectionLostError:
    """Return the error for every way in which paramiko reports a lost connection."""
    reason = watchdog.reason or "closed by the other side or by the network"
    return ConnectionLostError(
        f"the connection to {endpoint.host} port {endpoint.port} was lost {when} ({reason})",
        remedy="do nothing if a retry succeeds; else check the network and the receiver's SSH"
        " server",
    )
