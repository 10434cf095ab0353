"""Three pairs on one control plane, each with its own code servers; one of them has an outage."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster_shared.yaml_utils import load_yaml_from_path
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.demo.dagster_process import (
    DagsterProcess,
    code_server_words,
    free_port,
    write_workspace,
)
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import QUICK, RECEIVER, ROOT, SENDER
from ar_sync_pipeline_tests.fix_sftp import CuttingProxy
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
MINUTE = timedelta(minutes=1)
_OUTAGE = timedelta(minutes=3)
# An hour for `make soak`.
_DEAD_RECEIVER = timedelta(minutes=int(os.environ.get("AR_SYNC_DEAD_MINUTES", "4")))
_BEFORE = timedelta(minutes=3)
# Largest lag of the receiver in a time range, just before each load.
PEAK_LAG = """
SELECT max(extract(epoch FROM applied_at - previous))
FROM (SELECT applied_at, lag(snapshot_at) OVER (ORDER BY snapshot_at) AS previous
      FROM ar_sync.applied_archive) loads
WHERE applied_at BETWEEN %s AND %s
"""


@dataclass
class ControlPlane:
    """One daemon over the code servers of several pairs."""

    pairs: Sequence[Deployment]
    _running: list[DagsterProcess] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.pairs[0].home

    @contextmanager
    def at_work(self) -> Iterator[dg.DagsterInstance]:
        """Run all processes until the end of the block."""
        self._configure()
        ports: dict[str, int] = {}
        with ExitStack() as stack:
            for pair in self.pairs:
                for side in (SENDER, RECEIVER):
                    port = ports[f"{pair.pair}_{side}"] = free_port()
                    settings = getattr(pair, f"{side}_environment")()
                    self._start(stack, code_server_words(side, port), settings, port)
            for process in self._running:
                process.wait_until_ready()
            workspace = self.home / "workspace.yaml"
            write_workspace(workspace, ports)
            self._start(stack, ["dagster-daemon", "run", "-w", str(workspace)], {})
            yield stack.enter_context(dg.DagsterInstance.from_config(str(self.home)))

    def _start(
        self, stack: ExitStack, words: list[str], settings: dict[str, str], port: int | None = None
    ) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AR_SYNC_")}
        log = self.home.parent / f"{len(self._running)}.log"
        environment = {**clean, **settings, "DAGSTER_HOME": str(self.home)}
        process = DagsterProcess(words, environment, log, port)
        process.start()
        stack.callback(process.kill)
        self._running.append(process)

    def _configure(self) -> None:
        loaded = load_yaml_from_path(str(ROOT / "dagster.yaml"))
        assert isinstance(loaded, dict)
        loaded["event_log_storage"]["config"] = {"base_dir": str(self.home / "history" / "runs")}
        loaded["run_monitoring"] |= QUICK["run_monitoring"]
        (self.home / "dagster.yaml").write_text(json.dumps(loaded))


def until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(1)


def windows_of(instance: dg.DagsterInstance, pair: Deployment) -> set[datetime]:
    """Return the starts of the windows that have an archive."""
    key = archive_key(ArchiveKind.PARTIAL, pair.names)
    keys = instance.get_materialized_partitions(key)
    return {datetime.fromisoformat(one) for one in keys}


def missed(windows: set[datetime], since: datetime, to: datetime) -> set[datetime]:
    """Return windows within a time range that have no archive."""
    start = since.replace(second=0, microsecond=0) + MINUTE
    due = {start + number * MINUTE for number in range(100)}
    return {one for one in due if one + MINUTE <= to} - windows


def told(pair: Deployment) -> dict[str, list[str]]:
    """Return, by side, the titles of open incidents and the unsent messages."""
    found = {}
    for side, settings in (
        (SENDER, load_sender_settings(pair.sender_environment())),
        (RECEIVER, load_receiver_settings(pair.receiver_environment())),
    ):
        alerts = open_alerts(settings, lambda: datetime.now(UTC))
        open_now = [one.incident.latest.title for one in alerts.store.open_incidents()]
        found[side] = [*open_now, *(f"{one.kind} message" for one in alerts.outbox.unsent())]
    return found


def allow_connections(url: str, *, allowed: bool) -> None:
    """Allow or refuse connections to a database; existing ones are terminated."""
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(name), sql.Literal(allowed)
            )
        )
        if not allowed:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )


def peak_lag_seconds(pair: Deployment, since: datetime, to: datetime) -> float:
    with psycopg.connect(pair.receiver_url) as connection:
        row = connection.execute(PEAK_LAG, [since, to]).fetchone()
    assert row is not None
    assert row[0] is not None, f"nothing was loaded at {pair.pair}"
    return float(row[0])


def change_until(url: str, moment: datetime) -> None:
    """Change a row of the sender every few seconds, so that no window is empty."""
    while datetime.now(UTC) < moment:
        execute(url, "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id = 7")
        time.sleep(5)


@contextmanager
def one_sender(pairs: list[Deployment], dead: Deployment) -> Iterator[CuttingProxy]:
    """Give all pairs the first one's sender; the link to one receiver can be made a black hole."""
    for pair in pairs:
        media = pairs[0].folder / "sender_media"
        pair.sender_url = pairs[0].sender_url
        pair.sender_changes["AR_SYNC_SENDER_MEDIA_FLDR"] = str(media)
        for changes in (pair.sender_changes, pair.receiver_changes):
            changes |= {"AR_SYNC_PARTIAL_INTERVAL": "1", "AR_SYNC_TIME": "3"}
    with CuttingProxy(dead.sftp.port) as proxy:
        key = dead.sftp.known_hosts.read_text().split(maxsplit=1)[1]
        known_hosts = dead.folder / "known_hosts_of_the_proxy"
        known_hosts.write_text(f"[{dead.sftp.host}]:{proxy.port} {key}")
        dead.sender_changes |= {
            "AR_SYNC_REMOTE_PORT": str(proxy.port),
            "AR_SYNC_KNOWN_HOSTS": str(known_hosts),
        }
        yield proxy


@pytest.mark.long
@pytest.mark.timeout(1800 + 120 * _DEAD_RECEIVER.total_seconds() / 60)
def test_dead_receiver_does_not_change_the_lag_of_the_sender_s_other_receivers(
    three_pairs: list[Deployment],
) -> None:
    dead, *others = three_pairs
    with one_sender(three_pairs, dead) as link:
        for pair in three_pairs:
            pair.succeed("complete_dump")
            pair.succeed("complete_loaddata")
        with ControlPlane(three_pairs).at_work() as instance:
            until(
                lambda: all(windows_of(instance, pair) for pair in three_pairs),
                "every pair has made an archive",
                240,
            )
            started = datetime.now(UTC)
            change_until(dead.sender_url, started + _BEFORE)
            link.swallow.set()
            died = datetime.now(UTC)
            change_until(dead.sender_url, died + _DEAD_RECEIVER)
            ended = datetime.now(UTC)
            for pair in others:
                before = peak_lag_seconds(pair, started, died)
                while_dead = peak_lag_seconds(pair, died, ended)
                # Less than one window: no load of the others waited for the dead one.
                assert while_dead < before + MINUTE.total_seconds(), (before, while_dead)
                assert told(pair) == {SENDER: [], RECEIVER: []}
            assert told(dead)[SENDER]
            link.swallow.clear()
            until(
                lambda: rows(dead.receiver_url, CHILDREN) == rows(dead.sender_url, CHILDREN),
                "what the dead receiver missed has arrived",
                600,
            )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_outage_of_one_pair_is_no_business_of_the_others(three_pairs: list[Deployment]) -> None:
    dead, *others = three_pairs
    for pair in three_pairs:
        for changes in (pair.sender_changes, pair.receiver_changes):
            changes |= {"AR_SYNC_PARTIAL_INTERVAL": "1", "AR_SYNC_TIME": "3"}
        pair.succeed("complete_dump")
        pair.succeed("complete_loaddata")
    with ControlPlane(three_pairs).at_work() as instance:
        until(
            lambda: all(windows_of(instance, pair) for pair in three_pairs),
            "every pair has made an archive",
            240,
        )
        allow_connections(dead.sender_url, allowed=False)
        began = datetime.now(UTC)
        until(lambda: bool(told(dead)[SENDER]), "the outage is an incident", 180)
        for pair in others:
            execute(pair.sender_url, "UPDATE app_child SET amount = -7, changed = now()")
        until(lambda: datetime.now(UTC) > began + _OUTAGE, "the outage has lasted", 300)
        ended = datetime.now(UTC)
        until(
            lambda: not any(missed(windows_of(instance, pair), began, ended) for pair in others),
            "the others have missed no window",
            150,
        )
        assert missed(windows_of(instance, dead), began + MINUTE, ended)
        assert any("the sender's database" in one for one in told(dead)[SENDER])
        assert told(dead)[RECEIVER] == []
        for pair in others:
            assert told(pair) == {SENDER: [], RECEIVER: []}
            until(
                lambda pair=pair: (
                    rows(pair.receiver_url, CHILDREN)  # type: ignore[misc]
                    == rows(pair.sender_url, CHILDREN)
                ),
                "what the others changed meanwhile has arrived",
                120,
            )
        allow_connections(dead.sender_url, allowed=True)
        until(
            lambda: not missed(windows_of(instance, dead), began, ended),
            "its windows are caught up",
            240,
        )
