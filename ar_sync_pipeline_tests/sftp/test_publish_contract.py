"""What publishing promises, tested against each server."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.sftp.errors import (
    ArchiveConflictError,
    LoginRefusedError,
    ReceiverDiskFullError,
    RemoteFileMissingError,
    RemoteFileTooLargeError,
    RemoteNameError,
    RemoteSpoolMissingError,
    SpoolNotWritableError,
)
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import Publication, SpoolPlace, publish
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import (
    SPOOL_FOLDERS,
    list_names,
    prepare_spool,
    read_small_file,
)
from ar_sync_pipeline_tests.faulty_sftp import SftpTestServer
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.sftp.sources import APPLIED_NAME, MIB, NAME, MemorySource, some_archive


def publish_to(
    server: SftpTestServer,
    session: SftpSession,
    source: MemorySource,
    *,
    folder: str = "partial",
    filename: str = NAME,
) -> Publication:
    return publish(session, source, SpoolPlace(server.spool, folder, filename))


@pytest.fixture
def session(any_sftp_server: SftpTestServer) -> Iterator[SftpSession]:
    with open_session(any_sftp_server.endpoint()) as opened:
        yield opened


@pytest.fixture
def session_with_extensions(any_server_with_extensions: SftpTestServer) -> Iterator[SftpSession]:
    with open_session(any_server_with_extensions.endpoint()) as opened:
        yield opened


def test_archive_arrives_whole_and_leaves_no_part(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    source, seen = some_archive(), list[tuple[int, int]]()
    result = publish(
        session,
        source,
        SpoolPlace(any_sftp_server.spool, "partial", NAME),
        progress=lambda done, total: seen.append((done, total)),
    )
    spool = any_sftp_server.spool_path
    assert (spool / "partial" / NAME).read_bytes() == source.content
    assert list((spool / INCOMING).iterdir()) == []
    assert (result.sent_bytes, result.resumed_bytes) == (source.size_bytes, 0)
    assert not result.already_there
    assert seen[0] == (0, source.size_bytes)
    assert seen[-1] == (source.size_bytes, source.size_bytes)
    assert seen == sorted(seen)


@pytest.mark.parametrize("size_bytes", [0, 1, 65379, 65380, 228899, 228900])
def test_archives_of_any_size_arrive(
    any_sftp_server: SftpTestServer, session: SftpSession, size_bytes: int
) -> None:
    source = some_archive(size_bytes)
    result = publish_to(any_sftp_server, session, source)
    assert (any_sftp_server.spool_path / "partial" / NAME).read_bytes() == source.content
    assert not result.already_there


@pytest.mark.parametrize("name_there", [NAME, APPLIED_NAME])
def test_same_archive_again_is_a_no_op(
    any_sftp_server: SftpTestServer, session: SftpSession, name_there: str
) -> None:
    source = some_archive()
    publish_to(any_sftp_server, session, source)
    folder = any_sftp_server.spool_path / "partial"
    (folder / NAME).rename(folder / name_there)
    result = publish_to(any_sftp_server, session, source)
    assert result.already_there
    assert (result.sent_bytes, result.path.name) == (0, name_there)
    assert [p.name for p in folder.iterdir()] == [name_there]


@pytest.mark.parametrize("name_there", [NAME, APPLIED_NAME])
def test_another_archive_of_the_same_name_is_never_overwritten(
    any_sftp_server: SftpTestServer, session: SftpSession, name_there: str
) -> None:
    prepare_spool(session, any_sftp_server.spool)
    other = any_sftp_server.spool_path / "partial" / name_there
    other.write_bytes(b"other")
    with pytest.raises(ArchiveConflictError, match="5 bytes instead of"):
        publish_to(any_sftp_server, session, some_archive())
    assert other.read_bytes() == b"other"


def test_watcher_never_sees_a_partial_file_under_its_final_name(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    """Old system, D10: a receiver that looked during an upload took 6 of 37 MB."""
    source, stop, sizes = some_archive(8 * MIB), threading.Event(), set[int]()
    final = any_sftp_server.spool_path / "partial" / NAME

    def watch() -> None:
        while not stop.is_set():
            if final.exists():
                sizes.add(final.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        publish_to(any_sftp_server, session, source)
    finally:
        stop.set()
        watcher.join()
    assert sizes <= {source.size_bytes}
    assert final.stat().st_size == source.size_bytes


def test_missing_subfolders_are_made_and_the_spool_itself_never(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    prepare_spool(session, any_sftp_server.spool)
    prepare_spool(session, any_sftp_server.spool)
    assert {p.name for p in any_sftp_server.spool_path.iterdir()} == set(SPOOL_FOLDERS)
    with pytest.raises(RemoteSpoolMissingError, match="does not exist"):
        prepare_spool(session, any_sftp_server.spool.with_name("spoool"))


def test_a_file_instead_of_the_spool_is_reported(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    any_sftp_server.spool_path.rmdir()
    any_sftp_server.spool_path.write_text("")
    with pytest.raises(RemoteSpoolMissingError, match="is not a folder"):
        publish_to(any_sftp_server, session, some_archive())


def test_unwritable_spool_is_reported(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    any_sftp_server.make_unwritable()
    with pytest.raises(SpoolNotWritableError, match="not permitted"):
        publish_to(any_sftp_server, session, some_archive())


@pytest.mark.parametrize("filename", ["../x", "a/b", ".hidden", "-rf", "a\nb", "ñ", "x" * 201, ""])
def test_dangerous_names_are_refused(
    any_sftp_server: SftpTestServer, session: SftpSession, filename: str
) -> None:
    with pytest.raises(RemoteNameError):
        publish_to(any_sftp_server, session, some_archive(1), filename=filename)
    assert list(any_sftp_server.spool_path.iterdir()) == []


def test_folders_outside_the_spool_are_refused(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    with pytest.raises(RemoteNameError):
        publish_to(any_sftp_server, session, some_archive(1), folder="../elsewhere")


def test_refused_login_names_user_and_key(any_sftp_server: SftpTestServer, tmp_path: Path) -> None:
    unknown_key = tmp_path / "unknown"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", unknown_key], check=True)
    endpoint = replace(any_sftp_server.endpoint(), private_key=unknown_key)
    with (
        pytest.raises(LoginRefusedError, match=f"'{endpoint.user}' with the key SHA256:"),
        open_session(endpoint),
    ):
        pass


def test_receipts_are_listed_and_read(
    any_sftp_server: SftpTestServer, session: SftpSession
) -> None:
    prepare_spool(session, any_sftp_server.spool)
    receipts = any_sftp_server.spool_path / "receipts"
    (receipts / "b.json").write_bytes(b"{}")
    (receipts / "a.json").write_bytes(b"x" * 100_000)
    for stray in (b".hidden", b"-rf", b"latin-\xf1", b"two\nlines"):
        (receipts / os.fsdecode(stray)).touch()
    (receipts / "folder").mkdir()
    (receipts / "link").symlink_to("/etc/passwd")
    remote = any_sftp_server.spool / "receipts"
    assert list_names(session, remote) == ["a.json", "b.json"]
    assert read_small_file(session, remote / "b.json", 2) == b"{}"
    assert read_small_file(session, remote / "a.json", 100_000) == b"x" * 100_000
    with pytest.raises(RemoteFileTooLargeError):
        read_small_file(session, remote / "a.json", 99_999)
    with pytest.raises(RemoteFileMissingError):
        read_small_file(session, remote / "c.json", 10)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[None]:
    """A file system of its own at ``folder``, owned as the folder is."""
    owner = folder.stat()
    options = f"size={size_bytes},uid={owner.st_uid},gid={owner.st_gid},mode=0755"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        skip_unless_in_ci("a small file system can be mounted as root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_is_reported_before_anything_is_sent(
    any_server_with_extensions: SftpTestServer, session_with_extensions: SftpSession
) -> None:
    spool = any_server_with_extensions.spool_path
    with small_disk(spool, 4 * MIB):
        with pytest.raises(ReceiverDiskFullError, match="to be sent and only"):
            publish_to(any_server_with_extensions, session_with_extensions, some_archive(4 * MIB))
        assert list((spool / INCOMING).iterdir()) == []


@pytest.mark.parametrize(
    ("option", "why"), [("ro", "mounted read-only"), ("nr_inodes", "no inode")]
)
def test_small_disk_on_which_no_file_can_be_made_is_not_said_to_be_out_of_bytes(
    any_server_with_extensions: SftpTestServer,
    session_with_extensions: SftpSession,
    option: str,
    why: str,
) -> None:
    spool = any_server_with_extensions.spool_path
    with small_disk(spool, 2 * MIB):
        prepare_spool(session_with_extensions, any_server_with_extensions.spool)
        facts = os.statvfs(spool)
        used = f"={facts.f_files - facts.f_ffree}" if option == "nr_inodes" else ""
        subprocess.run(["mount", "-o", f"remount,{option}{used}", spool], check=True)
        with pytest.raises(SpoolNotWritableError, match=why) as caught:
            publish_to(any_server_with_extensions, session_with_extensions, some_archive(1000))
        assert "bytes are free" not in caught.value.problem
        assert "mount the spool's file system writable" in caught.value.remedy


def test_disk_that_fills_during_the_upload_is_reported(
    any_server_with_extensions: SftpTestServer, session_with_extensions: SftpSession
) -> None:
    spool = any_server_with_extensions.spool_path
    with small_disk(spool, 8 * MIB):
        prepare_spool(session_with_extensions, any_server_with_extensions.spool)

        def fill(_done: int, _total: int) -> None:
            filler = spool / "filler"
            if not filler.exists():
                filler.write_bytes(bytes(5 * MIB))

        with pytest.raises(ReceiverDiskFullError, match="writing"):
            publish(
                session_with_extensions,
                some_archive(6 * MIB),
                SpoolPlace(any_server_with_extensions.spool, "partial", NAME),
                progress=fill,
            )
        assert not (spool / "partial" / NAME).exists()
