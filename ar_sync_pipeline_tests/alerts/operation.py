"""A deployment in operation, on a clock that a test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key, endpoint_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT, window_partitions
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_sensor
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import no_gap_sensor
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline_tests.alerts.watched import Watched
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment

UP_TO_DATE = dg.AssetCheckKey(applied_archives_key(ALONE), "up_to_date")


LOADED = dg.AssetCheckKey(applied_archives_key(ALONE), "archives_loaded")


NO_GAPS = dg.AssetCheckKey(applied_archives_key(ALONE), "no_holes")


NO_GAP = dg.AssetCheckKey(archive_key(ArchiveKind.PARTIAL, ALONE), "no_gap_in_windows")


ENDPOINT = dg.AssetCheckKey(endpoint_key(ALONE), "archives_can_be_published")


MINUTES = timedelta(minutes=1)


class Operation:
    """A deployment in operation, on a clock that a test sets; the daemon ticks its sensors."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.now = datetime.now(UTC)
        self.cursors: dict[str, str | None] = {}

    @property
    def subjects(self) -> list[str]:
        return self.watched.subjects

    def run(self, *jobs: str) -> None:
        for job in jobs:
            outcome = self.watched.run(job)
            assert outcome.succeeded, (job, outcome.failures)

    def tick(self, after: timedelta = timedelta(0)) -> None:
        """All sensors of both sides, some time later."""
        self.now += after
        with time_machine.travel(self.now, tick=False):
            self.tick_of(up_to_date_sensor(self.receiver()), "up_to_date")
            self.tick_of(no_gap_sensor(self.sender(), self.windows()), "no_gap")
            self.watched.tick_both()

    def watch(self, span: timedelta, *, every: timedelta = 5 * MINUTES) -> None:
        """Tick without interruption."""
        for _ in range(span // every):
            self.tick(every)

    def found(self, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        with self.watched.instance() as instance:
            record = instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation), record.status
        return record.evaluation

    def dumped(self, ago: timedelta) -> None:
        """The window that was over some time ago has its archive."""
        end = self.now - ago
        end -= timedelta(minutes=end.minute % 5, seconds=end.second, microseconds=end.microsecond)
        key = (end - 5 * MINUTES).strftime(KEY_FORMAT)
        with time_machine.travel(self.now - ago, tick=False), self.watched.instance() as instance:
            instance.report_runless_asset_event(
                dg.AssetMaterialization(NO_GAP.asset_key, partition=key)
            )

    def receiver(self) -> ReceiverSite:
        settings = load_receiver_settings(self.watched.deployment.receiver_environment())
        return ReceiverSite(settings, load_catalog(settings.catalog), lambda: self.now)

    def sender(self) -> SenderSite:
        settings = load_sender_settings(self.watched.deployment.sender_environment())
        return SenderSite(settings, load_catalog(settings.catalog), lambda: self.now)

    def windows(self) -> dg.TimeWindowPartitionsDefinition:
        return window_partitions(self.now, days_back=14, interval_minutes=5)

    def tick_of(self, sensor: dg.SensorDefinition, name: str) -> None:
        with (
            self.watched.instance() as instance,
            dg.build_sensor_context(instance, cursor=self.cursors.get(name)) as context,
        ):
            answer = sensor(context)
            if isinstance(answer, dg.SkipReason):
                self.cursors[name] = context.cursor
                return
            assert isinstance(answer, dg.SensorResult)
            for event in answer.asset_events:
                instance.report_runless_asset_event(event)
            self.cursors[name] = answer.cursor


@pytest.fixture
def operation(
    deployment: Deployment, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> Operation:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    return Operation(Watched(deployment, mailbox))
