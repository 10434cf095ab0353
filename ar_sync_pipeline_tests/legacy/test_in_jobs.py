"""The jobs themselves: an old archive first, then the new sender."""

from __future__ import annotations

import os

import pytest

from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.legacy.building import complete, dump

PARENTS = "SELECT id, code, label FROM app_parent WHERE id IN (1, 77) ORDER BY id"


@pytest.mark.long
def test_new_sender_continues_where_the_old_one_stopped(deployment: Deployment) -> None:
    """With a partial first: no watermark joins the two, so its window alone counts."""
    deployment.receiver_changes["AR_SYNC_OLD_ARCHIVES"] = "accept"
    sql = dump({"parent": (("id", "code", "label"), [["1", "c1", "old"], ["77", "gone", "\\N"]])})
    path = deployment.spool / "complete" / "NEW_backup_2017-09-25__03_30_00.tar.gz"
    path.write_bytes(complete(sql.replace(b"AndroidRequests_", b"app_")))
    os.utime(path, (0, 0))
    deployment.succeed("complete_loaddata")
    assert rows(deployment.receiver_url, PARENTS) == [(1, "c1", "old"), (77, "gone", None)]
    assert (deployment.folder / "receiver_media" / "bus.jpeg").read_bytes() == b"picture"
    execute(
        deployment.sender_url,
        "UPDATE app_child SET changed = now() - interval '1 day'",
        "UPDATE app_child SET parent_id = 1, changed = now() - interval '10 minutes' WHERE id = 3",
    )
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, "SELECT id, parent_id FROM app_child") == [(3, 1)]
    assert rows(deployment.receiver_url, PARENTS) == [(1, "c1", "l"), (77, "gone", None)]
