"""The SFTP requests that paramiko has no checked method for, each with its status looked at.

``SFTPFile`` loses errors: it forgets the statuses of pipelined writes and swallows that of the
closing request, so that a truncated upload can pass for a success. Here a file is a bare handle
and every answer is read. This uses paramiko's private request methods, which is why paramiko is
pinned below its next major version; the contract tests hold it to two servers.
Formats: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, cast

from paramiko import SFTPAttributes, SFTPClient
from paramiko.sftp import (
    CMD_CLOSE,
    CMD_DATA,
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_HANDLE,
    CMD_NAME,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_READ,
    SFTP_FLAG_TRUNC,
    SFTP_FLAG_WRITE,
    SFTPError,
    int64,
)

if TYPE_CHECKING:
    from paramiko.message import Message

READ = SFTP_FLAG_READ
WRITE = SFTP_FLAG_WRITE
NEW = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_TRUNC

# paramiko sends at most 32,768 - 64 bytes in a packet; a header takes 29 of them, so this block
# fills exactly two packets. A window of 64 (4 MiB) keeps OpenSSH's 2 MiB channel window full.
WRITE_BLOCK_BYTES = 2 * (32768 - 64) - 29
WRITE_WINDOW = 64
_READ_BLOCK_BYTES = 32768
_READ_WINDOW = 32


class RequestPipe:
    """Requests that are under way together, answered in the order in which they were sent."""

    def __init__(self, client: SFTPClient) -> None:
        # The stubs leave the private methods out.
        self._client: Any = client
        self._numbers: deque[int] = deque()

    def __len__(self) -> int:
        """How many answers are outstanding."""
        return len(self._numbers)

    def send(self, kind: int, *arguments: object) -> None:
        """Send one request without waiting for the answer."""
        number = self._client._async_request(type(None), kind, *arguments)  # noqa: SLF001  see the module's text
        self._numbers.append(number)

    def answer(self, expected: int) -> Message:
        """Wait for the oldest request's answer.

        Raises:
            OSError: if the server refused it; EOFError at the end of a file.
            SFTPError: if the answer is of another kind than ``expected``.
        """
        number = self._numbers.popleft()
        kind, message = self._client._read_response(number)  # noqa: SLF001  see the module's text
        if kind != expected:
            raise SFTPError(f"the server answered with packet type {kind} instead of {expected}")
        return cast("Message", message)


def _request(client: SFTPClient, expected: int, kind: int, *arguments: object) -> Message:
    pipe = RequestPipe(client)
    pipe.send(kind, *arguments)
    return pipe.answer(expected)


def open_handle(client: SFTPClient, path: str, flags: int) -> bytes:
    """Open a file with ``READ``, ``WRITE`` or ``NEW`` (created or emptied); returns its handle."""
    return _request(client, CMD_HANDLE, CMD_OPEN, path, flags, SFTPAttributes()).get_binary()


def close_handle(client: SFTPClient, handle: bytes) -> None:
    """Close a file; an error that the server only finds now is raised."""
    _request(client, CMD_STATUS, CMD_CLOSE, handle)


def send_write(pipe: RequestPipe, handle: bytes, offset: int, data: bytes) -> None:
    """Start one write; its status is the pipe's next answer to ``CMD_STATUS``."""
    pipe.send(CMD_WRITE, handle, int64(offset), data)


def confirm_write(pipe: RequestPipe) -> None:
    """Wait until the oldest write is done.

    Raises:
        OSError: if it failed.
    """
    pipe.answer(CMD_STATUS)


def read_range(client: SFTPClient, handle: bytes, offset: int, length: int) -> bytes:
    """Read ``length`` bytes, fewer only at the end of the file, with many requests under way."""
    pipe, parts, position = RequestPipe(client), bytearray(), offset
    end, ended = offset + length, False
    while position < end or len(pipe):
        while position < end and not ended and len(pipe) < _READ_WINDOW:
            pipe.send(CMD_READ, handle, int64(position), min(_READ_BLOCK_BYTES, end - position))
            position += _READ_BLOCK_BYTES
        if not len(pipe):
            break
        wanted = min(_READ_BLOCK_BYTES, length - len(parts))
        try:
            data = pipe.answer(CMD_DATA).get_binary()
        except EOFError:
            data = b""
        if len(data) > wanted:
            raise SFTPError("the server sent more than it was asked for")
        # After a short answer the later ones no longer join up; they are read and dropped.
        if not ended:
            parts += data
            ended = len(data) < wanted
    return bytes(parts)


def list_folder(client: SFTPClient, path: str) -> list[tuple[str, int | None]]:
    """Names and modes of a folder's entries; a name that is not UTF-8 gets U+FFFD in it.

    paramiko's own listing fails altogether on one such name.
    """
    handle = _request(client, CMD_HANDLE, CMD_OPENDIR, path).get_binary()
    entries: list[tuple[str, int | None]] = []
    try:
        while True:
            message = _request(client, CMD_NAME, CMD_READDIR, handle)
            for _ in range(message.get_int()):
                name, _long_name = message.get_binary(), message.get_binary()
                attributes: Any = SFTPAttributes
                mode = attributes._from_msg(message).st_mode  # noqa: SLF001  see the module's text
                entries.append((name.decode(errors="replace"), mode))
    except EOFError:
        close_handle(client, handle)
    return entries


def start_sync(client: SFTPClient, handle: bytes) -> RequestPipe:
    """Have the server write a file to its disk (``fsync@openssh.com``), without waiting for it."""
    pipe = RequestPipe(client)
    pipe.send(CMD_EXTENDED, "fsync@openssh.com", handle)
    return pipe


def confirm_sync(pipe: RequestPipe) -> None:
    """Wait until the flush is done.

    Raises:
        OSError: if the server does not offer it, or the disk refused.
    """
    pipe.answer(CMD_STATUS)


def free_bytes(client: SFTPClient, path: str) -> int:
    """Bytes that the account may still write at ``path`` (``statvfs@openssh.com``).

    Raises:
        OSError: if the server does not offer it.
    """
    reply = _request(client, CMD_EXTENDED_REPLY, CMD_EXTENDED, "statvfs@openssh.com", path)
    fields = [reply.get_int64() for _ in range(5)]
    _block_size, fragment_size, _blocks, _free, available = fields
    return fragment_size * available
