"""Days of operation on a virtual clock: traffic, windows, completes at 03:30 local, and mishaps.

The days hold the end of daylight saving in America/Santiago, a cut of the network for hours, a
lost archive and a complete that lands hours late. ``make soak`` runs three days of five-minute
windows; the ordinary run one day of ten-minute windows with the same mishaps.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import read_ledger
from ar_sync_pipeline.spool.position import read_position
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.load import LoadReport
from ar_sync_pipeline.sync.receiver_view import ReceiverView
from ar_sync_pipeline.sync.sent_archives import read_sent, remember_sent
from ar_sync_pipeline.sync.watermark import newest_joined
from ar_sync_pipeline_tests.fix_sites import CHILDREN, PARENTS, TwoSites, equal, rows

SANTIAGO = ZoneInfo("America/Santiago")
DAYS = int(os.environ.get("AR_SYNC_DAYS", "1"))
INTERVAL = timedelta(minutes=5 if DAYS > 1 else 10)
# Clocks go back at the end of 4 April 2026, local time: 5 April, 03:00 UTC.
START = datetime(2026, 4, 5, tzinfo=UTC) - timedelta(days=DAYS - 1)
END = START + timedelta(days=DAYS)
LOST = START + timedelta(hours=5)
CUT = (START + timedelta(hours=14), START + timedelta(hours=21))
# The last complete of the days comes four hours late, past the end of daylight saving.
LATE_BY = timedelta(hours=4)


def local_completes() -> list[datetime]:
    """03:30 on the city's clock, every day."""
    days = {(START + timedelta(hours=h)).astimezone(SANTIAGO).date() for h in range(24 * DAYS)}
    instants = (
        datetime(d.year, d.month, d.day, 3, 30, tzinfo=SANTIAGO).astimezone(UTC) for d in days
    )
    return sorted(instant for instant in instants if START < instant < END)


@dataclass
class Days:
    """Both servers, the clock, and what is under way between them."""

    sites: TwoSites
    now: datetime = START
    random: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311  traffic, not secrets
    missing_from: datetime = START
    late: list[tuple[datetime, Path]] = field(default_factory=list)
    open_transactions: list[tuple[datetime, psycopg.Connection[tuple[object, ...]]]] = field(
        default_factory=list
    )
    newest_seen: datetime | None = None
    drift: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sites.clock = lambda: self.now
        long_ago = START - timedelta(days=2)
        self.sites.at_sender(f"UPDATE app_child SET changed = timestamptz '{long_ago}'")

    def run(self) -> None:
        completes = local_completes()
        self.complete(late=False)
        while self.now < END:
            self.now += INTERVAL
            self.produce()
            if completes and completes[0] <= self.now:
                del completes[0]
                self.complete(late=not completes)
            if not CUT[0] <= self.now < CUT[1]:
                self.partial()
            self.deliver_late_ones()
            self.load()
        for _, connection in self.open_transactions:
            connection.rollback()
            connection.close()

    def produce(self) -> None:
        """Rows stamped now: some commit at once, some when later windows have been sent."""
        stamp = f"timestamptz '{self.now - timedelta(seconds=self.random.randrange(200))}'"
        parent, child = self.random.randint(1, 50), self.random.randint(1, 2000)
        statements = [
            f"INSERT INTO app_child (parent_id, changed) VALUES ({parent}, {stamp})",
            f"UPDATE app_child SET amount = random(), changed = {stamp} WHERE id = {child}",
            f"UPDATE app_parent SET label = md5(random()::text) WHERE id = {parent}",
            f"DELETE FROM app_child WHERE id = {child} AND changed < {stamp} - interval '1 day'",
        ]
        if self.random.random() < 0.1:
            connection = psycopg.connect(self.sites.sender)
            connection.execute(statements[0].encode())
            self.open_transactions.append((self.now + timedelta(minutes=35), connection))
        else:
            self.sites.at_sender(*self.random.sample(statements, 3))
        while self.open_transactions and self.open_transactions[0][0] <= self.now:
            _, connection = self.open_transactions.pop(0)
            connection.commit()
            connection.close()

    def complete(self, *, late: bool) -> None:
        path = self.sites.complete(self._acknowledged())
        self._remember(path)
        if late:
            aside = path.rename(path.with_name(path.name + ".on-its-way"))
            self.late.append((self.now + LATE_BY, aside))

    def partial(self) -> None:
        """One archive over all windows that are missing, as the schedule asks for it."""
        window = Window(start=self.missing_from, end=self.now)
        path = self.sites.partial(window, since=self._since())
        self._remember(path)
        self.missing_from = self.now
        if self.now == LOST:
            path.unlink()

    def deliver_late_ones(self) -> None:
        while self.late and self.late[0][0] <= self.now:
            _, path = self.late.pop(0)
            path.rename(path.with_name(path.name.removesuffix(".on-its-way")))

    def load(self) -> None:
        report = self.sites.load()
        assert report.refused == ()
        self.drift += _drift(report)
        (newest,) = rows(self.sites.receiver, "SELECT max(changed) FROM app_child")[0]
        assert isinstance(newest, datetime)
        assert self.newest_seen is None or newest >= self.newest_seen, "readers went back in time"
        self.newest_seen = newest

    def _acknowledged(self) -> Watermark | None:
        position = read_position(self.sites.spool)
        return position.watermark if position else None

    def _since(self) -> Watermark | None:
        waiting = frozenset(archive.name.applied for archive in list_waiting(self.sites.spool))
        view = ReceiverView(read_position(self.sites.spool), waiting)
        return newest_joined(view, read_sent(self.sites.folder / "scratch"))

    def _remember(self, path: Path) -> None:
        manifest = verify_archive(path)
        remember_sent(self.sites.folder / "scratch", manifest, path.stat().st_size, self.now)


def _drift(report: LoadReport) -> Iterator[int]:
    for archive in report.loaded:
        yield from (plan.drift for plan in archive.tables if plan.drift is not None)


def test_nothing_is_lost_and_no_gap_is_left_after_days_of_mishaps(filled: TwoSites) -> None:
    days = Days(filled)
    days.run()
    with connect(filled.receiver, application="test") as connection:
        ledger = read_ledger(connection)
    windows = sorted(
        (line.window_start, line.window_end)
        for line in ledger
        if line.window_start is not None and line.window_end is not None
    )
    lost = (LOST - INTERVAL, LOST)
    covered = sorted([*windows, lost])
    assert covered[0][0] == START
    assert covered[-1][1] == END
    assert all(a[1] == b[0] for a, b in zip(covered, covered[1:], strict=False)), (
        "a window is missing"
    )
    assert len({(end - start) for start, end in windows}) == 2, "the cut is one range, not many"
    assert sum(days.drift) == 0, "partials missed something"
    missing = f"SELECT * FROM ({CHILDREN.removesuffix(' ORDER BY id')}) c ORDER BY id"
    here, there = set(rows(filled.sender, missing)), set(rows(filled.receiver, missing))
    assert here <= there, "a row was lost"
    assert equal(filled, PARENTS)
    days.now += INTERVAL
    days.complete(late=False)
    report = filled.load()
    assert report.chain is not None
    assert report.chain.holes == ()
    assert sum(_drift(report)) == 0
    assert equal(filled)
