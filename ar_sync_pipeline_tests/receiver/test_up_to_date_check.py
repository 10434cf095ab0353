"""What is a new finding of the check `up_to_date`."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of


@pytest.mark.long
def test_archives_that_begin_to_wait_are_no_new_finding(filled: TwoSites) -> None:
    filled.environ["AR_SYNC_DELETE_GUARD"] = "1"
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("DELETE FROM app_child WHERE id > 100")
    filled.complete(base)
    filled.load()
    later = filled.clock() + timedelta(minutes=50)
    site = ReceiverSite(filled.settings, filled.catalog, lambda: later)
    found = []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            found.append(check_lag(site, instance))
            filled.partial(recent_window(), since=base)
    said = [str(one.result.description).partition("because ")[2] for one in found]
    assert "archive" not in said[0].partition("backup")[0]
    assert [text[:30] for text in said[1:]] == [
        "1 archive waits for the next l",
        "2 archives wait for the next l",
    ]
    assert not any(one.result.passed for one in found)
    assert len({one.news for one in found}) == 1
