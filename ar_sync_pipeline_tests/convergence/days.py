"""Days of a running sync on a virtual clock: real schedules, dumps and loads, fake traffic.

The sender's schedule decides at every tick which windows to dump; the network may be cut, archives
may vanish from the spool or arrive hours late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import dagster as dg
import time_machine
from dagster._utils.schedules import cron_string_iterator

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.postgres.ledger import read_ledger
from ar_sync_pipeline.sender.jobs import partial_dump
from ar_sync_pipeline.sender.schedules import partial_schedule
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.sender_side import Dumped, SenderSide
from ar_sync_pipeline_tests.convergence.traffic import Write

TIMEZONE = "America/Santiago"
COMPLETE_CRON = "30 3 * * *"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """What is to happen, all in UTC.

    Attributes:
        cut: the network is down in this interval.
        lost_at: the partial of the window that ends then vanishes from the spool.
        late: completes of this interval arrive four hours after their snapshot.
    """

    start: datetime
    end: datetime
    interval: timedelta
    cut: tuple[datetime, datetime]
    lost_at: datetime
    late: tuple[datetime, datetime]

    def ticks(self) -> Iterator[datetime]:
        """The end of every window."""
        tick = self.start + self.interval
        while tick <= self.end:
            yield tick
            tick += self.interval

    def completes(self) -> set[datetime]:
        """When completes are due: every night at the same local time."""
        times = cron_string_iterator(self.start.timestamp(), COMPLETE_CRON, TIMEZONE)
        due = set[datetime]()
        for time in times:
            if time >= self.end:
                return due
            due.add(time.astimezone(UTC))
        return due


class RealSchedule:
    """The sender's own schedule of partials, and an instance that remembers what was dumped."""

    def __init__(self, start: datetime, interval: timedelta, home: Path) -> None:
        self._instance = dg.DagsterInstance.from_config(str(home))
        minutes = int(interval.total_seconds() // 60)
        windows = window_partitions(start, days_back=1, interval_minutes=minutes)
        self._schedule = partial_schedule(partial_dump(ALONE), windows, lambda: self._now, ALONE)
        self._interval = interval
        self._now = start

    def asks_for(self, tick: datetime) -> Window | None:
        """The range of windows that the schedule wants dumped at a tick."""
        self._now = tick
        with dg.build_schedule_context(
            instance=self._instance, scheduled_execution_time=tick
        ) as context:
            request = self._schedule(context)
        if not isinstance(request, dg.RunRequest):
            return None
        first = request.tags["dagster/asset_partition_range_start"]
        last = request.tags["dagster/asset_partition_range_end"]
        return Window(start=_instant(first), end=_instant(last) + self._interval)

    def note_success(self, window: Window) -> None:
        """What a run that succeeds leaves in the instance, for every window of its range."""
        start = window.start
        with time_machine.travel(self._now, tick=False):
            while start < window.end:
                self._instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        archive_key(ArchiveKind.PARTIAL, ALONE),
                        partition=start.strftime(KEY_FORMAT),
                    )
                )
                start += self._interval

    def close(self) -> None:
        self._instance.dispose()


def _instant(key: str) -> datetime:
    return datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)


@dataclass
class Days:
    """One run through a plan.

    Attributes:
        answered: ranges of windows whose partials reached the spool.
        under_way: archives by the tick at which they arrive.
        loads: what each load did, by its tick.
        newest_seen: the newest time stamp that readers have seen.
    """

    plan: Plan
    schedule: RealSchedule
    sender: SenderSide
    receiver: ReceiverSide
    answered: list[Window] = field(default_factory=list)
    under_way: dict[datetime, list[Dumped]] = field(default_factory=dict)
    loads: dict[datetime, LoadReport] = field(default_factory=dict)
    newest_seen: datetime = _LONG_AGO
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311  fake traffic
    _known_checkpoint: Checkpoint | None = None
    _rows: int = 60

    def live(self) -> None:
        """Everything that the plan says, tick by tick."""
        due = self.plan.completes()
        for tick in self.plan.ticks():
            self._pass_time_until(tick - self.plan.interval / 2)
            self._application_works()
            self._pass_time_until(tick)
            if tick in due:
                self._dump_complete(tick)
            self._dump_windows(tick)
            self._archives_arrive(tick)
            if list_waiting(self.receiver.spool):
                self._load(tick)

    def begin(self) -> None:
        """A sender with rows of the day before, and a receiver that holds them."""
        stamp = f"'{(self.plan.start - timedelta(days=1)).isoformat()}'"
        self.sender.run(
            "INSERT INTO app_parent SELECT n, 0, 'p' || n, 'l', NULL FROM generate_series(1, 60) n",
            f"INSERT INTO app_child SELECT n, 0, n, {stamp}, 1 FROM generate_series(1, 60) n",
        )
        self.receiver.deliver(self.sender.complete(None))
        self._load(self.plan.start)

    def end_with_a_complete(self) -> LoadReport:
        """The night after the last day."""
        while self.sender.open_transactions:
            self.sender.end(0, commit=True)
        self.receiver.deliver(self.sender.complete(self.receiver.checkpoint()))
        return self._load(self.plan.end + self.plan.interval)

    def drift(self) -> dict[datetime, int | None]:
        """Rows that completes changed and partials should have brought, by tick of the load."""
        found = {}
        for tick, report in self.loads.items():
            for archive in report.loaded:
                if archive.manifest.kind is ArchiveKind.COMPLETE:
                    counts = [plan.drift for plan in archive.tables]
                    told = [count for count in counts if count is not None]
                    found[tick] = sum(told) if told else None
        return found

    def _pass_time_until(self, instant: datetime) -> None:
        clock = self.sender.clock
        clock.now = max(clock.now, instant)

    def _application_works(self) -> None:
        """Buses report; now and then somebody corrects something without a new time stamp."""
        self._rows += 1
        new, old = self._rows, self._random.randrange(1, 60)
        writes = [
            Write(f"INSERT INTO app_parent VALUES ({new}, 0, 'p{new}', 'l', {old})"),
            Write(f"INSERT INTO app_child VALUES ({new}, 0, {new}, {{now}}, 1)"),
            Write(f"UPDATE app_child SET amount = amount + 1 WHERE id = {old}"),
            Write(f"UPDATE app_parent SET label = label || 'x' WHERE id = {old}"),
        ]
        chance = self._random.random()
        if chance < 0.1 and not self.sender.open_transactions:
            self.sender.begin(writes)
            return
        self.sender.write(writes)
        if chance < 0.2 and self.sender.open_transactions:
            self.sender.end(0, commit=True)
        elif chance < 0.3:
            self.sender.write([Write(f"DELETE FROM app_child WHERE id = {old}")])
        elif chance < 0.4:
            self.receiver.rate_everything(new)

    def _dump_complete(self, tick: datetime) -> None:
        view = self.receiver.seen_from_sender()
        self.sender.hear(self.receiver.spool)
        dumped = self.sender.complete(view.checkpoint, view=view)
        late = self.plan.late[0] <= tick < self.plan.late[1]
        arrives_at = tick + timedelta(hours=4 if late else 0)
        self.under_way.setdefault(arrives_at, []).append(dumped)

    def _dump_windows(self, tick: datetime) -> None:
        """One run over the range that the schedule asks for; with the network down it fails."""
        window = self.schedule.asks_for(tick)
        if window is None:
            return
        if self.plan.cut[0] <= tick < self.plan.cut[1]:
            view = ReceiverView(self._known_checkpoint, None)
            self.sender.partial(view, window=window, published=False)
            return
        view = self.receiver.seen_from_sender()
        self._known_checkpoint = view.checkpoint
        dumped = self.sender.partial(view, window=window)
        self.under_way.setdefault(tick, []).append(dumped)
        self.schedule.note_success(window)
        self.answered.append(window)

    def _archives_arrive(self, tick: datetime) -> None:
        for dumped in self.under_way.pop(tick, []):
            if dumped.shipment.complete or tick != self.plan.lost_at:
                self.receiver.deliver(dumped)
        self.sender.forget_states(keep=150)

    def _load(self, tick: datetime) -> LoadReport:
        report = self.loads[tick] = self.receiver.load()
        assert report.refused == ()
        invariants.nothing_newer_is_missing(
            self.receiver, self.sender, read_ledger(self.receiver.connection)
        )
        invariants.own_data_is_kept(self.receiver, self.sender)
        ((newest,),) = self.receiver.run("SELECT max(changed) FROM app_child")
        assert isinstance(newest, datetime)
        assert newest >= self.newest_seen, f"readers went back at {tick}"
        self.newest_seen = newest
        return report
