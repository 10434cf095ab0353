"""A process ends with its run, even if it ignores signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline_tests.operations import unresponsive_run


@pytest.mark.long
def test_process_that_does_not_listen_is_ended_by_force_once_its_run_is_over(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen([sys.executable, unresponsive_run.__file__, str(tmp_path)])
    try:
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            run = started(instance)
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            instance.report_run_failed(run)
            assert process.wait(20) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Return the run when its step is running."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in instance.get_runs():
            if instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
                return run
        time.sleep(0.1)
    raise AssertionError("the run did not start")
