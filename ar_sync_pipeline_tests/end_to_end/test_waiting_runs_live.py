"""Runs that wait for the end of their window, and are ended meanwhile: no window is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline.spool.announcement import ANNOUNCEMENT_FILE
from ar_sync_pipeline_tests.fix_live_instance import SENDER, LiveInstance
from ar_sync_pipeline_tests.fix_sites import execute, rows

KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
LAST = "dagster/asset_partition_range_end"
MINUTE = timedelta(minutes=1)
SECONDS = 240  # on a machine that does much else

PARTITIONS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { partitionStats { numFailed numPartitions numMaterialized } }
  }
}
"""
TERMINATE = """
mutation ($run: String!) {
  terminateRun(runId: $run) { __typename ... on PythonError { message } }
}
"""


def end_of(window: str) -> datetime:
    return datetime.strptime(window, KEY_FORMAT).replace(tzinfo=UTC) + MINUTE


def waiting_run(live: LiveInstance) -> tuple[str, int] | None:
    """Return the run of the open window, and its process."""
    for run in live.runs("partial_dump"):
        if run.status is dg.DagsterRunStatus.STARTED:
            pid = live.worker_pid(run.run_id)
            if pid is not None and end_of(run.tags[LAST]) > datetime.now(UTC):
                return run.run_id, pid
    return None


def partitions(live: LiveInstance) -> dict[str, Any]:
    """Return how the UI counts the windows."""
    answer = live.graphql(PARTITIONS, key={"path": KEY.path})
    stats: dict[str, Any] = answer["assetNodeOrError"]["partitionStats"]
    return stats


def windows_sent(live: LiveInstance) -> Counter[str | None]:
    records = live.instance.fetch_materializations(KEY, limit=1000).records
    return Counter(record.partition_key for record in records)


def ends_early(live: LiveInstance, cause: str) -> None:
    """End a run while it waits, and see that its window is sent all the same."""
    execute(live.deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
    run_id, pid = live.until(lambda: waiting_run(live), f"a run waits ({cause})", SECONDS)
    assert partitions(live)["numFailed"] == 0
    run = live.instance.get_run_by_id(run_id)
    assert run is not None
    if cause == "terminated in the UI":
        live.graphql(TERMINATE, run=run_id)
    elif cause == "killed":
        os.kill(pid, signal.SIGKILL)
    else:
        live.kill(SENDER)
        live.start(SENDER)
    live.until(lambda: run.tags[LAST] in windows_sent(live), f"it is sent ({cause})", SECONDS)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_window_of_a_run_that_is_ended_while_it_waits_is_sent_once(live: LiveInstance) -> None:
    deployment = live.deployment
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    oldest = (datetime.now(UTC) - 2 * MINUTE).strftime(KEY_FORMAT)
    live.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=oldest))
    live.start()
    for cause in ("terminated in the UI", "killed", "code server killed"):
        ends_early(live, cause)

    def is_equal() -> bool:
        return rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)

    live.until(is_equal, "what was sent is loaded", SECONDS)
    sent = windows_sent(live)
    first, last = min(filter(None, sent)), max(filter(None, sent))
    assert set(sent.values()) == {1}
    assert len(sent) == (end_of(last) - end_of(first)) // MINUTE + 1
    assert (deployment.spool / ".incoming" / ANNOUNCEMENT_FILE).exists()
    announced = [run for run in live.runs("partial_loaddata") if is_early(run)]
    assert announced
    assert not [run for run in live.runs("partial_loaddata") if run.is_failure]


def is_early(run: dg.DagsterRun) -> bool:
    return run.tags.get("dagster/run_key", "").startswith("announced_")
