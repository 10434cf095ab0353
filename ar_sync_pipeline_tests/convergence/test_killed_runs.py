"""Killed at any point of a run (``kill -9``), the next run ends where an unbroken one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.postgres.ledger import read_ledger
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import ReceiptState, read_receipt
from ar_sync_pipeline.spool.states import clean_incoming, list_waiting
from ar_sync_pipeline.sync.dump.scratch import clean_scratch
from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.faults import DUMP_POINTS, LOAD_POINTS
from ar_sync_pipeline_tests.convergence.fix_convergence import KillableRuns, Servers
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.row_images import State
from ar_sync_pipeline_tests.convergence.sender_side import SenderSide, VirtualClock
from ar_sync_pipeline_tests.convergence.traffic import BEGINNING

KILLED = -9


@dataclass
class Line:
    """A sender, a real SFTP server, and a receiver behind it."""

    sender: SenderSide
    receiver: ReceiverSide
    clock: VirtualClock
    sftp: LoopbackSftpServer

    @property
    def sender_environ(self) -> dict[str, str]:
        return {
            "AR_SYNC_SENDER_DATABASE_URL": self.sender.url,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(self.sender.media),
            "AR_SYNC_TMP_BKP_FLDR": str(self.sender.scratch),
            "AR_SYNC_REMOTE_HOST": self.sftp.host,
            "AR_SYNC_REMOTE_PORT": str(self.sftp.port),
            "AR_SYNC_REMOTE_USER": self.sftp.user,
            "AR_SYNC_PRIVATE_KEY": str(self.sftp.private_key),
            "AR_SYNC_KNOWN_HOSTS": str(self.sftp.known_hosts),
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            "AR_SYNC_ADMINS": "operator@example.org",
        }

    def change(self) -> None:
        """Rows and pictures, new and changed."""
        for number in (1, 2):
            self.sender.change_picture(number, self.clock().isoformat().encode(), named=True)
        self.sender.run(
            "SELECT exchange_codes(1, 2)",
            "INSERT INTO app_parent VALUES (4, 0, 'new', 'l', 1) ON CONFLICT DO NOTHING",
            "UPDATE app_tag SET value = value + 1",
        )
        self.clock.pass_time(timedelta(minutes=10))

    def dump(self, runs: KillableRuns, what: str, point: str | None = None) -> int:
        runs.start(what, self.sender_environ, self.clock(), point=point)
        return runs.status()

    def load(self, runs: KillableRuns, point: str | None = None) -> int:
        runs.start("load", self.receiver.environ, self.clock(), point=point)
        return runs.status()

    def files(self) -> set[str]:
        """What lies in the receiver's spool and media folder."""
        folders = (self.receiver.spool, self.receiver.media)
        return {str(path) for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def line(servers: Servers, killable_runs: KillableRuns, tmp_path: Path) -> Iterator[Line]:
    """Both hold the same, and the sender has changed since."""
    clock = VirtualClock(datetime.now(UTC))
    sender = SenderSide(servers.sender_url, servers.sender, tmp_path, clock)
    receiver = ReceiverSide(servers.receiver_url, servers.receiver, tmp_path, clock)
    sender.run(BEGINNING)
    with LoopbackSftpServer(tmp_path, tmp_path / "keys") as sftp:
        made = Line(sender, receiver, clock, sftp)
        assert made.dump(killable_runs, "complete") == 0
        assert made.load(killable_runs) == 0
        receiver.rate_everything(5)
        receiver.take_note(1, 1)
        made.change()
        yield made


@pytest.mark.long
@pytest.mark.parametrize("kind", ["partial", "complete"])
@pytest.mark.parametrize("point", LOAD_POINTS)
def test_killed_load_is_finished_by_the_next_one(
    line: Line, killable_runs: KillableRuns, kind: str, point: str
) -> None:
    before = line.receiver.state()
    assert line.dump(killable_runs, kind) == 0
    (name,) = [archive.name for archive in list_waiting(line.receiver.spool)]
    assert line.load(killable_runs, point) == KILLED
    committed = point in {
        "between commit and the end of pictures",
        "between commit and renaming",
        "between renaming and receipt",
    }
    assert_half_way(line, before, committed=committed)
    line.clock.pass_time(timedelta(minutes=1))
    assert line.load(killable_runs) == 0
    invariants.receiver_equals_sender(line.receiver, line.sender)
    invariants.own_data_is_kept(line.receiver, line.sender)
    receipt = read_receipt(line.receiver.spool, name, signing_keys=())
    assert receipt is not None
    assert receipt.state is ReceiptState.APPLIED
    checkpoint = Checkpoint.read(line.receiver.spool, signing_keys=())
    assert checkpoint is not None
    assert checkpoint.watermark is not None
    assert checkpoint.watermark.snapshot_at == name.snapshot_at
    assert not [path for path in line.files() if "/." in path and "/.incoming/" not in path]


def assert_half_way(line: Line, before: State, *, committed: bool) -> None:
    """Readers see the state before or the state after, and the ledger says which."""
    now = line.receiver.unchanged_state()
    assert (now == before) is not committed
    assert len(read_ledger(line.receiver.connection)) == (2 if committed else 1)
    if committed:
        invariants.assert_same(now, line.sender.state())


@pytest.mark.long
@pytest.mark.parametrize("kind", ["partial", "complete"])
@pytest.mark.parametrize("point", DUMP_POINTS)
def test_killed_dump_is_made_good_by_the_next_one(
    line: Line, killable_runs: KillableRuns, kind: str, point: str
) -> None:
    files = line.files()
    assert line.dump(killable_runs, kind, point) == KILLED
    assert list_waiting(line.receiver.spool) == []
    half_sent = line.files() - files
    assert bool(half_sent) is (point == "in the middle of the upload")
    assert all("/.incoming/" in path for path in half_sent)
    assert line.load(killable_runs) == 0
    line.change()
    assert line.dump(killable_runs, kind) == 0
    assert line.load(killable_runs) == 0
    invariants.receiver_equals_sender(line.receiver, line.sender)
    invariants.own_data_is_kept(line.receiver, line.sender)
    assert_cleaned_in_time(line)


def assert_cleaned_in_time(line: Line) -> None:
    later = line.clock() + timedelta(days=3)
    assert clean_scratch(line.sender.scratch, later) == 1
    assert [path for path in line.sender.scratch.iterdir() if path.is_dir()] == []
    clean_incoming(line.receiver.spool, older_than=later)
    assert list((line.receiver.spool / ".incoming").iterdir()) == []
