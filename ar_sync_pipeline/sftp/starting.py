"""Last step of opening a session: starts SFTP for the account.

The receiver's configuration decides what runs after a login: a subsystem, a shell with its start
files, or a forced command. paramiko reports all failures there with one class of error, or waits
for the rest of a packet whose length is in fact text. So the first packet is read here.
Formats: draft-ietf-secsh-filexfer-02, section 4.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paramiko
from paramiko.sftp import CMD_INIT, CMD_VERSION

from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import ConnectionLostError, NoSftpError
from ar_sync_pipeline.sftp.opening import hung_up

STEP = "the start of SFTP"
# paramiko's thread notices a closed connection shortly after the failed call.
_LAST_WORDS_SECONDS = 0.3
# A busy server answers within this time; a command that waits for input never does.
_SILENCE_SECONDS = 8.0
_END_OF_INPUT_SECONDS = 4.0
_POLL_SECONDS = 0.01
_PROTOCOL_VERSION = 3
_LENGTH = struct.Struct(">I")
# OpenSSH's limit for a packet; the first packet of a server has its version and extensions.
_LONGEST_PACKET = 256 * 1024
_SHOWN_CHARS = 80
_SHORTAGE = 4  # SSH_OPEN_RESOURCE_SHORTAGE, RFC 4254, section 5.1

_INTERNAL_SFTP = (
    "let `Subsystem sftp internal-sftp` and, for this account, `ForceCommand internal-sftp` be in"
    " the receiver's sshd_config, which needs no shell"
)


class _Client(paramiko.SFTPClient):
    """paramiko's client for a channel whose version is already negotiated."""

    def _send_version(self) -> int:
        return _PROTOCOL_VERSION


class HungUpError(ConnectionLostError):
    """The server closed the connection after a successful login, without a reason."""


def open_sftp(endpoint: SftpEndpoint, transport: paramiko.Transport) -> paramiko.SFTPClient:
    """Start SFTP for an account that is logged in.

    Raises:
        NoSftpError: The account runs something else, or nothing.
        HungUpError: The server closed the connection.
        ConnectionLostError: The server does not answer, or has no free session.
    """
    try:
        channel = _open_channel(endpoint, transport)
        _request_subsystem(endpoint, transport, channel)
        return _agree_on_version(endpoint, channel)
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.join(_LAST_WORDS_SECONDS)
        if transport.is_active():
            raise hung_up(endpoint, STEP) from error
        # sshd does this after a successful login if it rejects the account's root folder.
        cause = hung_up(endpoint, STEP)
        raise HungUpError(cause.problem, remedy=cause.remedy) from error


def hangs_up_always(endpoint: SftpEndpoint) -> NoSftpError:
    """Return the error of a server that closes the connection every time."""
    return NoSftpError(
        f"{endpoint.label} was let in, and the server hung up at {STEP}, three times in a row",
        remedy="see the receiver's sshd log: most often the account's ChrootDirectory, or a folder"
        " above it, does not belong to root or can be written by others (chown root, chmod 0755)",
    )


def _open_channel(endpoint: SftpEndpoint, transport: paramiko.Transport) -> paramiko.Channel:
    try:
        return transport.open_session(timeout=_SILENCE_SECONDS + _END_OF_INPUT_SECONDS)
    except paramiko.ChannelException as error:
        if error.code == _SHORTAGE:
            raise
        raise NoSftpError(
            f"{endpoint.label} was let in, and the server allows it no session at {STEP}"
            f" ({error.text})",
            remedy="set MaxSessions to 1 or more (10 is OpenSSH's default) for this account in the"
            " receiver's sshd_config",
        ) from error


def _request_subsystem(
    endpoint: SftpEndpoint, transport: paramiko.Transport, channel: paramiko.Channel
) -> None:
    try:
        channel.invoke_subsystem("sftp")
    except paramiko.SSHException as error:
        transport.join(_LAST_WORDS_SECONDS)
        if not transport.is_active():
            raise
        raise NoSftpError(
            f"{endpoint.label} was let in but offers no SFTP: the server has no subsystem of that"
            " name",
            remedy="configure Subsystem sftp internal-sftp in the receiver's sshd_config",
        ) from error


def _agree_on_version(endpoint: SftpEndpoint, channel: paramiko.Channel) -> paramiko.SFTPClient:
    with suppress(OSError):  # the command has already ended; its output is read below
        channel.sendall(_packet(CMD_INIT, _LENGTH.pack(_PROTOCOL_VERSION)))
    answer = _Answer(endpoint, channel)
    answer.read(_LENGTH.size + 1)
    length, kind = _LENGTH.unpack(answer.data[:4])[0], answer.data[4]
    if kind != CMD_VERSION or not _LENGTH.size < length <= _LONGEST_PACKET:
        raise answer.error()
    answer.read(_LENGTH.size + length)
    return _Client(channel)


def _packet(kind: int, content: bytes) -> bytes:
    return _LENGTH.pack(1 + len(content)) + bytes([kind]) + content


class _Answer:
    """First answer on a new channel: the version of the server, or something else."""

    def __init__(self, endpoint: SftpEndpoint, channel: paramiko.Channel) -> None:
        self.data = b""
        self._endpoint = endpoint
        self._channel = channel

    def read(self, size: int) -> None:
        """Read up to ``size`` bytes in all.

        Raises:
            NoSftpError: The answer ended before.
            ConnectionLostError: The server does not answer.
        """
        while len(self.data) < size:
            if not self._wait(self._has_news, _SILENCE_SECONDS):
                self._end_input()
            data = self._channel.recv(size - len(self.data))
            if not data:
                if not self._has_ended():
                    raise EOFError
                raise self.error()
            self.data += data

    def error(self) -> NoSftpError:
        """Return the error for an answer that is not SFTP."""
        ended = self._has_ended()
        text = self._text()
        if not ended:
            printed = f"printed {text!r}" if text else "sent something that is not SFTP"
            return NoSftpError(
                f"{self._endpoint.label} was let in, and its shell or a forced command {printed}"
                f" at {STEP}",
                remedy="remove what prints from the account's shell start files (~/.bashrc), or"
                f" {_INTERNAL_SFTP}",
            )
        status = self._channel.recv_exit_status()
        printed = f"printed {text!r} and " if text else ""
        return NoSftpError(
            f"{self._endpoint.label} was let in, and at {STEP} something else ran, which {printed}"
            f"ended with exit code {status}",
            remedy='remove command="..." from its line in authorized_keys and whatever its shell'
            f" start files print, and {_INTERNAL_SFTP}",
        )

    def _end_input(self) -> None:
        """Close the input: a command that waits for it ends, a slow server does not."""
        silent = hung_up(self._endpoint, STEP)
        with suppress(OSError):
            self._channel.shutdown_write()
        if not self._wait(self._has_news, _END_OF_INPUT_SECONDS) or self._channel.recv_ready():
            raise silent

    def _has_news(self) -> bool:
        channel = self._channel
        return bool(channel.recv_ready() or channel.closed or channel.eof_received)

    def _has_ended(self) -> bool:
        """Return whether the command has ended while the connection is open."""
        return self._wait(self._channel.exit_status_ready, _LAST_WORDS_SECONDS)

    def _text(self) -> str:
        """Return the first characters of both output streams, in one line."""
        channel, said = self._channel, self.data
        while len(said) < 4 * _SHOWN_CHARS and channel.recv_ready():
            said += channel.recv(4 * _SHOWN_CHARS)
        if not said and channel.recv_stderr_ready():
            said = channel.recv_stderr(4 * _SHOWN_CHARS)
        # The first packet of an SFTP server, which begins with a zero, may follow.
        said = said.partition(b"\0")[0]
        text = "".join(c if c.isprintable() else " " for c in said.decode(errors="replace"))
        return " ".join(text.split())[:_SHOWN_CHARS]

    def _wait(self, ready: Callable[[], Any], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() >= end or not self._channel.get_transport().is_active():
                return bool(ready())
            time.sleep(_POLL_SECONDS)
        return True
