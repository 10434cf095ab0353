"""SFTP requests with checked statuses, where paramiko's own methods lose them.

``SFTPFile`` drops the statuses of pipelined writes and ignores that of the closing request, so a
truncated upload can look like a success. Here a file is a handle, and every answer is read. This
module uses private request methods of paramiko, so paramiko is pinned below its next major version;
contract tests run it against two servers.
Formats: draft-ietf-secsh-filexfer-02; OpenSSH's PROTOCOL, section 4.
"""

from __future__ import annotations

import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from paramiko import SFTPAttributes, SFTPClient
from paramiko.common import cMSG_CHANNEL_DATA as _CHANNEL_DATA
from paramiko.message import Message
from paramiko.sftp import (
    CMD_ATTRS,
    CMD_CLOSE,
    CMD_DATA,
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_HANDLE,
    CMD_LSTAT,
    CMD_NAME,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_STAT,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_READ,
    SFTP_FLAG_TRUNC,
    SFTP_FLAG_WRITE,
    SFTPError,
    int64,
)

from ar_sync_pipeline.files import FreeSpace, why_unwritable

READ = SFTP_FLAG_READ
WRITE = SFTP_FLAG_WRITE
NEW = SFTP_FLAG_WRITE | SFTP_FLAG_CREATE | SFTP_FLAG_TRUNC

# paramiko sends at most 32,768 - 64 bytes in a packet, 29 of them for a header. These blocks fill
# exactly two and seven packets: fewer answers cost less.
# The bytes in flight keep OpenSSH's channel window of 2 MiB full.
WRITE_BLOCK_BYTES = 2 * (32768 - 64) - 29
LARGE_WRITE_BLOCK_BYTES = 7 * (32768 - 64) - 29
IN_FLIGHT_BYTES = 4 * 2**20
# A folder has some thousand receipts and archives of a week.
MOST_ENTRIES = 100_000
MOST_NAMES_BYTES = 32 * 1024**2
_READ_BLOCK_BYTES = 32768
_READ_WINDOW = 32
# draft-ietf-secsh-filexfer-02, section 5; a pair is two strings, each after its length.
_HAS_SIZE, _HAS_OWNER, _HAS_MODE, _HAS_TIMES, _HAS_EXTENDED = 1, 2, 4, 8, 0x80000000
_SMALLEST_PAIR_BYTES = 8


class RequestPipe:
    """Pipelined requests, answered in the order in which they were sent."""

    def __init__(self, client: SFTPClient) -> None:
        # The type stubs omit the private methods.
        self._client: Any = client
        self._numbers: deque[int] = deque()

    def __len__(self) -> int:
        """Return the number of outstanding answers."""
        return len(self._numbers)

    def send(self, kind: int, *arguments: object) -> None:
        """Send one request without waiting for the answer."""
        number = self._client._async_request(type(None), kind, *arguments)  # noqa: SLF001  see the module's text
        self._numbers.append(number)

    def send_write(self, handle: bytes, offset: int, data: memoryview) -> None:
        """Send one write request; its bytes are copied once before the cipher, not six times.

        It does what paramiko's own methods do: number the request, then fill the window of the
        channel packet by packet (RFC 4254, section 5.2).
        """
        client = self._client
        with client._lock:  # noqa: SLF001  see the module's text
            number = client.request_number
            client._expecting[number] = type(None)  # noqa: SLF001
            client.request_number += 1
        self._numbers.append(number)
        length = 1 + 4 + 4 + len(handle) + 8 + 4 + len(data)
        head = struct.pack(">IBII", length, CMD_WRITE, number, len(handle)) + handle
        _send_through(client.get_channel(), head + struct.pack(">QI", offset, len(data)), data)

    def answer(self, expected: int) -> Message:
        """Wait for the answer to the oldest request.

        Raises:
            OSError: The server refused the request.
            EOFError: The file has ended.
            SFTPError: The answer has another type than ``expected``.
        """
        number = self._numbers.popleft()
        kind, message = self._client._read_response(number)  # noqa: SLF001  see the module's text
        if kind != expected:
            raise SFTPError(f"the server answered with packet type {kind} instead of {expected}")
        return cast("Message", message)


def _send_through(channel: Any, head: bytes, data: memoryview) -> None:  # noqa: ANN401  as above
    """Send ``head`` and ``data`` in packets as large as the peer accepts."""
    rest = len(head) + len(data)
    while rest:
        with channel.lock:
            if channel.closed:
                raise OSError("Socket is closed")
            size = channel._wait_for_send_window(rest)  # noqa: SLF001  see the module's text
        if not size:
            raise EOFError
        taken, head = head[:size], head[size:]
        segment, data = data[: size - len(taken)], data[size - len(taken) :]
        prefix = _CHANNEL_DATA + struct.pack(">II", channel.remote_chanid, size)
        message = Message(b"".join((prefix, taken, segment)))
        channel.transport._send_user_message(message)  # noqa: SLF001
        rest -= size


def _request(client: SFTPClient, expected: int, kind: int, *arguments: object) -> Message:
    pipe = RequestPipe(client)
    pipe.send(kind, *arguments)
    return pipe.answer(expected)


def open_handle(client: SFTPClient, path: str, flags: int) -> bytes:
    """Open a file with ``READ``, ``WRITE`` or ``NEW`` (created or emptied); return its handle."""
    return _request(client, CMD_HANDLE, CMD_OPEN, path, flags, SFTPAttributes()).get_binary()


def close_handle(client: SFTPClient, handle: bytes) -> None:
    """Close a file; raise an error that the server finds only now."""
    _request(client, CMD_STATUS, CMD_CLOSE, handle)


def send_write(pipe: RequestPipe, handle: bytes, offset: int, data: bytes | memoryview) -> None:
    """Start one write; its status is the pipe's next answer to ``CMD_STATUS``."""
    pipe.send_write(handle, offset, memoryview(data))


def confirm_write(pipe: RequestPipe) -> None:
    """Wait until the oldest write is done.

    Raises:
        OSError: The write failed.
    """
    pipe.answer(CMD_STATUS)


def read_range(client: SFTPClient, handle: bytes, offset: int, length: int) -> bytes:
    """Read ``length`` bytes with pipelined requests; fewer only at the end of the file."""
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
        # After a short answer the later ones are not contiguous; they are read and dropped.
        if not ended:
            parts += data
            ended = len(data) < wanted
    return bytes(parts)


@dataclass(frozen=True)
class RemoteAttributes:
    """Attributes of a file at the receiver; None if the server does not send one.

    Attributes:
        size_bytes: Size of the file in bytes.
        mode: File type and permissions, as in ``st_mode``.
        modified_at_seconds: mtime by the receiver's clock, in seconds since 1970.
    """

    size_bytes: int | None = None
    mode: int | None = None
    modified_at_seconds: int | None = None


def read_attributes(message: Message) -> RemoteAttributes:
    """Read the attributes of a file from a reply, and skip its owner and extended attributes.

    paramiko believes the number of extended attributes: with a reply of 16 bytes, a server keeps it
    busy for hours, which no time limit ends.

    Raises:
        SFTPError: The reply announces more extended attributes than it can contain.
    """
    flags = message.get_int()
    size = message.get_int64() if flags & _HAS_SIZE else None
    if flags & _HAS_OWNER:
        message.get_int64()
    mode = message.get_int() if flags & _HAS_MODE else None
    _accessed, modified = (
        (message.get_int(), message.get_int()) if flags & _HAS_TIMES else (None, None)
    )
    if flags & _HAS_EXTENDED:
        pairs, packet = message.get_int(), message.packet
        rest = packet.getbuffer().nbytes - packet.tell()
        if pairs > rest // _SMALLEST_PAIR_BYTES:
            raise SFTPError(f"the server announces {pairs:,} extended attributes and sends fewer")
        for _ in range(2 * pairs):
            message.get_binary()
    return RemoteAttributes(size, mode, modified)


def file_attributes(client: SFTPClient, path: str, *, follow: bool) -> RemoteAttributes:
    """Return the attributes of a path, or of what a symbolic link leads to with ``follow``."""
    return read_attributes(_request(client, CMD_ATTRS, CMD_STAT if follow else CMD_LSTAT, path))


def list_folder(client: SFTPClient, path: str) -> list[tuple[str, int | None]]:
    """Return names and modes of the entries of a folder; U+FFFD replaces bytes that are not UTF-8.

    paramiko's own listing fails on such a name. The listing stops at `MOST_ENTRIES`, or at 32 MB of
    names, also for a server that never ends it or announces more names than it sends.
    """
    handle = _request(client, CMD_HANDLE, CMD_OPENDIR, path).get_binary()
    entries: list[tuple[str, int | None]] = []
    names_bytes = 0
    with suppress(EOFError):
        while len(entries) < MOST_ENTRIES and names_bytes < MOST_NAMES_BYTES:
            message = _request(client, CMD_NAME, CMD_READDIR, handle)
            for _ in range(min(message.get_int(), MOST_ENTRIES)):
                name, _long_name = message.get_binary(), message.get_binary()
                names_bytes += len(name)
                entries.append((name.decode(errors="replace"), read_attributes(message).mode))
    close_handle(client, handle)
    return entries


def start_sync(client: SFTPClient, handle: bytes) -> RequestPipe:
    """Ask the server to flush a file to its disk (``fsync@openssh.com``), without waiting."""
    pipe = RequestPipe(client)
    pipe.send(CMD_EXTENDED, "fsync@openssh.com", handle)
    return pipe


def confirm_sync(pipe: RequestPipe) -> None:
    """Wait until the flush is done.

    Raises:
        OSError: The server does not support it, or the disk failed.
    """
    pipe.answer(CMD_STATUS)


def write_block_bytes(client: SFTPClient) -> int:
    """Return the block size for writes: a large one if the server accepts it.

    Raises:
        OSError: The server does not report its limits (``limits@openssh.com``).
    """
    reply = _request(client, CMD_EXTENDED_REPLY, CMD_EXTENDED, "limits@openssh.com")
    _packet, _read, write = (reply.get_int64() for _ in range(3))
    return LARGE_WRITE_BLOCK_BYTES if write >= LARGE_WRITE_BLOCK_BYTES else WRITE_BLOCK_BYTES


def file_system_space(client: SFTPClient, path: str) -> FreeSpace:
    """Return the free space of the file system at ``path`` (``statvfs@openssh.com``).

    Raises:
        OSError: The server does not support it.
    """
    reply = _request(client, CMD_EXTENDED_REPLY, CMD_EXTENDED, "statvfs@openssh.com", path)
    _block_size, fragment_size, blocks, free, available = [reply.get_int64() for _ in range(5)]
    inodes, _free_inodes, available_inodes, _id, flags = [reply.get_int64() for _ in range(5)]
    full = bool(blocks and not available)
    unwritable = why_unwritable(inodes, available_inodes, flags, full=full)
    return FreeSpace.of_blocks(fragment_size, blocks, free, available, unwritable)
