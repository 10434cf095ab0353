"""A deployment whose alerts go to a real mailbox, and its alert sensors, ticked by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
import pytest
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.events import EngineEventData
from dagster._core.execution.plan.objects import StepSuccessData
from dagster._core.instance import DagsterInstance
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns, RunOutcome
from ar_sync_pipeline_tests.faulty_sftp import Faults
from ar_sync_pipeline_tests.fix_alerts import Mailbox, smtp_server
from ar_sync_pipeline_tests.fix_dagster import SMALL_CATALOG, Deployment

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(
        GrpcServerCodeLocationOrigin(host="db1", port=4000, location_name="sender"),
        "__repository__",
    ),
    "partial_dump",
)
"""What a run has that the daemon or the UI launched."""
SENDER_JOBS = {"complete_dump", "partial_dump", "ssh_sftp_checker"}


@dataclass
class Watched:
    """Both sides under one Dagster instance, and a mailbox for their alerts."""

    deployment: Deployment
    mailbox: Mailbox
    cursors: dict[str, str | None] = field(default_factory=dict)
    kept_open: DagsterInstance | None = None

    _made: dict[str, tuple[dict[str, str], dg.Definitions]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mail = {"AR_SYNC_EMAIL_HOST": "127.0.0.1", "AR_SYNC_EMAIL_PORT": str(self.mailbox.port)}
        self.deployment.sender_changes |= mail
        self.deployment.receiver_changes |= mail

    def forget(self) -> None:
        """Nothing has happened yet."""
        self.cursors.clear()
        self.mailbox.raw.clear()
        shutil.rmtree(self.deployment.folder / "state", ignore_errors=True)
        with self.instance() as instance:
            instance.wipe()
            instance.wipe_all_schedules()

    def definitions(self, side: str) -> dg.Definitions:
        """Rebuilt only if a test has changed the settings since."""
        both = {
            "sender": (self.deployment.sender_changes, self.deployment.sender_definitions),
            "receiver": (self.deployment.receiver_changes, self.deployment.receiver_definitions),
        }
        changes, make = both[side]
        if self._made.get(side, (None,))[0] != changes:
            self._made[side] = (dict(changes), make())
        return self._made[side][1]

    def run(self, job: str) -> RunOutcome:
        side = "sender" if job in SENDER_JOBS else "receiver"
        with LocalRuns(self.deployment.home) as runs:
            return runs.run(self.definitions(side), job, windowed=job == "partial_dump")

    def tick(self, side: str) -> str:
        """Let the side's sensor look; returns what it says."""
        sensor = self.definitions(side).resolve_sensor_def(f"{side}_alerts")
        with (
            self.instance() as instance,
            dg.build_sensor_context(instance=instance, cursor=self.cursors.get(side)) as context,
        ):
            result = sensor(context)
            self.cursors[side] = context.cursor
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)

    def end_run(
        self,
        message: str | None,
        *,
        events: Sequence[tuple[dg.DagsterEventType, str]] = (),
        retry_of: str | None = None,
        tags: Mapping[str, str] | None = None,
        engine_error: SerializableErrorInfo | None = None,
        by_hand: frozenset[dg.AssetKey] | None = None,
        launched: bool = True,
    ) -> str:
        """A run of job ``partial_dump`` with these events of its steps, as Dagster writes them.

        Args:
            message: of the failure that ended it; None: it ended well.
            engine_error: for which its process could not load.
            by_hand: Assets that a user selected, instead of the job.
            launched: Whether a launcher started it, not a command line.
        """
        group = (
            {"dagster/parent_run_id": retry_of, "dagster/root_run_id": retry_of} if retry_of else {}
        )
        with self.instance() as instance:
            run = create_run_for_test(
                instance,
                job_name="partial_dump" if by_hand is None else IMPLICIT_ASSET_JOB_NAME,
                asset_selection=by_hand,
                tags={**(tags or {}), **group},
                parent_run_id=retry_of,
                root_run_id=retry_of,
                remote_job_origin=ORIGIN if launched else None,
            )
            if engine_error is not None:
                instance.report_engine_event(
                    "Could not load job definition.",
                    run,
                    EngineEventData.engine_error(engine_error),
                )
            for kind, step in events:
                instance.report_dagster_event(
                    dg.DagsterEvent(
                        kind.value,
                        job_name=run.job_name,
                        step_key=step,
                        event_specific_data=(
                            StepSuccessData(duration_ms=1.0)  # type: ignore[no-untyped-call]
                            if kind is dg.DagsterEventType.STEP_SUCCESS
                            else None
                        ),
                    ),
                    run.run_id,
                )
            if message is None:
                instance.report_dagster_event(
                    dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name),
                    run.run_id,
                )
            else:
                instance.report_run_failed(run, message)
            return str(run.run_id)

    def tick_both(self) -> None:
        self.tick("sender")
        self.tick("receiver")

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        if self.kept_open is not None:
            yield self.kept_open
            return
        with DagsterInstance.from_config(str(self.deployment.home)) as instance:
            yield instance

    @property
    def subjects(self) -> list[str]:
        return self.mailbox.subjects

    def text(self, number: int) -> str:
        body = self.mailbox.mails[number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())


@pytest.fixture(scope="package")
def one_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    for name in ("sender_media", "receiver_media", "scratch", "home", "receiver/spool"):
        (folder / name).mkdir(parents=True)
    (folder / "catalog.toml").write_text(SMALL_CATALOG)
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    with (
        LoopbackSftpServer(folder / "receiver", folder / "keys") as sftp,
        smtp_server(Mailbox()) as mailbox,
        DagsterInstance.from_config(str(folder / "home")) as instance,
    ):
        deployment = Deployment(folder, nowhere, nowhere, sftp, Faults())
        yield Watched(deployment, mailbox, kept_open=instance)


@pytest.fixture
def bare(one_instance: Watched) -> Watched:
    """Both sides without databases: for what events alone show."""
    one_instance.forget()
    return one_instance
