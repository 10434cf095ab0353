"""Several pairs on one control plane as real processes, and outages of one of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import psycopg
from dagster_shared.yaml_utils import load_yaml_from_path
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.demo.dagster_process import DagsterProcess, code_server_words, write_workspace
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline_tests.cutting_proxy import CuttingProxy
from ar_sync_pipeline_tests.fix_alerts import Mailbox, smtp_server
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import QUICK, RECEIVER, ROOT, SENDER

MINUTE = timedelta(minutes=1)
# Lag of the receiver just before each load.
LAGS = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY lag)::float8, max(lag)::float8
FROM (SELECT applied_at,
             extract(epoch FROM applied_at - lag(snapshot_at) OVER (ORDER BY snapshot_at)) AS lag
      FROM ar_sync.applied_archive) loads
WHERE applied_at BETWEEN %s AND %s
"""


@dataclass
class ControlPlane:
    """One daemon over the code servers of several pairs."""

    pairs: Sequence[Deployment]
    _running: dict[str, DagsterProcess] = field(default_factory=dict)

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
                    name = pair.names.name(side)
                    port = ports[name] = free_port()
                    settings = getattr(pair, f"{side}_environment")()
                    self._start(stack, name, code_server_words(side, port), settings, port)
            for process in self._running.values():
                process.wait_until_ready()
            workspace = self.home / "workspace.yaml"
            write_workspace(workspace, ports)
            self._start(stack, "daemon", ["dagster-daemon", "run", "-w", str(workspace)], {})
            yield stack.enter_context(dg.DagsterInstance.from_config(str(self.home)))

    def kill(self, name: str) -> None:
        """Kill a process with its runs, as if its host lost power."""
        self._running[name].kill()

    def restart(self, name: str) -> None:
        """Start a killed process again."""
        self._running[name].start()
        self._running[name].wait_until_ready()

    def _start(
        self,
        stack: ExitStack,
        name: str,
        words: list[str],
        settings: dict[str, str],
        port: int | None = None,
    ) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AR_SYNC_")}
        log = self.home.parent / f"{name}.log"
        environment = {**clean, **settings, "DAGSTER_HOME": str(self.home)}
        process = DagsterProcess(words, environment, log, port)
        process.start()
        stack.callback(process.kill)
        self._running[name] = process

    def _configure(self) -> None:
        loaded = load_yaml_from_path(str(ROOT / "dagster.yaml"))
        assert isinstance(loaded, dict)
        loaded["event_log_storage"]["config"] = {"base_dir": str(self.home / "history" / "runs")}
        loaded["run_monitoring"] |= QUICK["run_monitoring"]
        (self.home / "dagster.yaml").write_text(json.dumps(loaded))


def windows_of(instance: dg.DagsterInstance, pair: Deployment) -> set[datetime]:
    """Return the starts of the windows that have an archive."""
    key = archive_key(ArchiveKind.PARTIAL, pair.names)
    keys = instance.get_materialized_partitions(key)
    return {datetime.fromisoformat(one) for one in keys}


def missed(windows: set[datetime], since: datetime, to: datetime) -> set[datetime]:
    """Return windows within a time range that have no archive."""
    start = since.replace(second=0, microsecond=0) + MINUTE
    due = {start + number * MINUTE for number in range(int((to - start) / MINUTE))}
    return due - windows


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


@dataclass(frozen=True)
class Lags:
    """Seconds that a receiver was behind, just before each load of a time range."""

    loads: int
    median: float
    largest: float


def lags(pair: Deployment, since: datetime, to: datetime) -> Lags:
    with psycopg.connect(pair.receiver_url) as connection:
        row = connection.execute(LAGS, [since, to]).fetchone()
    assert row is not None
    assert row[0], f"nothing was loaded at {pair.pair}"
    return Lags(*row)


def report(title: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Print figures as a table of markdown; `pytest -rP` or `-s` shows it."""
    print(f"\n{title}")  # noqa: T201
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")  # noqa: T201


@contextmanager
def link_of(pair: Deployment) -> Iterator[CuttingProxy]:
    """Put a proxy into the link from the sender to the receiver; it can become a black hole."""
    with CuttingProxy(pair.sftp.port) as proxy:
        key = pair.sftp.known_hosts.read_text().split(maxsplit=1)[1]
        known_hosts = pair.folder / "known_hosts_of_the_proxy"
        known_hosts.write_text(f"[{pair.sftp.host}]:{proxy.port} {key}")
        pair.sender_changes |= {
            "AR_SYNC_REMOTE_PORT": str(proxy.port),
            "AR_SYNC_KNOWN_HOSTS": str(known_hosts),
        }
        yield proxy


@contextmanager
def mailboxes(pairs: Iterable[Deployment]) -> Iterator[dict[str, Mailbox]]:
    """Run a mail server for each pair."""
    found = {}
    with ExitStack() as stack:
        for pair in pairs:
            box = found[pair.pair] = stack.enter_context(smtp_server(Mailbox()))
            mail = box.environ
            pair.sender_changes |= mail
            pair.receiver_changes |= mail
        yield found
