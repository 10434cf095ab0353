"""The AndroidRequests servers with a transform after the loads, without SFTP between them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.asset_keys import postprocessed_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.receiver.postprocess_asset import postprocess_asset
from ar_sync_pipeline.receiver.postprocess_builtin import BuiltinPostprocessor
from ar_sync_pipeline.receiver.postprocess_command import CommandPostprocessor
from ar_sync_pipeline.receiver.postprocessor import Postprocessor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.transform.specification import CommandTransform, parse_transform
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows

MARKED = ("busstop", "busv2", "eventforbusstop", "eventforbusv2", "report")
COMMAND = f"""
import sys, psycopg
with psycopg.connect(sys.argv[1]) as connection:
    for table in {MARKED}:
        connection.execute(
            f'UPDATE "AndroidRequests_{{table}}" SET transformed = true'
            ' WHERE transformed IS NOT TRUE')
print("told of", sys.argv[2])
"""
SLOW_COMMAND = """
import pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
time.sleep(60)
"""
_SENDER_ROWS = (
    """INSERT INTO "AndroidRequests_busv2" (id, "registrationPlate", uuid)
    SELECT n, 'bcdf' || 10 + n, gen_random_uuid() FROM generate_series(1, 5) n""",
    """INSERT INTO "AndroidRequests_report" (id, "timeStamp", message, "reportInfo", "phoneId")
    SELECT n, now(), '', '{"bus": {"latitude": -33.4, "longitude": -70.6}}', gen_random_uuid()
    FROM generate_series(1, 5) n""",
)


@dataclass
class PostprocessedSites:
    """Two servers, and the transform that follows a load."""

    two: TwoSites
    clock: Clock = lambda: datetime.now(UTC)

    def site(self, transform: str = "builtin:transapp") -> ReceiverSite:
        self.two.environ["AR_SYNC_TRANSFORM"] = transform
        return ReceiverSite(self.two.settings, self.two.catalog, self.clock)

    def builtin(self, timeout_seconds: float = 60) -> Materialized:
        site = self.site()
        return materialize(site, BuiltinPostprocessor(site, timeout_seconds))

    def command(self, script: str, timeout_seconds: float = 60) -> Materialized:
        path = self.two.folder / "transform.py"
        path.write_text(script)
        site = self.site(f"command:{sys.executable} {path} {self.two.receiver} {{archive}}")
        transform = parse_transform(site.settings.transform)
        assert isinstance(transform, CommandTransform)
        return materialize(site, CommandPostprocessor(site, transform, timeout_seconds))

    def run_job(self, job: str, **environ: str) -> Materialized:
        """Run a whole load job as Dagster does, including the transform."""
        self.two.environ.update({"AR_SYNC_TRANSFORM": "builtin:transapp", **environ})
        definitions = receiver_definitions(self.two.settings)
        with dg.DagsterInstance.ephemeral() as instance:
            return Materialized(
                definitions.resolve_job_def(job).execute_in_process(
                    instance=instance, raise_on_error=False
                )
            )

    def materialize_alone(self) -> Materialized:
        """Materialize the asset without its upstream, as a user does in the UI."""
        definitions = receiver_definitions(self.two.settings)
        with dg.DagsterInstance.ephemeral() as instance:
            job = definitions.resolve_implicit_global_asset_job_def()
            return Materialized(
                job.execute_in_process(
                    instance=instance,
                    raise_on_error=False,
                    asset_selection=[postprocessed_key(ALONE)],
                )
            )

    def load_some_rows(self) -> None:
        execute(self.two.sender, *_SENDER_ROWS)
        self.two.complete()
        self.two.load()

    def waiting(self) -> int:
        counts = " + ".join(
            f'(SELECT count(*) FROM "AndroidRequests_{table}" WHERE transformed IS NOT TRUE)'
            for table in MARKED
        )
        ((count,),) = rows(self.two.receiver, f"SELECT {counts}")
        return int(str(count))

    def shared_rows(self) -> list[tuple[object, ...]]:
        """Return the sender's rows and the ledger, which no transform may change."""
        return rows(
            self.two.receiver,
            """SELECT report::text, archives.archive_id FROM (
              SELECT id, "timeStamp", message, "reportInfo", "phoneId"
              FROM "AndroidRequests_report") report, ar_sync.applied_archive archives ORDER BY 1""",
        )


@dataclass(frozen=True)
class Materialized:
    """Result of a run."""

    result: dg.ExecuteInProcessResult

    @property
    def succeeded(self) -> bool:
        return self.result.success

    @property
    def failure(self) -> str:
        (event,) = (e for e in self.result.all_events if e.is_step_failure)
        failure = event.step_failure_data.user_failure_data
        assert failure is not None, event.step_failure_data.error
        return str(failure.description)

    @property
    def metadata(self) -> dict[str, Any]:
        found = self.result.asset_materializations_for_node("receiver__postprocessed_rows")
        return {name: value.value for name, value in found[-1].metadata.items()}

    def check(self, name: str) -> dg.AssetCheckEvaluation:
        return next(e for e in self.result.get_asset_check_evaluations() if e.check_name == name)


def materialize(site: ReceiverSite, postprocessor: Postprocessor) -> Materialized:
    """Materialize the asset with this postprocessor."""
    with dg.DagsterInstance.ephemeral() as instance:
        return Materialized(
            dg.materialize(
                [postprocess_asset(site, postprocessor)], instance=instance, raise_on_error=False
            )
        )
