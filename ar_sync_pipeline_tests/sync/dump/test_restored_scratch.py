"""A sender that was put back to an earlier state, database and scratch folder together or not.

What the receiver has, or may have, of the lost history is found wherever its name or point is: in
the sender's journal, in the receiver's checkpoint, in its spool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, rmtree

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.errors import UnknownArchivesError
from ar_sync_pipeline_tests.fix_sites import TwoSites, rows
from ar_sync_pipeline_tests.sync.dump.test_restored_sender import ROWS, Restored, restored
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, media_sender_of

__all__ = ["restored"]

pytestmark = pytest.mark.long
Dump = Callable[[MediaSender], BuildFolder]


@dataclass
class Machine:
    """A sender whose database and scratch folder are on one disk.

    Attributes:
        sender: The sender as tests of media files use it.
        cluster: Its database.
    """

    sender: MediaSender
    cluster: Restored

    @property
    def sites(self) -> TwoSites:
        return self.sender.sites

    @property
    def _saved(self) -> Path:
        return self.sites.folder / "saved_scratch"

    def save(self) -> None:
        self.cluster.copy()
        copytree(self.sender.scratch, self._saved)

    def restore(self) -> None:
        """Put back the disk, and let the database overtake what it had been."""
        self.restore_database()
        rmtree(self.sender.scratch)
        copytree(self._saved, self.sender.scratch)

    def restore_database(self) -> None:
        self.cluster.restore()
        self.cluster.transactions(first=1, count=100, value=2)

    def lose(self) -> Manifest:
        """Send an archive of the history that will be lost."""
        self.cluster.transactions(first=95, count=20, value=1)
        return self.sender.partial()

    def while_the_link_is_down(self, dump: Dump) -> BuildFolder:
        settings = self.sender.settings
        self.sender.settings = settings.model_copy(update={"remote_port": 1})
        build = dump(self.sender)
        self.sender.settings = settings
        return build

    def assert_told_and_repaired(self) -> None:
        """The receiver knows that it has a gap, until a complete has come."""
        report = self.sites.load()
        assert report.chain is not None
        assert any(gap.new_history for gap in report.chain.gaps)
        self.sender.complete()
        report = self.sites.load()
        assert report.chain is not None
        assert report.chain.gaps == ()
        assert rows(self.sites.receiver, ROWS) == rows(self.sites.sender, ROWS)
        assert not self.sender.partial().new_history


@pytest.fixture
def machine(restored: Restored) -> Iterator[Machine]:
    """Yield a sender whose receiver has a complete, and says so."""
    folder = restored.sites.folder
    with LoopbackSftpServer(folder, folder / "keys") as sftp:
        machine = Machine(media_sender_of(restored.sites, sftp), restored)
        machine.sender.complete()
        machine.sites.load()
        machine.sender.partial()
        machine.sites.load()
        yield machine


def test_what_waits_at_the_receiver_is_of_the_lost_history(machine: Machine) -> None:
    machine.save()
    lost = machine.lose()
    machine.restore()
    assert machine.sender.waiting(lost).exists()
    first = machine.sender.partial()
    assert first.new_history
    machine.sender.waiting(first).unlink()
    assert machine.sender.partial().new_history, "although the journal has a newer archive now"
    machine.assert_told_and_repaired()


def test_what_the_journal_knows_to_be_sent_is_of_the_lost_history(machine: Machine) -> None:
    """The receiver has it, and the sender does not know that while the link is down."""
    machine.save()
    machine.lose()
    machine.restore_database()
    build = machine.while_the_link_is_down(MediaSender.bundled_partial)
    dump = build.read(TableDump)
    assert dump.since is not None
    assert dump.new_history
    machine.sender.publish(build)
    machine.assert_told_and_repaired()


@pytest.mark.parametrize("is_applied", [True, False])
@pytest.mark.parametrize("dump", [MediaSender.bundled_partial, MediaSender.bundled_complete])
def test_link_that_comes_back_during_a_dump_shows_what_the_receiver_has(
    machine: Machine, dump: Dump, is_applied: bool
) -> None:
    machine.save()
    lost = machine.lose()
    if is_applied:
        machine.sites.load()
    machine.restore()
    build = machine.while_the_link_is_down(dump)
    assert not build.read(TableDump).new_history
    with pytest.raises(UnknownArchivesError, match="its journal does not know"):
        machine.sender.publish(build)
    waiting = [path.name for path in machine.sites.spool.rglob("NEW_*.tar")]
    assert waiting == ([] if is_applied else [lost.name.waiting])
    assert machine.sender.partial().new_history
    machine.assert_told_and_repaired()


def test_link_that_comes_back_during_a_dump_is_no_reason_not_to_send(machine: Machine) -> None:
    machine.lose()
    build = machine.while_the_link_is_down(MediaSender.bundled_partial)
    assert not machine.sender.publish(build).new_history
    machine.sites.load()
    assert rows(machine.sites.receiver, ROWS) == rows(machine.sites.sender, ROWS)
