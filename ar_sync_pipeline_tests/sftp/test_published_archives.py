"""What docs/receiver_account.md promises: the account cannot take back what was admitted.

Two accounts, the documented folders, OpenSSH; the receiver's side works as an ordinary account.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from paramiko import SFTPClient

from ar_sync_pipeline.archive.errors import UnreadableArchiveError
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.errors import ParkedError, TerminalError
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import SpoolPlace, publish
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, receipt_filename, write_receipt
from ar_sync_pipeline.spool.retention import Decision, apply_retention
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    clean_incoming,
    list_waiting,
    mark_applied,
    park,
    quarantine,
    unpark,
)
from ar_sync_pipeline.sync.rejection import reject
from ar_sync_pipeline_tests.openssh_servers import ChrootedTestServer
from ar_sync_pipeline_tests.sftp.documented_account import as_receiver, make_documented_folders
from ar_sync_pipeline_tests.sftp.sources import NAME, some_archive
from ar_sync_pipeline_tests.sftp.test_probe import now

BEHIND = ParkedError("migration 0035 is missing", remedy="migrate the receiver")
CORRUPT = TerminalError("member 3 has a wrong sha256", remedy="look at the sender's disk")
OTHER = b"what the holder of a stolen key puts in its place"


class TwoAccounts:
    """The sender's account on a connection, and the receiver's account at the spool."""

    def __init__(self, server: ChrootedTestServer, session: SftpSession) -> None:
        self.server = server
        self.session = session
        self.spool = server.spool_path
        self.content = some_archive().content

    @property
    def client(self) -> SFTPClient:
        return self.session.client

    def publish(self) -> SpooledArchive:
        publish(self.session, some_archive(), SpoolPlace(self.server.spool, "partial", NAME))
        with as_receiver(self.server):
            (archive,) = list_waiting(self.spool)
        return archive

    def admitted(self) -> SpooledArchive:
        archive = self.publish()
        with as_receiver(self.server):
            return unpark(self.spool, archive)

    def applied(self) -> SpooledArchive:
        archive = self.admitted()
        with as_receiver(self.server):
            return mark_applied(self.spool, archive)

    def remote(self, path: Path) -> str:
        return str(self.server.remote_path(path))

    def cannot_harm(self, path: Path) -> None:
        """Try all that a file can suffer over SFTP."""
        before, place = path.read_bytes(), self.remote(path)
        mine = f"{self.server.spool}/.incoming/mine"
        with self.client.open(mine, "w") as file:
            file.write(OTHER)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: self.client.remove(place),
            lambda: self.client.rename(place, f"{mine}.taken"),
            lambda: self.client.posix_rename(place, f"{mine}.taken"),
            lambda: self.client.posix_rename(mine, place),
            lambda: self.client.open(place, "r+"),
            lambda: self.client.open(place, "w"),
            lambda: self.client.open(place, "a"),
            lambda: self.client.truncate(place, 0),
            lambda: self.client.chmod(place, 0o666),
            lambda: self.client.rmdir(str(self.server.remote_path(path.parent))),
            lambda: self.client.posix_rename(
                str(self.server.remote_path(path.parent)), f"{self.server.spool}/.incoming/folder"
            ),
        )
        for attempt in attempts:
            with pytest.raises(OSError, match=r"(?i)permission denied|failure|unsupported"):
                attempt()
        assert path.read_bytes() == before


@pytest.fixture
def accounts(chrooted_server: ChrootedTestServer) -> Iterator[TwoAccounts]:
    make_documented_folders(chrooted_server)
    with open_session(chrooted_server.endpoint()) as session:
        yield TwoAccounts(chrooted_server, session)


def test_admitted_archive_can_neither_be_removed_nor_replaced_nor_changed(
    accounts: TwoAccounts,
) -> None:
    archive = accounts.admitted()
    assert archive.path.read_bytes() == accounts.content
    accounts.cannot_harm(archive.path)


def test_applied_archive_can_neither_be_removed_nor_replaced_nor_changed(
    accounts: TwoAccounts,
) -> None:
    accounts.cannot_harm(accounts.applied().path)


def test_parked_and_quarantined_archives_and_their_reasons_are_out_of_reach(
    accounts: TwoAccounts,
) -> None:
    archive = accounts.publish()
    with as_receiver(accounts.server):
        archive = park(accounts.spool, archive, BEHIND, at=now())
    for path in list((accounts.spool / "parked").iterdir()):
        accounts.cannot_harm(path)
    with as_receiver(accounts.server):
        archive = quarantine(accounts.spool, archive, CORRUPT, at=now())
    kept = list((accounts.spool / "quarantine").iterdir())
    assert len(kept) == 2
    for path in kept:
        accounts.cannot_harm(path)
    with pytest.raises(PermissionError):
        accounts.client.listdir(f"{accounts.server.spool}/quarantine")


def test_receipts_and_the_checkpoint_can_be_read_and_not_changed(accounts: TwoAccounts) -> None:
    archive = accounts.applied()
    receipt = Receipt(archive=archive.name.applied, state=ReceiptState.APPLIED, at=now())
    with as_receiver(accounts.server):
        write_receipt(accounts.spool, receipt, signing_keys=())
        Checkpoint(at=now()).write(accounts.spool, signing_keys=())
    for name in (receipt_filename(archive.name), "position.json"):
        path = accounts.spool / "receipts" / name
        accounts.cannot_harm(path)
        with accounts.client.open(accounts.remote(path)) as file:
            assert file.read() == path.read_bytes()


def test_connection_that_kept_the_file_open_does_not_reach_an_admitted_archive(
    accounts: TwoAccounts,
) -> None:
    archive = accounts.publish()
    with accounts.client.open(accounts.remote(archive.path), "r+") as kept_open:
        with as_receiver(accounts.server):
            unpark(accounts.spool, archive)
        kept_open.write(OTHER)
    assert archive.path.read_bytes() == accounts.content


def test_connection_that_kept_the_file_open_still_reaches_a_parked_archive(
    accounts: TwoAccounts,
) -> None:
    """The page says so: the file is the account's own until it is admitted, and read again then."""
    archive = accounts.publish()
    with accounts.client.open(accounts.remote(archive.path), "r+") as kept_open:
        with as_receiver(accounts.server):
            parked = park(accounts.spool, archive, BEHIND, at=now())
        kept_open.write(OTHER)
    assert parked.path.read_bytes().startswith(OTHER)


def test_archive_that_nobody_admitted_is_still_the_accounts_own(accounts: TwoAccounts) -> None:
    archive = accounts.publish()
    accounts.client.remove(accounts.remote(archive.path))
    assert not archive.path.exists()


def test_published_again_after_it_was_admitted_or_applied_nothing_is_sent(
    accounts: TwoAccounts,
) -> None:
    for step in (accounts.admitted, accounts.applied):
        step()
        again = publish(
            accounts.session, some_archive(), SpoolPlace(accounts.server.spool, "partial", NAME)
        )
        assert again.already_there
        for path in (accounts.spool / "partial").iterdir():
            path.unlink()


def test_receiver_does_all_its_work_as_an_ordinary_account(accounts: TwoAccounts) -> None:
    archive = accounts.publish()
    accounts.client.open(f"{accounts.server.spool}/.incoming/cut.part", "w").close()
    with as_receiver(accounts.server):
        prepare_spool(accounts.spool)
        archive = park(accounts.spool, archive, BEHIND, at=now(), verified=True)
        archive = mark_applied(accounts.spool, unpark(accounts.spool, archive))
        assert archive.name == ArchiveName.parse(NAME)
        assert archive.path.read_bytes() == accounts.content
        assert apply_retention([Decision(archive, False, "old")]) == archive.size_bytes
        left = clean_incoming(accounts.spool, older_than=now() + timedelta(days=400))
        assert [path.name for path in left] == ["cut.part"]
    assert [path for path in accounts.spool.rglob("*") if path.is_file()] == []


def test_sticky_folder_of_another_account_is_the_one_that_the_error_names(
    accounts: TwoAccounts,
) -> None:
    archive = accounts.publish()
    os.chown(accounts.spool / "partial", 0, -1)
    with as_receiver(accounts.server), pytest.raises(SpoolAccessError) as caught:
        unpark(accounts.spool, archive)
    assert caught.value.problem.startswith(f"{archive.path} cannot be used")


def test_unreadable_file_does_not_replace_the_parked_archive_of_its_name(
    accounts: TwoAccounts,
) -> None:
    """A request to open a file may set its mode, so that only the account itself can read it."""
    archive = accounts.publish()
    with as_receiver(accounts.server):
        parked = park(accounts.spool, archive, BEHIND, at=now())
    with accounts.client.open(accounts.remote(archive.path), "w") as file:
        file.write(b"x" * len(accounts.content))
    archive.path.chmod(0o200)
    with as_receiver(accounts.server):
        (newcomer,) = list_waiting(accounts.spool)
        with pytest.raises(UnreadableArchiveError) as caught, open_archive(newcomer.path):
            pass
        rejection = reject(accounts.spool, newcomer, caught.value, now())
        reason = read_reason(parked.path)
    assert parked.path.read_bytes() == accounts.content
    assert reason is not None
    assert reason.reason == BEHIND.problem
    assert not rejection.waits
    assert "is not the archive that is parked under its name" in rejection.problem


FOLDER_MODES = (0o777, 0o700, 0o500, 0o000)


@pytest.mark.parametrize("mode", FOLDER_MODES)
def test_folder_of_the_account_with_the_name_of_an_applied_archive_is_renamed(
    accounts: TwoAccounts, mode: int
) -> None:
    """rename(2) moves a folder to another parent only if the folder itself may be written to."""
    archive = accounts.admitted()
    accounts.client.mkdir(accounts.remote(archive.path.with_name(archive.name.applied)), mode)
    with as_receiver(accounts.server):
        applied = mark_applied(accounts.spool, archive)
    assert applied.path.read_bytes() == accounts.content


@pytest.mark.parametrize("mode", FOLDER_MODES)
def test_folder_of_the_account_with_the_name_of_a_parked_archive_is_renamed(
    accounts: TwoAccounts, mode: int
) -> None:
    archive = accounts.publish()
    with as_receiver(accounts.server):
        parked = park(accounts.spool, archive, BEHIND, at=now())
    accounts.client.mkdir(accounts.remote(archive.path), mode)
    with as_receiver(accounts.server):
        assert unpark(accounts.spool, parked).path.read_bytes() == accounts.content
