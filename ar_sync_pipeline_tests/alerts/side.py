"""A side's store of incidents, whose messages a test receives."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.alerts.delivery import Channel, Delivery, deliver
from ar_sync_pipeline.alerts.outbox import Outbox
from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline_tests.alerts.problems import NOON, Recorder


class Side:
    """A side's store with a recorder as channel, at a time that the test sets."""

    def __init__(self, folder: Path, *channels: Recorder) -> None:
        self.path = folder / "state" / "sender" / "incidents.sqlite"
        self.channels = channels or (Recorder(),)
        self.store = IncidentStore(self.path, [channel.name for channel in self.channels])
        self.outbox = Outbox(self.path)
        self.now = NOON

    def send(self, *channels: Channel) -> Delivery:
        return deliver(self.outbox, channels or self.channels, lambda: self.now, seconds=10)

    @property
    def kinds(self) -> list[str]:
        return self.channels[0].kinds
