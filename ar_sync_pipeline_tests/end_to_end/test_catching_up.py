"""A daemon that was down returns after a backfill was requested: nothing is done twice."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_live_instance import (
    DAEMON,
    RECEIVER,
    SENDER,
    WEBSERVER,
    LiveInstance,
)
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
KEY = archive_key(ArchiveKind.PARTIAL, ALONE)
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


def windows_before(now: datetime, first: int, last: int) -> list[str]:
    """Return windows of a minute, from the one that began some minutes ago to another one."""
    starts = [now - timedelta(minutes=minutes) for minutes in range(first, last - 1, -1)]
    return [start.strftime(KEY_FORMAT) for start in starts]


def ask_for_backfill(live: LiveInstance, partitions: list[str]) -> str:
    """Request a backfill as the UI does: all assets of the grid, and the selected windows."""
    keys = live.deployment.partial_assets()
    params = {
        "assetSelection": [{"path": key.path} for key in keys],
        "partitionNames": partitions,
    }
    answer = live.graphql(BACKFILL, params=params)["launchPartitionBackfill"]
    assert "backfillId" in answer, answer
    backfill_id: str = answer["backfillId"]
    return backfill_id


def archives_by_window(live: LiveInstance) -> Counter[str | None]:
    """Return the number of archives of each window."""
    records = live.instance.fetch_materializations(KEY, limit=1000).records
    return Counter(record.partition_key for record in records)


@pytest.mark.long
@pytest.mark.timeout(600)  # on a machine that does much else
def test_hours_of_missed_windows_are_made_good_in_one_run_each(live: LiveInstance) -> None:
    deployment = live.deployment
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
    # One time for all, because minutes pass while the processes start.
    oldest, *missed = windows_before(datetime.now(UTC), 301, 1)
    live.instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=oldest))
    live.start(SENDER, RECEIVER, WEBSERVER)
    selected = missed[:200]
    backfill = ask_for_backfill(live, selected)

    live.start(DAEMON)
    live.until(lambda: {*missed} <= archives_by_window(live).keys(), "all windows", seconds=400)

    (of_operator,) = live.runs(**{"dagster/backfill": backfill})
    assert of_operator.tags["dagster/asset_partition_range_start"] == selected[0]
    assert of_operator.tags["dagster/asset_partition_range_end"] == selected[-1]
    first, *later = live.runs("partial_dump")
    assert first.tags["dagster/asset_partition_range_start"] == window_after(selected[-1])
    assert set(archives_by_window(live).values()) == {1}
    assert not [run for run in (of_operator, first, *later) if run.is_failure]
    live.until(lambda: up_to_date(live), "what was dumped is loaded")


@pytest.mark.long
def test_backlog_of_archives_is_applied_in_one_run(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    for _ in range(3):
        execute(deployment.sender_url, "UPDATE app_child SET amount = amount + 1 WHERE id < 9")
        deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    applied = "SELECT count(*) FROM ar_sync.applied_archive WHERE kind = 'partial'"
    assert rows(deployment.receiver_url, applied) == [(3,)]
    assert rows(deployment.sender_url, CHILDREN) == rows(deployment.receiver_url, CHILDREN)


def window_after(key: str) -> str:
    start = datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)
    return (start + timedelta(minutes=1)).strftime(KEY_FORMAT)


def up_to_date(live: LiveInstance) -> bool:
    sender, receiver = live.deployment.sender_url, live.deployment.receiver_url
    return rows(sender, CHILDREN) == rows(receiver, CHILDREN)
