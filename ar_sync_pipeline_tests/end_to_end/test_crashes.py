"""Workers, servers and whole machines that are killed during work recover without a person."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline_tests.fix_live_instance import SENDER, LiveInstance, held_up
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
APPLIED = "SELECT name, count(*) FROM ar_sync.applied_archive GROUP BY name HAVING count(*) > 1"
LOCKED = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = '{}'"
LONGEST_SECONDS = 6


@dataclass
class Line:
    """Both sides of a live deployment, and operations of a test on them."""

    live: LiveInstance

    @property
    def sender(self) -> str:
        return self.live.deployment.sender_url

    @property
    def receiver(self) -> str:
        return self.live.deployment.receiver_url

    def change(self) -> None:
        execute(self.sender, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")

    def ask_for_dump(self) -> str:
        return self.live.request_run(SENDER, "partial_dump", windows_of_yesterday())

    def at_work(self, job: str, url: str) -> tuple[str, int]:
        """Return the run of a job that waits for the locked table, and its process.

        Any requester counts: sensors find archives at any time.
        """
        locked = LOCKED.format(url.rpartition("/")[2].partition("?")[0])

        def found() -> tuple[str, int] | None:
            for run in self.live.runs(job):
                pid = self.live.worker_pid(run.run_id)
                if run.status is dg.DagsterRunStatus.STARTED and pid is not None:
                    return run.run_id, pid
            return None

        self.live.until(lambda: rows(url, locked), f"{job} is at work")
        return self.live.until(found, f"the process of {job}")

    def ends(self, run_id: str, *statuses: dg.DagsterRunStatus) -> dg.DagsterRun:
        what = f"run {run_id} is {' or '.join(map(str, statuses))}"
        return self.live.until(lambda: self._ended(run_id, statuses), what)

    def is_retried(self, run_id: str) -> dg.DagsterRun:
        """Return the successful retry of a run that lost its worker."""
        return self.live.until(lambda: self._second(run_id), f"run {run_id} is launched again")

    def will_retry(self, run_id: str) -> str | None:
        run = self.live.instance.get_run_by_id(run_id)
        return run.tags.get("dagster/will_retry") if run is not None else None

    def is_equal(self) -> bool:
        return rows(self.sender, CHILDREN) == rows(self.receiver, CHILDREN)

    def pools_are_free(self) -> bool:
        storage = self.live.instance.event_log_storage
        pools = [storage.get_concurrency_info(key) for key in storage.get_concurrency_keys()]
        return all(not pool.claimed_slots and not pool.pending_steps for pool in pools)

    def _ended(
        self, run_id: str, statuses: Collection[dg.DagsterRunStatus]
    ) -> dg.DagsterRun | None:
        run = self.live.instance.get_run_by_id(run_id)
        return run if run is not None and run.status in statuses else None

    def _second(self, run_id: str) -> dg.DagsterRun | None:
        runs = self.live.runs(**{"dagster/parent_run_id": run_id})
        assert len(runs) <= 1
        return next((run for run in runs if run.is_success), None)


def windows_of_yesterday() -> dict[str, str]:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")
    return {
        "dagster/asset_partition_range_start": f"{yesterday}T00:00Z",
        "dagster/asset_partition_range_end": f"{yesterday}T01:00Z",
    }


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.fixture
def line(live: LiveInstance) -> Line:
    """Two equal, quiet sides: windows are hours, so schedules hardly request runs."""
    deployment = live.deployment
    deployment.change_both({"AR_SYNC_PARTIAL_INTERVAL": "60", "AR_SYNC_TIME": "120"})
    deployment.receiver_changes["AR_SYNC_MAX_LAG"] = "120"
    live.changes["run_monitoring"] |= {"max_runtime_seconds": LONGEST_SECONDS}
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    live.start()
    return Line(live)


@pytest.mark.long
@pytest.mark.timeout(600)  # on a machine that does much else
def test_whatever_dies_in_the_middle_is_made_good_without_a_person(line: Line) -> None:
    """One deployment for all cases, because its start takes longer than the cases."""
    killed_dump_is_retried(line)
    killed_load_is_retried(line)
    stuck_run_is_ended(line)
    failed_step_is_no_reason_for_a_second_run(line)
    reboot_recovers(line)
    line.live.until(line.pools_are_free, "all pools are free")
    assert rows(line.receiver, APPLIED) == []


def killed_dump_is_retried(line: Line) -> None:
    line.change()
    with held_up(line.sender):
        line.ask_for_dump()
        run_id, pid = line.at_work("partial_dump", line.sender)
        os.kill(pid, signal.SIGKILL)
        line.ends(run_id, dg.DagsterRunStatus.FAILURE)
    again = line.is_retried(run_id)
    assert windows_of_yesterday().items() <= again.tags.items()


def killed_load_is_retried(line: Line) -> None:
    line.change()
    with held_up(line.receiver):
        line.ends(line.ask_for_dump(), dg.DagsterRunStatus.SUCCESS)
        run_id, pid = line.at_work("partial_loaddata", line.receiver)
        os.kill(pid, signal.SIGKILL)
        line.ends(run_id, dg.DagsterRunStatus.FAILURE)
    line.is_retried(run_id)
    line.live.until(line.is_equal, "what was dumped is loaded")


def stuck_run_is_ended(line: Line) -> None:
    """Test a run that the UI starts without a job: the instance's maximum runtime applies."""
    line.change()
    with held_up(line.sender):
        selection = [{"path": key.path} for key in line.live.deployment.partial_assets()]
        line.live.request_run(
            SENDER, "__ASSET_JOB", windows_of_yesterday(), assetSelection=selection
        )
        run_id, pid = line.at_work("__ASSET_JOB", line.sender)
        # The monitor reports a failure, its process a cancellation; the last one wins.
        line.ends(run_id, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
        line.live.until(lambda: not is_running(pid), "its process is gone")
    line.is_retried(run_id)


def failed_step_is_no_reason_for_a_second_run(line: Line) -> None:
    known_hosts = line.live.deployment.sftp.known_hosts
    pinned = known_hosts.read_text()
    known_hosts.write_text("")
    run_id = line.ask_for_dump()
    line.ends(run_id, dg.DagsterRunStatus.FAILURE)
    # The tag is written after the event that ends a run.
    assert line.live.until(lambda: line.will_retry(run_id), "it is decided") == "false"
    known_hosts.write_text(pinned)


def reboot_recovers(line: Line) -> None:
    line.change()
    with held_up(line.receiver):
        line.ends(line.ask_for_dump(), dg.DagsterRunStatus.SUCCESS)
        load, _ = line.at_work("partial_loaddata", line.receiver)
        with held_up(line.sender):
            line.ask_for_dump()
            dump, _ = line.at_work("partial_dump", line.sender)
            waiting = line.ask_for_dump()
            line.live.kill()
    line.live.start()
    line.is_retried(load)
    line.is_retried(dump)
    line.ends(waiting, dg.DagsterRunStatus.SUCCESS)
    line.live.until(line.is_equal, "what was dumped is loaded")
