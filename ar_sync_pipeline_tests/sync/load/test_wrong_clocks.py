"""Clocks that were wrong: no archive is loaded before its time, or after a newer one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import dump_partial
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.dump.sender_journal import read_begun
from ar_sync_pipeline.sync.dump.starting_point import believable, newest_snapshot
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import equal, remake, rows, watermark_of
from ar_sync_pipeline_tests.sync.dump.test_starting_point import START, mark, sent, view
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender
from ar_sync_pipeline_tests.sync.fix_wrong_clocks import (
    CHANGE,
    DAY,
    DELETION,
    HOUR,
    OTHER_CHANGE,
    WrongClocks,
)


@pytest.mark.parametrize("back", [timedelta(seconds=40), timedelta(minutes=4)])
@pytest.mark.long
def test_partial_made_while_a_complete_is_dumped_is_dated_after_it(
    media_sender: MediaSender, back: timedelta
) -> None:
    """The clock is set back meanwhile; the complete, which takes long, arrives last."""
    sites = media_sender.sites
    media_sender.complete()
    sites.load()
    build = media_sender.bundled_complete()
    sites.at_sender(OTHER_CHANGE)
    sites.clock = lambda: datetime.now(UTC) - back
    partial = media_sender.partial()
    sites.load()
    complete = media_sender.publish(build)
    assert partial.snapshot_at > complete.snapshot_at
    report = sites.load()
    assert [one.manifest.archive_id for one in report.loaded] == [
        complete.archive_id,
        partial.archive_id,
    ]
    assert equal(sites)


def test_dump_in_progress_with_a_date_in_the_future_dates_nothing(
    media_sender: MediaSender,
) -> None:
    manifest = media_sender.complete()
    assert read_begun(media_sender.scratch) == ()
    media_sender.bundled_partial().remove()
    (begun,) = read_begun(media_sender.scratch)
    assert begun > manifest.snapshot_at
    assert newest_snapshot(ReceiverView(None, None), (), begun - DAY, [begun]) is None


@pytest.mark.long
@pytest.mark.parametrize("ahead", [timedelta(minutes=40), DAY])
def test_archives_of_a_clock_that_was_ahead_wait_and_take_nobody_back(
    clocks: WrongClocks, ahead: timedelta
) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    clocks.sites.at_sender(CHANGE)
    complete = clocks.complete(ahead, clocks.watermark())
    partial = clocks.partial(ahead, watermark_of(complete))
    assert clocks.load() == []
    assert clocks.parked() == [complete.name, partial.name]
    reason = read_reason(list_parked(clocks.sites.spool)[0].path)
    assert reason is not None
    assert "is dated" in reason.reason
    assert "set the clock that is wrong" in reason.remedy
    clocks.sites.at_sender(CHANGE, DELETION)
    ordinary = [clocks.partial(timedelta(0), clocks.watermark())]
    ordinary.append(clocks.complete(timedelta(0), clocks.watermark()))
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
    partial = clocks.partial(HOUR, clocks.watermark())
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
    before = clocks.watermark()
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
    reached = clocks.watermark()
    clocks.sites.at_sender(CHANGE)
    build = open_build(clocks.sites.folder / "scratch", "next")
    now = datetime.now(UTC)
    window = Window(start=now - HOUR, end=now)
    seen = ReceiverView(Checkpoint(at=now, watermark=reached), frozenset())
    after = newest_snapshot(seen, (), now)
    request = PartialRequest(window, 2 * HOUR, reached, after)
    dump_partial(replace(clocks.sites.database, clock=datetime_now), build, request)
    path = clocks.sites.seal(build)
    assert watermark_of(path).snapshot_at == reached.snapshot_at + timedelta(microseconds=1)
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
    lag = receiver_status(clocks.sites.settings, clocks.sites.catalog, datetime_now()).lag
    assert lag.ahead
    assert "in the future, because the clock of the sender or that of the receiver" in str(lag)
    assert "all is well" not in str(lag)


def test_window_in_the_future_waits_as_well(clocks: WrongClocks, tmp_path: Path) -> None:
    clocks.complete(timedelta(0))
    clocks.load()
    partial = clocks.partial(timedelta(0), clocks.watermark())
    ahead = Window(start=datetime_now() + HOUR, end=datetime_now() + 2 * HOUR)
    remake(partial, tmp_path / "remade", window=ahead)
    assert clocks.load() == []
    assert clocks.parked() == [partial.name]
    assert clocks.load(2 * HOUR) == [partial.name]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["partial", "complete"])
def test_archive_that_claims_the_end_of_all_ids_overtakes_nothing(
    clocks: WrongClocks, tmp_path: Path, kind: str
) -> None:
    clocks.complete(-HOUR)
    clocks.load()
    since = clocks.watermark()
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


class TestClocksSetBackAfterALoad:
    """Both clocks were ahead, so what was applied is dated after what is made later.

    The sender doesn't know the newest date: the receiver names the end of its chain only.
    """

    AHEAD = timedelta(minutes=10)

    def partial_after_a_gap(self, clocks: WrongClocks, since: Watermark, ahead: timedelta) -> Path:
        clocks.sites.at_sender(OTHER_CHANGE)
        lost = clocks.partial(ahead, since)
        start = watermark_of(lost)
        lost.unlink()
        clocks.sites.at_sender(CHANGE)
        return clocks.partial(ahead, start)

    def base_and_partial_after_a_gap(self, clocks: WrongClocks) -> tuple[Watermark, Path]:
        clocks.complete(timedelta(0))
        clocks.load()
        base = clocks.watermark()
        early = self.partial_after_a_gap(clocks, base, self.AHEAD)
        assert clocks.load(self.AHEAD) == [early.name]
        assert clocks.gaps() == 1
        return base, early

    def test_complete_replaces_partials_that_were_applied_without_a_base(
        self, clocks: WrongClocks
    ) -> None:
        clocks.sites.at_sender(CHANGE)
        early = clocks.partial(self.AHEAD, None)
        assert clocks.load(self.AHEAD) == [early.name]
        clocks.sites.at_sender(CHANGE)
        complete = clocks.complete(timedelta(0))
        assert clocks.load() == [complete.name]
        assert equal(clocks.sites)
        assert clocks.gaps() == 0

    @pytest.mark.parametrize("kind", ["partial", "complete"])
    @pytest.mark.long
    def test_archive_without_a_gap_replaces_a_partial_after_a_gap(
        self, clocks: WrongClocks, kind: str
    ) -> None:
        base, early = self.base_and_partial_after_a_gap(clocks)
        content = applied_file(early).read_bytes()
        clocks.sites.at_sender(CHANGE)
        dump = clocks.partial if kind == "partial" else clocks.complete
        later = dump(timedelta(0), base)
        mark = watermark_of(later)
        assert mark.snapshot_at < watermark_of(applied_file(early)).snapshot_at
        assert clocks.load() == [later.name]
        assert equal(clocks.sites)
        assert clocks.gaps() == 0
        assert clocks.watermark() == mark
        # It brings nothing either when it arrives again.
        early.write_bytes(content)
        assert clocks.load(self.AHEAD) == []
        assert not early.exists()
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_replaced_partial_may_arrive_again_together_with_what_replaces_it(
        self, clocks: WrongClocks
    ) -> None:
        base, early = self.base_and_partial_after_a_gap(clocks)
        early.write_bytes(applied_file(early).read_bytes())
        clocks.sites.at_sender(CHANGE)
        later = clocks.partial(timedelta(0), base)
        assert clocks.load() == [later.name]
        assert not early.exists()
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_ledger_from_a_backup_forgets_what_was_replaced_and_learns_it_again(
        self, clocks: WrongClocks
    ) -> None:
        base, early = self.base_and_partial_after_a_gap(clocks)
        clocks.sites.at_sender(CHANGE)
        clocks.partial(timedelta(0), base)
        clocks.load()
        clocks.sites.at_receiver("DELETE FROM ar_sync.applied_archive WHERE superseded")
        assert clocks.load(self.AHEAD) == []
        superseded = "SELECT name FROM ar_sync.applied_archive WHERE superseded"
        assert rows(clocks.sites.receiver, superseded) == [(applied_file(early).name,)]
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_complete_replaces_the_end_of_the_chain(self, clocks: WrongClocks) -> None:
        """The sender's journal and the receiver's checkpoint file were lost."""
        clocks.complete(timedelta(0))
        clocks.load()
        clocks.sites.at_sender(CHANGE)
        early = clocks.partial(self.AHEAD, clocks.watermark())
        assert clocks.load(self.AHEAD) == [early.name]
        clocks.sites.at_sender(CHANGE, DELETION)
        complete = clocks.complete(timedelta(0))
        assert clocks.load() == [complete.name]
        assert equal(clocks.sites)
        assert clocks.watermark().snapshot_at < clocks.clock()

    @pytest.mark.long
    def test_complete_replaces_a_complete(self, clocks: WrongClocks) -> None:
        clocks.complete(DAY)
        clocks.load(DAY)
        clocks.sites.at_sender(CHANGE, DELETION)
        complete = clocks.complete(timedelta(0))
        assert clocks.load() == [complete.name]
        clocks.sites.at_sender(CHANGE)
        partial = clocks.partial(timedelta(0), clocks.watermark())
        assert clocks.load() == [partial.name]
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_partial_after_another_gap_replaces_nothing(self, clocks: WrongClocks) -> None:
        """Nobody knows whether it carries what the earlier one held."""
        base, early = self.base_and_partial_after_a_gap(clocks)
        later = self.partial_after_a_gap(clocks, base, timedelta(0))
        assert clocks.load() == [later.name, early.name]
        assert clocks.gaps() == 2
        assert clocks.watermark() == base
        closing = clocks.partial(timedelta(0), base)
        assert clocks.load() == [closing.name]
        assert clocks.gaps() == 0
        assert equal(clocks.sites)

    @pytest.mark.long
    def test_complete_that_is_held_back_replaces_nothing(self, clocks: WrongClocks) -> None:
        base, early = self.base_and_partial_after_a_gap(clocks)
        complete = clocks.complete(timedelta(0))
        late = complete.rename(complete.with_suffix(".late"))
        newer = self.partial_after_a_gap(clocks, base, timedelta(0))
        assert clocks.load() == [newer.name, early.name]
        applied_file(newer).unlink()
        late.rename(complete)
        assert clocks.load() == []
        assert clocks.parked() == [complete.name]
        assert clocks.gaps() == 2
        assert clocks.watermark() == base


def applied_file(path: Path) -> Path:
    return path.with_name(path.name.removeprefix("NEW_"))


def datetime_now() -> datetime:
    return datetime.now(UTC)


class TestDatesOfTheNextArchive:
    """The sender's part: no archive is dated before those before it."""

    def test_archive_from_the_future_dates_no_other(self) -> None:
        archives = [sent(10, 5), sent(70, 10)]
        seen = view(10)
        assert believable(archives, seen, START + timedelta(minutes=15)) == (archives[0],)

    def test_checkpoint_in_the_future_dates_the_next(self) -> None:
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
