"""SHA-256 of a file that the receiver calculates, if the account may run commands.

It finds damage before an archive becomes visible. The least-privilege account may not run commands;
then the receiver finds damage when it reads the archive.
"""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from pathlib import PurePosixPath

import paramiko

from ar_sync_pipeline.sftp.session import SftpSession, channel_has_news

_OPENING_SECONDS = 30
_LEAST_TIMEOUT_SECONDS = 30
# Slow disk and processor; sha256sum of coreutils is five times faster.
_HASHED_BYTES_PER_SECOND = 100_000_000
_ANSWER_BYTES = 4096
_DIGEST = re.compile(rb"^([0-9a-f]{64}) ", re.MULTILINE)


def remote_sha256(session: SftpSession, path: PurePosixPath, size_bytes: int) -> str | None:
    """Return the output of ``sha256sum`` at the receiver; None if the account may not run it.

    An account for SFTP only answers with a text and status 1, so both are checked.

    Raises:
        ConnectionLostError: The connection was lost.
    """
    timeout_seconds = _LEAST_TIMEOUT_SECONDS + size_bytes / _HASHED_BYTES_PER_SECOND
    with session.operation("hashing", path, total_seconds=_OPENING_SECONDS + 2 * timeout_seconds):
        try:
            with closing(session.transport.open_session(timeout=_OPENING_SECONDS)) as channel:
                return _ask(session, channel, path, timeout_seconds)
        except paramiko.SSHException:
            if not session.transport.is_active():
                raise
            return None


def _ask(
    session: SftpSession, channel: paramiko.Channel, path: PurePosixPath, timeout_seconds: float
) -> str | None:
    channel.exec_command(f"sha256sum -- {shlex.quote(str(path))}")
    # A forced command must not wait for input.
    channel.shutdown_write()
    answer = b""
    while len(answer) < _ANSWER_BYTES:
        if not session.wait_for(lambda: channel_has_news(channel), timeout_seconds):
            return None
        data = channel.recv(_ANSWER_BYTES)
        if not data:
            break
        answer += data
    if not session.wait_for(channel.exit_status_ready, timeout_seconds):
        return None
    found = _DIGEST.search(answer)
    return found[1].decode() if found and channel.recv_exit_status() == 0 else None
