"""A sender that was put back with its scratch folder, while the receiver's reports were lost, too.

Nothing in the spool shows what the receiver has of the lost history: only its ledger does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from shutil import copytree, rmtree

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import WAITING_PREFIX
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.receipts import list_receipts
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.dump.choose_base import complete_to_repeat
from ar_sync_pipeline.sync.dump.last_view import CACHED_CHECKPOINT, last_checkpoint
from ar_sync_pipeline.sync.errors import SetBackError, UnknownArchivesError
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import recent_window, rows
from ar_sync_pipeline_tests.sync.dump.test_restored_scratch import Machine
from ar_sync_pipeline_tests.sync.dump.test_restored_sender import ROWS, Restored, restored
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, media_sender_of

__all__ = ["restored"]

pytestmark = pytest.mark.long
Publish = Callable[[MediaSender], Manifest]
BOTH = [MediaSender.partial, MediaSender.complete]
LONG_AGO = timedelta(minutes=10)


def lose_spool(machine: Machine) -> None:
    rmtree(machine.sites.spool)
    machine.sites.spool.mkdir()
    prepare_spool(machine.sites.spool)


def set_back_spool(machine: Machine) -> None:
    """Put back what the receiver had reported when the sender's disk was copied."""
    rmtree(machine.sites.spool)
    copytree(machine.sites.folder / "saved_spool", machine.sites.spool)


@pytest.fixture
def hour_ago(restored: Restored) -> Iterator[Machine]:
    """Yield a sender whose receiver has had a complete for an hour."""
    folder = restored.sites.folder
    restored.sites.clock = lambda: datetime.now(UTC) - timedelta(hours=1)
    with LoopbackSftpServer(folder, folder / "keys") as sftp:
        machine = Machine(media_sender_of(restored.sites, sftp), restored)
        machine.sender.complete()
        machine.sites.load()
        machine.sender.partial()  # reads what the receiver has
        machine.sites.load()
        yield machine


def save(machine: Machine) -> None:
    machine.save()
    copytree(machine.sites.spool, machine.sites.folder / "saved_spool")


def go_back(machine: Machine) -> None:
    """Put back the sender's disk; for a long time its database is behind the lost history."""
    machine.cluster.restore()
    machine.cluster.transactions(first=90, count=3, value=7)
    rmtree(machine.sender.scratch)
    copytree(machine.sites.folder / "saved_scratch", machine.sender.scratch)


def lose_history(machine: Machine, publish: Publish, ago: timedelta = LONG_AGO) -> None:
    """Let the receiver apply an archive of a history with many more transaction ids."""
    machine.sites.clock = lambda: datetime.now(UTC) - ago
    machine.cluster.transactions(first=95, count=200, value=1)
    publish(machine.sender)
    assert len(machine.sites.load().loaded) == 1
    machine.sites.clock = lambda: datetime.now(UTC)


def said(machine: Machine) -> str:
    sites = machine.sites
    return str(receiver_status(sites.settings, sites.catalog, datetime.now(UTC)).lag)


def equal(machine: Machine) -> bool:
    return rows(machine.sites.receiver, ROWS) == rows(machine.sites.sender, ROWS)


def assert_told_and_repaired(machine: Machine, publish: Publish) -> None:
    """At the latest the next complete repairs, and until then the reason is shown."""
    first = publish(machine.sender)
    machine.sites.load()
    assert first.new_history or first.name.applied in said(machine)
    if not equal(machine):
        assert "all is well" not in said(machine)
        assert "the sender's database was" in said(machine)
    machine.sender.complete()
    report = machine.sites.load()
    assert equal(machine)
    assert report.chain is not None
    assert report.chain.gaps == ()
    assert "all is well" in said(machine)
    assert not machine.sender.partial().new_history
    machine.sites.load()
    assert list_parked(machine.sites.spool) == []


@pytest.mark.parametrize("ago", [timedelta(seconds=20), LONG_AGO])
@pytest.mark.parametrize("spool", [lose_spool, set_back_spool])
@pytest.mark.parametrize("publish", BOTH)
def test_lost_history_is_told_whatever_the_spool_shows(
    hour_ago: Machine, publish: Publish, spool: Callable[[Machine], None], ago: timedelta
) -> None:
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete, ago)
    go_back(hour_ago)
    spool(hour_ago)
    assert_told_and_repaired(hour_ago, publish)


@pytest.mark.parametrize("publish", BOTH)
def test_database_may_have_overtaken_what_was_lost_with_the_spool(
    hour_ago: Machine, publish: Publish
) -> None:
    """Neither ids nor positions show it to the receiver then."""
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    go_back(hour_ago)
    hour_ago.cluster.transactions(first=1, count=300, value=9)
    lose_spool(hour_ago)
    assert_told_and_repaired(hour_ago, publish)


def test_sender_that_had_read_no_checkpoint_yet_finds_nothing_of_what_it_sent(
    hour_ago: Machine,
) -> None:
    (hour_ago.sender.scratch / CACHED_CHECKPOINT).unlink()
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    go_back(hour_ago)
    lose_spool(hour_ago)
    assert_told_and_repaired(hour_ago, MediaSender.partial)


def test_link_that_comes_back_does_not_hide_that_the_spool_was_lost(hour_ago: Machine) -> None:
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    go_back(hour_ago)
    lose_spool(hour_ago)
    build = hour_ago.while_the_link_is_down(MediaSender.bundled_partial)
    with pytest.raises(UnknownArchivesError, match="the spool was lost"):
        hour_ago.sender.publish(build)


def test_spool_that_was_rebuilt_beside_a_healthy_sender_is_among_the_causes(
    hour_ago: Machine,
) -> None:
    lose_spool(hour_ago)
    hour_ago.sites.clock = lambda: datetime.now(UTC)
    assert hour_ago.sender.partial().new_history
    chain = hour_ago.sites.load().chain
    assert chain is not None
    (gap,) = chain.gaps
    assert "or only this receiver's spool was lost or rebuilt" in str(gap)
    assert "or this receiver's spool was rebuilt" in said(hour_ago)


def test_receipts_after_a_gap_are_written_again_although_the_checkpoint_is_right(
    hour_ago: Machine,
) -> None:
    """The spool was set back to the time before them."""
    hour_ago.sites.clock = lambda: datetime.now(UTC)
    save(hour_ago)
    hour_ago.sites.at_sender("INSERT INTO t_a VALUES (5000, 5, now() - interval '20 s')")
    after_gap = hour_ago.sites.partial(recent_window())
    report = hour_ago.sites.load()
    assert report.chain is not None
    assert report.chain.gaps
    set_back_spool(hour_ago)
    settings, clock = hour_ago.sites.settings, hour_ago.sites.clock
    name = after_gap.name.removeprefix(WAITING_PREFIX)
    assert name not in [one.applied for one in list_receipts(hour_ago.sites.spool)]
    assert acknowledge_by_hand(settings, clock)
    assert name in [one.applied for one in list_receipts(hour_ago.sites.spool)]
    assert not acknowledge_by_hand(settings, clock)


def test_sender_requests_a_complete_for_what_was_parked(hour_ago: Machine) -> None:
    """The next partial reads the receipt."""
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    go_back(hour_ago)
    set_back_spool(hour_ago)
    first = hour_ago.sender.complete()
    (refused,) = hour_ago.sites.admit().rejected
    assert (refused.name, refused.code) == (first.name.applied, SetBackError.code)
    assert hour_ago.sender.partial().new_history
    now, scratch = datetime.now(UTC), hour_ago.sender.scratch
    assert complete_to_repeat(scratch, last_checkpoint(scratch, now), now) == first.name.applied


def test_receiver_reports_by_itself_what_it_has_after_its_spool_was_lost(
    hour_ago: Machine,
) -> None:
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    before = Checkpoint.read(hour_ago.sites.spool, signing_keys=())
    lose_spool(hour_ago)
    settings, clock = hour_ago.sites.settings, hour_ago.sites.clock
    assert acknowledge_by_hand(settings, clock)
    assert not acknowledge_by_hand(settings, clock)
    after = Checkpoint.read(hour_ago.sites.spool, signing_keys=())
    assert before is not None
    assert after is not None
    assert after.watermark == before.watermark
    assert not hour_ago.sender.partial().new_history, "the sender was not set back"
    go_back(hour_ago)
    assert_told_and_repaired(hour_ago, MediaSender.partial)
