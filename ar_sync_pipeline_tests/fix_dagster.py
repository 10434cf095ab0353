"""Both code locations with real servers: databases, SFTP, media folders, Dagster instance."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.loader import LoadingContextForTest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)

from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.runs.local_runs import LocalRuns, RunOutcome
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.sender.definitions import sender_definitions
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline_tests.faulty_sftp import Faults, FaultySftp
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import SMALL_RECEIVER, SMALL_SENDER, execute

SMALL_CATALOG = """
name = "small"
tables = ["app_*"]
receiver_tables = ["app_note"]

[table.app_parent]
receiver_columns = ["seen", "transformed"]
reset_on_change = { transformed = false }

[table.app_child]
changed_at = "changed"
media_columns = ["picture"]
"""


@dataclass
class Deployment:
    """Sender and receiver of a small application, and the Dagster instance that runs both."""

    folder: Path
    sender_url: str
    receiver_url: str
    sftp: LoopbackSftpServer
    faults: Faults
    sender_changes: dict[str, str] = field(default_factory=dict)
    receiver_changes: dict[str, str] = field(default_factory=dict)
    pair: str = ""
    control_plane: Path | None = None
    open_until_the_end: ExitStack = field(default_factory=ExitStack)
    _runs: dict[Path, LocalRuns] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        return self.folder / "receiver" / "spool"

    @property
    def home(self) -> Path:
        return self.control_plane or self.folder / "home"

    @property
    def names(self) -> PairNames:
        return PairNames(self.pair)

    def sender_environment(self) -> dict[str, str]:
        return self._shared() | {
            "AR_SYNC_SENDER_DATABASE_URL": self.sender_url,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(self.folder / "sender_media"),
            "AR_SYNC_TMP_BKP_FLDR": str(self.folder / "scratch"),
            "AR_SYNC_REMOTE_HOST": self.sftp.host,
            "AR_SYNC_REMOTE_PORT": str(self.sftp.port),
            "AR_SYNC_REMOTE_USER": self.sftp.user,
            "AR_SYNC_PRIVATE_KEY": str(self.sftp.private_key),
            "AR_SYNC_KNOWN_HOSTS": str(self.sftp.known_hosts),
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            **self.sender_changes,
        }

    def receiver_environment(self) -> dict[str, str]:
        return self._shared() | {
            "AR_SYNC_RECEIVER_DATABASE_URL": self.receiver_url,
            "AR_SYNC_RECEIVER_MEDIA_FLDR": str(self.folder / "receiver_media"),
            "AR_SYNC_REMOTE_BKP_FLDR": str(self.spool),
            "AR_SYNC_TRANSFORM": "none",
            **self.receiver_changes,
        }

    def change_both(self, changes: Mapping[str, str]) -> None:
        """Change settings of both sides."""
        self.sender_changes |= changes
        self.receiver_changes |= changes

    def sender_definitions(self) -> dg.Definitions:
        return sender_definitions(load_sender_settings(self.sender_environment()))

    def receiver_definitions(self) -> dg.Definitions:
        return receiver_definitions(load_receiver_settings(self.receiver_environment()))

    def partial_assets(self) -> list[dg.AssetKey]:
        """Return all assets of the grid of windows, which can only be materialized together."""
        graph = self.sender_definitions().resolve_asset_graph()
        return [key for key in graph.materializable_asset_keys if key.path[0] == "partial"]

    def run(self, job: str) -> RunOutcome:
        """Run a job of either side, by its plain name, in this process; the instance records it."""
        definitions = (
            self.sender_definitions() if job.endswith("_dump") else self.receiver_definitions()
        )
        if self.home not in self._runs:
            # Opening an instance takes longer than many a run in it.
            self._runs[self.home] = self.open_until_the_end.enter_context(LocalRuns(self.home))
        runs = self._runs[self.home]
        return runs.run(definitions, self.names.name(job), windowed=job == "partial_dump")

    def succeed(self, job: str) -> RunOutcome:
        """Run a job that must not fail."""
        outcome = self.run(job)
        assert outcome.succeeded, outcome.failures
        return outcome

    def _shared(self) -> dict[str, str]:
        return {
            "AR_SYNC_PAIR": self.pair,
            "AR_SYNC_CATALOG": str(self.folder / "catalog.toml"),
            "AR_SYNC_ADMINS": "operator@example.org",
            "AR_SYNC_EMAIL_PORT": "1",  # no server: a test that sends mail sets its own
            "AR_SYNC_STATE_FLDR": str(self.folder / "state"),
        }


@pytest.fixture
def deployment(database_factory: DatabaseFactory, tmp_path: Path) -> Iterator[Deployment]:
    """Two small servers; the sender has some rows and a picture."""
    with small_deployment(database_factory, tmp_path) as made:
        yield made


@pytest.fixture
def three_pairs(database_factory: DatabaseFactory, tmp_path: Path) -> Iterator[list[Deployment]]:
    """Three pairs of small servers on one control plane."""
    with ExitStack() as stack:
        pairs = []
        for pair in ("santiago", "lima", "bogota"):
            folder = tmp_path / pair
            folder.mkdir()
            made = stack.enter_context(small_deployment(database_factory, folder))
            pairs.append(replace(made, pair=pair, control_plane=tmp_path / "home"))
        (tmp_path / "home").mkdir()
        yield pairs


@contextmanager
def small_deployment(database_factory: DatabaseFactory, tmp_path: Path) -> Iterator[Deployment]:
    """Make two small servers in a folder."""
    sender, receiver = database_factory(), database_factory()
    execute(
        sender,
        *SMALL_SENDER,
        "INSERT INTO app_parent (code, label) SELECT 'c' || n, 'l' FROM generate_series(1, 20) n",
        "INSERT INTO app_child (parent_id, amount) SELECT 1 + n % 20, n"
        " FROM generate_series(1, 300) n",
        "UPDATE app_child SET picture = 'bus.jpeg' WHERE id = 5",
    )
    execute(receiver, *SMALL_RECEIVER)
    for name in ("sender_media", "receiver_media", "scratch", "home", "receiver/spool"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sender_media" / "bus.jpeg").write_bytes(b"picture")
    (tmp_path / "catalog.toml").write_text(SMALL_CATALOG)
    # As if installed two days ago: tests use windows of the last hours.
    (tmp_path / "state" / "sender").mkdir(parents=True)
    installed = datetime.now(UTC) - timedelta(days=2)
    (tmp_path / "state" / "sender" / "first_window").write_text(installed.isoformat())
    prepare_spool(tmp_path / "receiver" / "spool")
    root, faults = tmp_path / "receiver", Faults()
    with LoopbackSftpServer(
        root,
        tmp_path / "keys",
        sftp_factory=lambda channel: FaultySftp(channel, root, faults),
    ) as sftp:
        made = Deployment(tmp_path, sender, receiver, sftp, faults)
        with made.open_until_the_end:
            yield made


def dagster_command(
    *words: str, environment: Mapping[str, str], home: Path
) -> subprocess.CompletedProcess[str]:
    """Run a Dagster command line as a user does, with only environment variables set."""
    program = Path(sys.executable).with_name(words[0])
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AR_SYNC_", "DAGSTER_"))}
    return subprocess.run(
        [program, *words[1:]],
        env={**clean, **environment, "DAGSTER_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def is_shown(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool:
    """Return whether the UI shows an evaluation.

    It is decided by the UI's resolver `executionForLatestMaterialization`.
    """
    record = instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    return asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))


def stop_sensor(instance: dg.DagsterInstance, name: str, location_name: str = "receiver") -> None:
    """Stop a sensor of a code location, as a user does in the UI."""
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location_name), "__repository__")
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(location, name),
            InstigatorType.SENSOR,
            InstigatorStatus.STOPPED,
            SensorInstigatorData(),
        )
    )


def stop_schedule(instance: dg.DagsterInstance, name: str, location_name: str = "sender") -> None:
    """Stop a schedule of a code location, as a user does in the UI."""
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location_name), "__repository__")
    instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(location, name),
            InstigatorType.SCHEDULE,
            InstigatorStatus.STOPPED,
            ScheduleInstigatorData("*/5 * * * *"),
        )
    )
