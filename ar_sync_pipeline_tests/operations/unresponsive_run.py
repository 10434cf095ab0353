"""A process whose run never ends and ignores signals; a test starts it with a DAGSTER_HOME."""

from __future__ import annotations

import sys
import time

import dagster as dg

from ar_sync_pipeline.operations.runs.watched_executor import WatchedExecutor


@dg.op
def unresponsive() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112  the point of this process
            continue


@dg.job(
    executor_def=dg.ExecutorDefinition.hardcoded_executor(
        WatchedExecutor(check_every_seconds=0.2, grace_seconds=1)
    )
)
def stuck_job() -> None:
    unresponsive()


if __name__ == "__main__":
    with (
        dg.DagsterInstance.from_config(sys.argv[1]) as instance,
        dg.execute_job(dg.reconstructable(stuck_job), instance) as _,
    ):
        pass
