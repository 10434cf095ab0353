"""A deployment whose alerts go to a real mailbox, and its alert sensors, ticked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
from dagster._core.instance import DagsterInstance

from ar_sync_pipeline.operations.local_runs import LocalRuns, RunOutcome
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment

SENDER_JOBS = {"complete_dump", "partial_dump", "ssh_sftp_checker"}


@dataclass
class Watched:
    """Both sides under one Dagster instance, and who is told of their troubles."""

    deployment: Deployment
    mailbox: Mailbox
    cursors: dict[str, str | None] = field(default_factory=dict)

    _made: dict[str, tuple[dict[str, str], dg.Definitions]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mail = {"AR_SYNC_EMAIL_HOST": "127.0.0.1", "AR_SYNC_EMAIL_PORT": str(self.mailbox.port)}
        self.deployment.sender_changes |= mail
        self.deployment.receiver_changes |= mail

    def definitions(self, side: str) -> dg.Definitions:
        """Made anew only where a test has changed the settings since."""
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

    def tick_both(self) -> None:
        self.tick("sender")
        self.tick("receiver")

    @contextmanager
    def instance(self) -> Iterator[DagsterInstance]:
        with DagsterInstance.from_config(str(self.deployment.home)) as instance:
            yield instance

    @property
    def subjects(self) -> list[str]:
        return self.mailbox.subjects

    def text(self, number: int) -> str:
        body = self.mailbox.mails[number].get_body(("plain",))
        assert body is not None
        return str(body.get_content())
