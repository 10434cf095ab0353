"""Replies of a hostile receiver end the request, and do not keep the sender busy."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from paramiko.message import Message
from paramiko.sftp import SFTPError

from ar_sync_pipeline.sftp.errors import RefusedByServerError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.protocol import RemoteAttributes, read_attributes
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer

MOST = 0xFFFFFFFF
_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000

Request = Callable[[SftpSession, PurePosixPath], object]


@pytest.mark.parametrize(
    "request_of",
    [
        SftpSession.size_bytes,
        SftpSession.is_folder,
        SftpSession.modified_at_seconds,
        SftpSession.file_names,
        SftpSession.is_empty,
    ],
)
def test_reply_that_announces_more_attributes_than_it_sends_is_refused_at_once(
    sftp_server: AsyncsshTestServer, request_of: Request
) -> None:
    # paramiko's own parser reads the empty rest of the message four thousand million times.
    sftp_server.faults.announced_attributes = MOST
    started = time.monotonic()
    with (
        open_session(sftp_server.endpoint()) as session,
        pytest.raises(RefusedByServerError, match="4,294,967,295 extended attributes"),
    ):
        request_of(session, sftp_server.spool)
    assert time.monotonic() - started < 10


def test_extended_attributes_that_a_server_really_sends_are_skipped() -> None:
    pair = struct.pack(">I4sI5s", 4, b"name", 5, b"value")
    rest = struct.pack(">I", _MODE) + struct.pack(">I", 0o100644)
    message = Message(struct.pack(">II", _EXTENDED, 2) + 2 * pair + rest)
    assert read_attributes(message) == RemoteAttributes()
    assert read_attributes(message) == RemoteAttributes(mode=0o100644)


def test_every_attribute_of_the_format_is_read() -> None:
    flags = _SIZE | _OWNER | _MODE | _TIMES
    message = Message(struct.pack(">IQIIIII", flags, 2**40, 1, 2, 0o40755, 3, 4))
    assert read_attributes(message) == RemoteAttributes(2**40, 0o40755, 4)


@pytest.mark.parametrize("announced", [1, 2, MOST])
def test_no_pair_is_shorter_than_its_two_lengths(announced: int) -> None:
    message = Message(struct.pack(">II", _EXTENDED, announced) + bytes(8 * min(announced, 2) - 1))
    with pytest.raises(SFTPError, match="sends fewer"):
        read_attributes(message)
