"""All parts are real and have faults: at the end both sides are equal, with one mail per cause.

Two code servers, a daemon, a web server, two databases, an SFTP server and a mail server, all as
processes or real servers; windows of a minute; production never stops writing.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import window_partitions
from ar_sync_pipeline_tests.fix_alerts import Mailbox
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import DAEMON, LiveInstance, held_up
from ar_sync_pipeline_tests.fix_sites import rows

_LAUNCH = """
mutation ($job: String!, $tags: [ExecutionTag!]!) {
  launchPipelineExecution(executionParams: {
    selector: {jobName: $job, repositoryName: "__repository__", repositoryLocationName: "sender"}
    executionMetadata: {tags: $tags}
  }) { __typename ... on PythonError { message } }
}
"""
_SHARED = {
    "app_parent": "SELECT id, code, label FROM app_parent ORDER BY id",
    "app_child": "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id",
}


class Production:
    """The sender's application, which never stops: new and changed rows, late commits, pictures."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Stop writing; the written rows are kept."""
        self._done.set()
        self._thread.join()

    def _work(self) -> None:
        number = 0
        with psycopg.connect(self._deployment.sender_url) as connection:
            while not self._done.wait(1.0):
                number += 1
                self._change(connection, number)
                connection.commit()

    def _change(self, connection: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        picture = f"trip {number}.jpeg"
        media = self._deployment.folder / "sender_media" / picture
        media.write_bytes(f"picture {number}".encode() * 500)
        connection.execute(
            "INSERT INTO app_parent (code, label) VALUES (%s, 'new')", [f"t{number}"]
        )
        connection.execute(
            "INSERT INTO app_child (parent_id, amount, picture)"
            " SELECT max(id), %s, %s FROM app_parent",
            [number / 7, picture],
        )
        # Changes that do not change the time stamp are replicated, too.
        connection.execute(
            "UPDATE app_child SET amount = -amount WHERE id = 1 + (%s %% 300)", [number * 13]
        )
        connection.execute("UPDATE app_parent SET label = %s WHERE id = 1", [f"label {number}"])
        if number % 10 == 0:
            connection.execute("DELETE FROM app_child WHERE id = %s", [300 - number // 10])


class Watch:
    """What a test sees of the deployment."""

    def __init__(self, live: LiveInstance) -> None:
        self._live = live
        self._receiver = live.deployment.receiver_url

    def launch(self, job: str, **tags: str) -> None:
        """Start a run as a user does in the UI."""
        given = [{"key": f"dagster/{key}", "value": value} for key, value in tags.items()]
        answer = self._live.graphql(_LAUNCH, job=job, tags=given)
        name = answer["launchPipelineExecution"]["__typename"]
        assert name == "LaunchRunSuccess", answer

    def applied(self, kind: ArchiveKind) -> int:
        """Return the number of archives of a kind in the receiver's ledger."""
        if rows(self._receiver, "SELECT to_regclass('ar_sync.applied_archive')") == [(None,)]:
            return 0
        query = f"SELECT name FROM ar_sync.applied_archive WHERE kind = '{kind}'"
        return len(rows(self._receiver, query))

    def wait_for_another(self, kind: ArchiveKind) -> None:
        """Wait until one more archive of a kind is applied."""
        before = self.applied(kind)
        self._live.until(lambda: self.applied(kind) > before, f"another {kind} applied", 150)

    def wait_for_new_run(self, job: str, status: dg.DagsterRunStatus, seconds: float = 150) -> str:
        """Wait until a run of the job that had not ended before has a status; return its id."""
        earlier = {run.run_id for run in self._live.runs(job) if run.is_finished}

        def found() -> str | None:
            runs = [run for run in self._live.runs(job) if run.run_id not in earlier]
            return next((run.run_id for run in runs if run.status is status), None)

        return self._live.until(found, f"a new run of {job} with {status}", seconds)

    def kill_worker(self, job: str, url: str) -> None:
        """Kill the job's next worker with SIGKILL, in the middle of its work on a database."""
        with held_up(url):
            window = _windows().get_last_partition_key() or ""
            self.launch(
                "partial_dump",
                asset_partition_range_start=window,
                asset_partition_range_end=window,
            )
            run_id, pid = self._live.until(lambda: self._waiting_run(job, url), f"{job} works", 90)
            os.kill(pid, signal.SIGKILL)
            self._live.until(lambda: self._failed(run_id), "the killed run is noticed")
        query = {"dagster/parent_run_id": run_id}
        self._live.until(
            lambda: any(run.is_success for run in self._live.runs(**query)), "launched again", 90
        )

    def _waiting_run(self, job: str, url: str) -> tuple[str, int] | None:
        """Return a run of the job that waits for the locked table, and its process."""
        query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        if not rows(url, query):
            return None
        started = [r for r in self._live.runs(job) if r.status is dg.DagsterRunStatus.STARTED]
        pid = self._live.worker_pid(started[0].run_id) if started else None
        return (started[0].run_id, pid) if pid is not None else None

    def missing_windows(self) -> list[str]:
        """Return windows without an archive between the first and the last that have one."""
        keys = _windows().get_partition_keys()[-60:]
        found = self._live.instance.get_status_by_partition(
            archive_key(ArchiveKind.PARTIAL, ALONE), keys, _windows()
        )
        assert found is not None
        done = [found.get(key) is AssetPartitionStatus.MATERIALIZED for key in keys]
        first, last = done.index(True), len(done) - done[::-1].index(True)
        return [
            key for key, there in zip(keys[first:last], done[first:last], strict=True) if not there
        ]

    def _failed(self, run_id: str) -> bool:
        run = self._live.instance.get_run_by_id(run_id)
        return run is not None and run.status is dg.DagsterRunStatus.FAILURE


def _windows() -> dg.TimeWindowPartitionsDefinition:
    return window_partitions(datetime.now(UTC), days_back=1, interval_minutes=1)


@contextmanager
def restarted(sftp: LoopbackSftpServer) -> Iterator[None]:
    """Start the same server again: same port, same keys."""
    with LoopbackSftpServer(sftp.root, sftp.private_key.parent, port=sftp.port):
        yield


def shared_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows in the columns that both sides have."""
    return {table: rows(url, query) for table, query in _SHARED.items()}


def pictures(folder: Path) -> dict[str, bytes]:
    """Return all files of a media folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def sleep_until_a_window_has_passed() -> None:
    """Sleep until the clock shows another minute."""
    time.sleep(61 - datetime.now(UTC).second)


@pytest.fixture
def told(live: LiveInstance, mailbox: Mailbox) -> Mailbox:
    """The mailbox to which both sides send their alerts."""
    deployment = live.deployment
    deployment.change_both(mailbox.environ)
    return mailbox


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_troubled_day_ends_equal_without_a_gap_and_with_one_mail_a_cause(
    live: LiveInstance, told: Mailbox
) -> None:
    deployment, watch, production = live.deployment, Watch(live), Production(live.deployment)
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    live.start()
    with production.at_work():
        watch.kill_worker("partial_dump", deployment.sender_url)
        watch.kill_worker("partial_loaddata", deployment.receiver_url)
        assert told.subjects == [], "runs that are launched again are nobody's business"

        deployment.sftp.stop()
        watch.wait_for_new_run("partial_dump", dg.DagsterRunStatus.FAILURE, 240)
        live.stop(DAEMON)
        sleep_until_a_window_has_passed()
        with restarted(deployment.sftp):
            live.start(DAEMON)
            watch.wait_for_another(ArchiveKind.PARTIAL)
            production.end()
            watch.launch("complete_dump")
            watch.wait_for_another(ArchiveKind.COMPLETE)
            live.until(lambda: not watch.missing_windows(), "no window is missing", 150)
            live.until(lambda: len(told.mails) > 1, "the recovery mail", 90)
            live.stop(DAEMON)

    assert shared_rows(deployment.receiver_url) == shared_rows(deployment.sender_url)
    assert pictures(deployment.folder / "receiver_media") == pictures(
        deployment.folder / "sender_media"
    )
    assert len(told.subjects) == 2, told.subjects
    opening, recovery = told.subjects
    assert opening.startswith("[ar_sync sender] Failing: the connection to the receiver")
    assert recovery.startswith("[ar_sync sender] Recovered: the connection to the receiver")
