"""A server that denies an extension is treated as one that lacks it, with any status."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncssh
import pytest

from ar_sync_pipeline.sftp.errors import RefusedByServerError, SpoolNotWritableError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.probe import ProbeOutcome, probe
from ar_sync_pipeline.sftp.publish import SpoolPlace, publish
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer
from ar_sync_pipeline_tests.fix_sftp import configured_server
from ar_sync_pipeline_tests.openssh_servers import OpensshTestServer
from ar_sync_pipeline_tests.sftp.sources import NAME, some_archive

ALL = "posix-rename,fsync@openssh.com,statvfs@openssh.com,limits@openssh.com"
REFUSALS = {
    "permission denied": asyncssh.SFTPPermissionDenied("Permission denied"),
    "unsupported": asyncssh.SFTPOpUnsupported("Operation unsupported"),
    "failure": asyncssh.SFTPFailure("Failure"),
    "failure without a text": asyncssh.SFTPFailure(""),
    "bad message": asyncssh.SFTPBadMessage("unknown extension"),
}


def now() -> datetime:
    return datetime.now(UTC)


def publish_one(server: SftpTestServer) -> Path:
    source = some_archive()
    with open_session(server.endpoint()) as session:
        publish(session, source, SpoolPlace(server.spool, "partial", NAME))
    arrived = server.spool_path / "partial" / NAME
    assert arrived.read_bytes() == source.content
    assert list((server.spool_path / ".incoming").iterdir()) == []
    return arrived


@pytest.fixture(params=["posix-rename", "fsync", "statvfs", "limits", ALL])
def forbidding_server(request: pytest.FixtureRequest) -> Iterator[OpensshTestServer]:
    command = f"internal-sftp -P {request.param}"
    with configured_server(f"Subsystem sftp {command}", f"ForceCommand {command}") as server:
        yield server


def test_openssh_that_forbids_extensions_takes_archives(
    forbidding_server: OpensshTestServer,
) -> None:
    publish_one(forbidding_server)
    steps = probe(forbidding_server.endpoint(), forbidding_server.spool, clock=now)
    assert [step for step in steps if not step.ok] == []


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_every_status_is_a_no(sftp_server: AsyncsshTestServer, refusal: Exception) -> None:
    sftp_server.faults.unsupported |= {"posix_rename", "fsync", "statvfs"}
    sftp_server.faults.refusal = refusal
    publish_one(sftp_server)
    steps = {s.name: s for s in probe(sftp_server.endpoint(), sftp_server.spool, clock=now)}
    assert steps["spool writable"].outcome is ProbeOutcome.WARNED
    assert steps["free space"].outcome is ProbeOutcome.WARNED
    assert steps["round trip"].outcome is ProbeOutcome.PASSED


def test_disk_that_fails_to_flush_is_not_a_missing_extension(
    sftp_server: AsyncsshTestServer,
) -> None:
    """fsync tells a disk's error once for an open file; nothing becomes visible of the archive.

    Nor is the upload resumed, since any block of it may be lost.
    """
    sftp_server.faults.failing_fsyncs = 1
    with pytest.raises(RefusedByServerError, match="flushing"):
        publish_one(sftp_server)
    for folder in (".incoming", "partial"):
        assert list((sftp_server.spool_path / folder).iterdir()) == []


def test_missing_permission_is_still_reported(openssh_server: OpensshTestServer) -> None:
    """The server's own rename is denied as well, so it is not the extension."""
    with open_session(openssh_server.endpoint()) as session:
        source, target = openssh_server.spool / "a", openssh_server.spool / "b"
        (openssh_server.spool_path / "a").touch()
        openssh_server.make_unwritable()
        with pytest.raises(SpoolNotWritableError, match="renaming"):
            session.rename(source, target)
