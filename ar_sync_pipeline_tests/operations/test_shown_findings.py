"""What the UI shows of the standing checks, in whatever order runs and sensors wrote.

The tests send the web server the query of the UI's asset page, because it hides evaluations by its
own rules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationPlanned,
)

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import applied_archives_key, archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import up_to_date_sensor
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_check import no_gap_sensor
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline_tests.fix_live_instance import RECEIVER, SENDER, WEBSERVER, LiveInstance

CHECKS = {
    "up_to_date": applied_archives_key(ALONE),
    "no_gap_in_windows": archive_key(ArchiveKind.PARTIAL, ALONE),
}
JOBS = {"up_to_date": "partial_loaddata", "no_gap_in_windows": "partial_dump"}
SHOWN = """
query ($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            name
            description
            executionForLatestMaterialization {
              status
              evaluation { success description timestamp }
            }
          }
        }
      }
    }
  }
}
"""


class Screen:
    """One check as the UI shows it, and the daemon that ticks its sensor."""

    def __init__(self, live: LiveInstance, name: str) -> None:
        self.live = live
        self.name = name
        self.key = CHECKS[name]
        self.cursor: str | None = None

    def tick(self) -> None:
        sensor = self._sensor()
        with dg.build_sensor_context(self.live.instance, cursor=self.cursor) as context:
            answer = sensor(context)
            self.cursor = context.cursor
        if isinstance(answer, dg.SensorResult):
            self.cursor = answer.cursor
            for event in answer.asset_events:
                self.live.instance.report_runless_asset_event(event)

    def shown(self) -> tuple[str, str]:
        """Return status and message; nothing if the UI shows "Not evaluated"."""
        execution = self.check()["executionForLatestMaterialization"]
        if execution is None or execution["evaluation"] is None:
            return (execution or {}).get("status", "NOT EVALUATED"), ""
        return execution["status"], execution["evaluation"]["description"]

    def check(self) -> dict[str, Any]:
        answer = self.live.graphql(SHOWN, assetKey={"path": self.key.path})
        checks = answer["assetNodeOrError"]["assetChecksOrError"]["checks"]
        (found,) = (check for check in checks if check["name"] == self.name)
        return dict(found)

    def planned(self) -> dg.DagsterRun:
        """Make a run that has planned the check and is running."""
        definitions = (
            self.live.deployment.receiver_definitions()
            if self.name == "up_to_date"
            else self.live.deployment.sender_definitions()
        )
        job = definitions.resolve_job_def(JOBS[self.name])
        run = self.live.instance.create_run_for_job(job)
        self.live.instance.report_dagster_event(
            dg.DagsterEvent(
                dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
                job.name,
                event_specific_data=AssetCheckEvaluationPlanned(
                    asset_key=self.key, check_name=self.name
                ),
            ),
            run.run_id,
        )
        return run

    def materialize(self) -> None:
        @dg.asset(key=self.key)
        def made() -> None: ...

        assert dg.materialize([made], instance=self.live.instance).success

    def _sensor(self) -> dg.SensorDefinition:
        deployment, now = self.live.deployment, datetime.now(UTC)
        if self.name == "up_to_date":
            receiver = load_receiver_settings(deployment.receiver_environment())
            return up_to_date_sensor(
                ReceiverSite(receiver, load_catalog(receiver.catalog), lambda: now)
            )
        sender = load_sender_settings(deployment.sender_environment())
        site = SenderSite(sender, load_catalog(sender.catalog), lambda: now)
        return no_gap_sensor(site, window_partitions(now, days_back=2, interval_minutes=1))


def ended(how: Callable[[dg.DagsterInstance, dg.DagsterRun], object]) -> Callable[[Screen], None]:
    def order(screen: Screen) -> None:
        run = screen.planned()
        screen.tick()
        assert screen.shown()[1], "a run at work hides nothing"
        how(screen.live.instance, run)

    return order


def run_between_two_ticks(screen: Screen) -> None:
    screen.tick()
    screen.materialize()


def tick_during_a_run(screen: Screen) -> None:
    run = screen.planned()
    screen.tick()
    screen.materialize()
    screen.live.instance.report_run_canceled(run)


def planned_and_skipped(screen: Screen) -> None:
    screen.tick()
    screen.live.instance.report_run_canceled(screen.planned())
    assert screen.shown()[0] in {"SKIPPED", "NOT EVALUATED"}


def planned_and_killed(screen: Screen) -> None:
    screen.tick()
    screen.live.instance.report_run_failed(screen.planned())
    assert screen.shown()[0] in {"EXECUTION_FAILED", "NOT EVALUATED"}


ORDERS = [
    run_between_two_ticks,
    tick_during_a_run,
    planned_and_skipped,
    planned_and_killed,
    ended(lambda instance, run: instance.report_run_canceled(run)),
    ended(lambda instance, run: instance.report_run_failed(run)),
    ended(lambda instance, run: instance.delete_run(run.run_id)),
]


@pytest.mark.long
@pytest.mark.timeout(600)  # on a machine that does much else
def test_every_order_of_events_shows_the_newest_finding_after_one_tick(live: LiveInstance) -> None:
    """One deployment for all cases, because its start takes longer than the cases."""
    assert live.instance
    for job in ("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata"):
        live.deployment.succeed(job)
    live.start(SENDER, RECEIVER, WEBSERVER)
    for name in CHECKS:
        screen = Screen(live, name)
        status, said = screen.shown()
        assert (status, bool(said)) == ("SUCCEEDED", True), "as the run has left it"
        assert "docs/runbook/" in screen.check()["description"]
        for order in ORDERS:
            order(screen)
            screen.tick()
            status, said = screen.shown()
            assert status in {"SUCCEEDED", "FAILED"}, (name, order)
            assert said, (name, order)
        if name == "up_to_date":
            assert said.startswith("Data until 20")
            assert "min behind, because that was the last window, all is well." in said
