"""The receiver's own sha256 of a file, where the account may run commands.

The least-privilege account may not, and then the receiver's reading of every archive to its last
byte is what finds damage; an account with a shell finds it before the archive becomes visible.
"""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from typing import TYPE_CHECKING

import paramiko

from ar_sync_pipeline.sftp.session import channel_has_news

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.session import SftpSession

_OPENING_SECONDS = 30
_PATIENCE_SECONDS = 30
# Of a server's disk and processor; coreutils' sha256sum does five times as much.
_HASHED_BYTES_PER_SECOND = 100_000_000
_ANSWER_BYTES = 4096
_DIGEST = re.compile(rb"^([0-9a-f]{64}) ", re.MULTILINE)


def remote_sha256(session: SftpSession, path: PurePosixPath, size_bytes: int) -> str | None:
    """Return what ``sha256sum`` says over there; None where the account may not run it.

    An account for SFTP only answers with a text and status 1, so both are looked at.

    Raises:
        ConnectionLostError: the connection was lost meanwhile.
    """
    patience = _PATIENCE_SECONDS + size_bytes / _HASHED_BYTES_PER_SECOND
    with session.calling("hashing", path, total_seconds=_OPENING_SECONDS + 2 * patience):
        try:
            with closing(session.transport.open_session(timeout=_OPENING_SECONDS)) as channel:
                return _ask(session, channel, path, patience)
        except paramiko.SSHException:
            if not session.transport.is_active():
                raise
            return None


def _ask(
    session: SftpSession, channel: paramiko.Channel, path: PurePosixPath, patience: float
) -> str | None:
    channel.exec_command(f"sha256sum -- {shlex.quote(str(path))}")
    # A forced command that reads its input must not wait for it.
    channel.shutdown_write()
    answer = b""
    while len(answer) < _ANSWER_BYTES:
        if not session.wait_for(lambda: channel_has_news(channel), patience):
            return None
        data = channel.recv(_ANSWER_BYTES)
        if not data:
            break
        answer += data
    if not session.wait_for(channel.exit_status_ready, patience):
        return None
    found = _DIGEST.search(answer)
    return found[1].decode() if found and channel.recv_exit_status() == 0 else None
