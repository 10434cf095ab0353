"""The account of docs/receiver_account.md: it publishes, and can do nothing else."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import paramiko
import pytest

from ar_sync_pipeline.archive.errors import MemberChangedError
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.errors import DamagedUploadError, NoSftpError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.probe import probe
from ar_sync_pipeline.sftp.publish import SpoolPlace, publish
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline.sftp.remote_hash import remote_sha256
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline_tests.openssh_servers import ChrootedTestServer, ShellTestServer
from ar_sync_pipeline_tests.sftp.documented_account import make_documented_folders
from ar_sync_pipeline_tests.sftp.sources import NAME, MemorySource, some_archive
from ar_sync_pipeline_tests.sftp.test_endpoint_trust import make_key
from ar_sync_pipeline_tests.sftp.test_probe import now

CLOSED = ("receipts", "parked", "quarantine")


@pytest.fixture
def documented_spool(chrooted_server: ChrootedTestServer) -> Path:
    """The folders as the commands of the page make them."""
    make_documented_folders(chrooted_server)
    return chrooted_server.spool_path


@pytest.fixture
def session(chrooted_server: ChrootedTestServer) -> Iterator[SftpSession]:
    with open_session(chrooted_server.endpoint()) as opened:
        yield opened


def test_it_publishes_and_reads_receipts(
    chrooted_server: ChrootedTestServer, documented_spool: Path, session: SftpSession
) -> None:
    (documented_spool / "receipts" / "position.json").write_text("{}")
    source = some_archive()
    publish(session, source, SpoolPlace(chrooted_server.spool, "partial", NAME))
    arrived = documented_spool / "partial" / NAME
    assert arrived.read_bytes() == source.content
    # Readable for the receiver's account, which is in the group, and for nobody else.
    assert arrived.stat().st_mode & 0o777 == 0o660
    assert arrived.stat().st_gid == documented_spool.stat().st_gid
    steps = probe(chrooted_server.endpoint(), chrooted_server.spool, clock=now)
    assert all(step.ok for step in steps)


def test_it_cannot_write_anywhere_else(
    chrooted_server: ChrootedTestServer, documented_spool: Path, session: SftpSession
) -> None:
    spool, client = chrooted_server.spool, session.client
    (documented_spool / "receipts" / "position.json").write_text("{}")
    for place in ("/x", f"{spool}/x", *(f"{spool}/{name}/x" for name in CLOSED)):
        with pytest.raises(PermissionError):
            client.open(place, "w")
    with pytest.raises(PermissionError):
        client.remove(f"{spool}/receipts/position.json")
    with pytest.raises(PermissionError):
        client.mkdir(f"{spool}/more")


def test_it_sees_nothing_of_the_machine(session: SftpSession) -> None:
    assert session.client.normalize(".") == "/spool"
    for place in ("/etc/passwd", "/../../etc/passwd", "../../../etc/passwd"):
        assert session.size_bytes(PurePosixPath(place)) is None


def test_it_cannot_make_links_nor_change_modes(
    chrooted_server: ChrootedTestServer, documented_spool: Path, session: SftpSession
) -> None:
    assert documented_spool.exists()
    mine = f"{chrooted_server.spool}/.incoming/mine"
    session.client.open(mine, "w").close()
    operations: tuple[Callable[[], object], ...] = (
        lambda: session.client.symlink("/etc/passwd", f"{mine}.link"),
        lambda: session.client.chmod(mine, 0o777),
        lambda: session.client.rmdir(f"{chrooted_server.spool}/partial"),
    )
    for operation in operations:
        with pytest.raises(OSError, match=r"(?i)permission denied|unsupported"):
            operation()


def test_a_link_that_leads_out_ends_inside_the_spool(
    chrooted_server: ChrootedTestServer, documented_spool: Path, session: SftpSession
) -> None:
    (documented_spool / "receipts" / "link").symlink_to("/etc/passwd")
    assert session.is_folder(chrooted_server.spool / "receipts" / "link") is None


def test_it_has_no_shell_no_command_no_forwarding_and_no_terminal(session: SftpSession) -> None:
    transport = session.transport
    with closing(transport.open_session()) as channel:
        channel.exec_command("id")
        assert channel.recv_exit_status() == 1
        assert b"sftp connections only" in channel.recv(1000) + channel.recv_stderr(1000)
    with closing(transport.open_session()) as channel, pytest.raises(paramiko.SSHException):
        channel.get_pty()
    with pytest.raises(paramiko.ChannelException, match="prohibited"):
        transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1))
    assert remote_sha256(session, PurePosixPath("/etc/passwd"), 1) is None
    assert session.is_folder(PurePosixPath("/")) is True


@pytest.mark.long
def test_chroot_below_a_folder_that_others_may_write_is_found_out(
    chrooted_server: ChrootedTestServer,
) -> None:
    """The server closes every connection without a word; the error says where to look."""
    chrooted_server.root.chmod(0o777)
    try:
        with (
            pytest.raises(NoSftpError) as caught,
            open_session(chrooted_server.endpoint()) as session,
        ):
            session.is_folder(PurePosixPath("/"))
    finally:
        chrooted_server.root.chmod(0o755)
    assert "ChrootDirectory, or a folder above it, does not belong to root" in str(caught.value)


@pytest.mark.parametrize("kind", [("ed25519",), ("ecdsa",), ("rsa", "-b", "2048")])
@pytest.mark.long
def test_it_logs_in_with_keys_of_every_kind_and_a_passphrase(
    chrooted_server: ChrootedTestServer, tmp_path: Path, kind: tuple[str, ...]
) -> None:
    key = make_key(tmp_path / "key", "-t", *kind, passphrase="correct horse")
    chrooted_server.authorize(key.with_suffix(".pub"))
    endpoint = replace(chrooted_server.endpoint(), private_key=key, passphrase="correct horse")
    with open_session(endpoint) as session:
        assert session.is_folder(chrooted_server.spool)


def test_it_logs_in_with_a_key_that_only_the_agent_has(
    chrooted_server: ChrootedTestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        for name in ("unknown", "known"):
            key = make_key(tmp_path / name)
            subprocess.run(["ssh-add", "-q", key], check=True, capture_output=True)
        chrooted_server.authorize(tmp_path / "known.pub")
        endpoint = replace(chrooted_server.endpoint(), private_key=None, agent=True)
        with open_session(endpoint) as session:
            assert session.is_folder(chrooted_server.spool)
    finally:
        agent.terminate()
        agent.wait(10)


class GoneAfterwards(MemorySource):
    """A media file of it was deleted after the last byte was read."""

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def sha256(self) -> str:
        raise MemberChangedError("media/a.jpeg", Path("/srv/media/a.jpeg"), "was deleted")


class TestAccountWithAShell:
    def test_receiver_confirms_the_sha256(self, shell_server: ShellTestServer) -> None:
        source = some_archive()
        with open_session(shell_server.endpoint()) as session:
            result = publish(session, source, SpoolPlace(shell_server.spool, "partial", NAME))
        assert result.sha256_confirmed

    def test_archive_whose_source_is_gone_after_the_upload_is_published(
        self, shell_server: ShellTestServer
    ) -> None:
        source = GoneAfterwards(some_archive().content)
        with open_session(shell_server.endpoint()) as session:
            result = publish(session, source, SpoolPlace(shell_server.spool, "partial", NAME))
        assert not result.sha256_confirmed
        assert (shell_server.spool_path / "partial" / NAME).read_bytes() == source.content

    def test_names_are_data_for_its_shell(self, shell_server: ShellTestServer) -> None:
        folder = shell_server.spool_path / "with 'quotes' $(touch x) and spaces"
        folder.mkdir()
        (folder / "file").write_bytes(b"content")
        with open_session(shell_server.endpoint()) as session:
            found = remote_sha256(session, shell_server.remote_path(folder / "file"), 7)
            missing = remote_sha256(session, shell_server.remote_path(folder / "absent"), 7)
        assert found == hashlib.sha256(b"content").hexdigest()
        assert missing is None

    def test_part_that_was_damaged_on_the_way_is_sent_again(
        self, shell_server: ShellTestServer
    ) -> None:
        """What a crashed server may leave: the right length and tail, zeros before it."""
        source = some_archive()
        incoming = shell_server.spool_path / ".incoming"
        incoming.mkdir()
        part = incoming / f"{NAME}.{source.fingerprint[:16]}.part"
        part.write_bytes(bytes(1000) + source.content[1000:])
        with open_session(shell_server.endpoint()) as session:
            with pytest.raises(DamagedUploadError, match="other content"):
                publish(session, source, SpoolPlace(shell_server.spool, "partial", NAME))
            publish(session, source, SpoolPlace(shell_server.spool, "partial", NAME))
        assert (shell_server.spool_path / "partial" / NAME).read_bytes() == source.content

    def test_receiver_that_damages_data_gets_two_uploads_and_no_more(
        self, shell_server: ShellTestServer
    ) -> None:
        source, told = _DamagedSource(some_archive().content), list[ArSyncError]()
        with pytest.raises(DamagedUploadError, match="though every write was confirmed: check"):
            publish_with_retries(
                shell_server.endpoint(),
                source,
                SpoolPlace(shell_server.spool, "partial", NAME),
                plan=RetryPlan(first_wait_seconds=0.01),
                on_retry=told.append,
            )
        assert source.readings == len(told) == 2
        assert [p for p in shell_server.spool_path.rglob("*") if p.is_file()] == []


@dataclass
class _DamagedSource(MemorySource):
    """Its bytes arrive, and differ from the archive, as after a disk that damages them."""

    readings: int = 0

    @cached_property
    def sha256(self) -> str:
        return "0" * 64

    def open(self) -> BinaryIO:
        self.readings += 1
        return super().open()


def test_account_without_commands_is_not_confirmed_and_published_all_the_same(
    chrooted_server: ChrootedTestServer, session: SftpSession
) -> None:
    result = publish(session, some_archive(), SpoolPlace(chrooted_server.spool, "partial", NAME))
    assert not result.sha256_confirmed
