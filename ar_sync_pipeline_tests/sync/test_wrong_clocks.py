"""Clocks that were wrong: no archive is loaded before its time, or after a newer one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.spool.checkpoint import Checkpoint, read_checkpoint
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import PartialRequest, dump_partial
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.dump.watermark import believable, newest_snapshot
from ar_sync_pipeline.sync.watch.status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, remake, watermark_of
from ar_sync_pipeline_tests.sync.test_watermark import START, mark, sent, view

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id < 10"
DELETION = "DELETE FROM app_child WHERE id = 50"


class Clock:
    """A clock that is ahead of the true time."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class WrongClocks:
    """Two servers; the sender's clock is that of `TwoSites` dumps."""

    def __init__(self, sites: TwoSites) -> None:
        self.sites = sites
        self.clock = Clock()
        sites.clock = self.clock

    def complete(self, ahead: timedelta, since: Watermark | None = None) -> Path:
        self.clock.ahead = ahead
        path = self.sites.complete(since=since)
        self.clock.ahead = timedelta(0)
        return path

    def partial(self, ahead: timedelta, since: Watermark | None) -> Path:
        self.clock.ahead = ahead
        now = self.clock()
        window = Window(start=now - timedelta(minutes=5), end=now)
        path = self.sites.partial(window, since=since)
        self.clock.ahead = timedelta(0)
        return path

    def load(self, ahead: timedelta = timedelta(0)) -> list[str]:
        """Load with a receiver whose clock is ahead; return the names of the loaded archives."""
        self.clock.ahead = ahead
        report = self.sites.load()
        self.clock.ahead = timedelta(0)
        return [loaded.manifest.name.waiting for loaded in report.loaded]

    def parked(self) -> list[str]:
        return [archive.name.waiting for archive in list_parked(self.sites.spool)]

    def position(self) -> Watermark:
        position = read_checkpoint(self.sites.spool)
        assert position is not None
        assert position.watermark is not None
        return position.watermark


@pytest.fixture
def clocks(filled: TwoSites) -> WrongClocks:
    return WrongClocks(filled)


@pytest.mark.parametrize("ahead", [timedelta(minutes=40), DAY])
def test_archives_of_a_clock_that_was_ahead_wait_and_take_nobody_back(
    clocks: WrongClocks, ahead: timedelta
) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    clocks.sites.at_sender(CHANGE)
    complete = clocks.complete(ahead, clocks.position())
    partial = clocks.partial(ahead, watermark_of(complete))
    assert clocks.load() == []
    assert clocks.parked() == [complete.name, partial.name]
    reason = read_reason(list_parked(clocks.sites.spool)[0].path)
    assert reason is not None
    assert "is dated" in reason.reason
    assert "set the clock that is wrong" in reason.remedy
    clocks.sites.at_sender(CHANGE, DELETION)
    ordinary = [clocks.partial(timedelta(0), clocks.position())]
    ordinary.append(clocks.complete(timedelta(0), clocks.position()))
    assert clocks.load() == [ordinary[1].name]
    assert equal(clocks.sites)
    # An overtaken archive no longer waits; it brings nothing, also when its time has come.
    assert clocks.load() == []
    assert clocks.parked() == []
    assert clocks.load(ahead) == []
    assert equal(clocks.sites)


def test_archives_that_nothing_has_overtaken_load_when_their_time_has_come(
    clocks: WrongClocks,
) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    clocks.sites.at_sender(CHANGE)
    partial = clocks.partial(HOUR, clocks.position())
    assert clocks.load() == []
    assert clocks.load(HOUR) == [partial.name]
    assert equal(clocks.sites)


def test_receiver_whose_clock_was_behind_loads_all_once_it_is_right(clocks: WrongClocks) -> None:
    complete = clocks.complete(timedelta(0))
    clocks.sites.at_sender(CHANGE)
    partial = clocks.partial(timedelta(0), watermark_of(complete))
    assert clocks.load(-HOUR) == []
    assert clocks.load() == [complete.name, partial.name]
    assert equal(clocks.sites)


def test_receiver_that_looks_late_orders_archives_by_their_snapshots(clocks: WrongClocks) -> None:
    """It was down while the sender's clock was ahead, so no date is in the future any more."""
    clocks.complete(timedelta(0))
    clocks.load()
    before = clocks.position()
    clocks.sites.at_sender(CHANGE)
    wrong = clocks.complete(HOUR, before)
    clocks.sites.at_sender(CHANGE, DELETION)
    right = clocks.complete(timedelta(0), before)
    assert wrong.name > right.name
    assert clocks.load(2 * HOUR) == [right.name]
    assert equal(clocks.sites)


def test_both_clocks_were_ahead_and_are_set_right(clocks: WrongClocks) -> None:
    """The next archive is dated just after the newest one, and is loaded at once."""
    clocks.complete(DAY)
    clocks.load(DAY)
    position = clocks.position()
    clocks.sites.at_sender(CHANGE)
    build = open_build(clocks.sites.folder / "scratch", "next")
    now = datetime.now(UTC)
    window = Window(start=now - HOUR, end=now)
    seen = ReceiverView(Checkpoint(at=now, watermark=position), frozenset())
    after = newest_snapshot(seen, (), now)
    request = PartialRequest(window, 2 * HOUR, position, after)
    dump_partial(clocks.sites.sender, clocks.sites.catalog, build, datetime_now, request)
    path = clocks.sites.seal(build)
    assert watermark_of(path).snapshot_at == position.snapshot_at + timedelta(microseconds=1)
    assert clocks.load() == [path.name]
    assert equal(clocks.sites)


def test_first_complete_was_dated_ahead(clocks: WrongClocks) -> None:
    """No later archive starts from it, and it has no starting point."""
    wrong = clocks.complete(DAY)
    assert clocks.load() == []
    clocks.sites.at_sender(CHANGE, DELETION)
    right = clocks.complete(timedelta(0))
    assert clocks.load() == [right.name]
    assert clocks.parked() == [wrong.name]
    assert clocks.load() == []
    assert clocks.parked() == []
    assert clocks.load(2 * DAY) == []
    assert equal(clocks.sites)


def test_first_complete_was_dated_ahead_and_its_time_has_come(clocks: WrongClocks) -> None:
    """Neither starts from a known point; the position in the log shows which came first."""
    wrong = clocks.complete(HOUR)
    clocks.sites.at_sender(CHANGE, DELETION)
    right = clocks.complete(timedelta(0))
    assert wrong.name > right.name
    assert clocks.load(2 * HOUR) == [right.name]
    assert equal(clocks.sites)


def test_data_from_the_future_is_no_good_state(clocks: WrongClocks) -> None:
    """Loaded while the receiver's clock was ahead as well; then that clock was corrected."""
    clocks.complete(DAY)
    clocks.load(DAY)
    lag = receiver_status(clocks.sites.settings, datetime_now()).lag
    assert lag.ahead
    assert "in the future, because the clock of the sender or that of the receiver" in str(lag)
    assert "all is well" not in str(lag)


def test_window_in_the_future_waits_as_well(clocks: WrongClocks, tmp_path: Path) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    partial = clocks.partial(timedelta(0), clocks.position())
    ahead = Window(start=datetime_now() + HOUR, end=datetime_now() + 2 * HOUR)
    remake(partial, tmp_path / "remade", window=ahead)
    assert clocks.load() == []
    assert clocks.parked() == [partial.name]
    assert clocks.load(2 * HOUR) == [partial.name]


@pytest.mark.parametrize("kind", ["partial", "complete"])
def test_archive_that_claims_the_end_of_all_ids_overtakes_nothing(
    clocks: WrongClocks, tmp_path: Path, kind: str
) -> None:
    clocks.complete(-HOUR)
    clocks.load()
    since = clocks.position()
    path = clocks.partial(-HOUR / 2, since) if kind == "partial" else clocks.complete(-HOUR / 2)
    mark = watermark_of(path)
    oldest = mark.snapshot.partition(":")[0]
    end = {"lsn": 2**63 - 1, "snapshot": f"{oldest}:{2**63 - 1}:"}
    remake(path, tmp_path / "remade", watermark=mark.model_copy(update=end))
    assert clocks.load() == [path.name]
    clocks.sites.at_sender(CHANGE)
    partial = clocks.partial(timedelta(0), since)
    assert clocks.load() == [partial.name]
    clocks.sites.at_sender(CHANGE, DELETION)
    complete = clocks.complete(timedelta(0), since)
    assert clocks.load() == [complete.name]
    assert equal(clocks.sites)


def datetime_now() -> datetime:
    return datetime.now(UTC)


class TestDatesOfTheNextArchive:
    """The sender's part: no archive is dated before those before it."""

    def test_archive_from_the_future_dates_no_other(self) -> None:
        archives = [sent(10, 5), sent(70, 10)]
        seen = view(10)
        assert believable(archives, seen, START + timedelta(minutes=15)) == (archives[0],)

    def test_position_in_the_future_dates_the_next(self) -> None:
        now = START + timedelta(minutes=15)
        waiting = sent(70, 10)
        assert newest_snapshot(view(70), (), now) == mark(70).snapshot_at
        assert believable([waiting], view(70), now) == (waiting,)

    def test_lost_journal_is_made_up_for_by_what_waits_in_the_spool(self) -> None:
        seen = view(10, sent(15, 10), sent(70, 15))
        now = START + timedelta(minutes=12)
        name = ArchiveName.parse(sent(15).name)
        assert name is not None
        assert newest_snapshot(seen, (), now) == name.snapshot_at

    def test_nothing_is_known_of_a_new_receiver(self) -> None:
        assert newest_snapshot(ReceiverView(None, None), (), START) is None
