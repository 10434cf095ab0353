"""Two servers whose clocks are wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_sites import TwoSites

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id < 10"
OTHER_CHANGE = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id = 20"
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

    def gaps(self) -> int:
        checkpoint = Checkpoint.read(self.sites.spool, signing_keys=())
        assert checkpoint is not None
        return checkpoint.gaps

    def watermark(self) -> Watermark:
        checkpoint = Checkpoint.read(self.sites.spool, signing_keys=())
        assert checkpoint is not None
        assert checkpoint.watermark is not None
        return checkpoint.watermark


@pytest.fixture
def clocks(filled: TwoSites) -> WrongClocks:
    return WrongClocks(filled)
