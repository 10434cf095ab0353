"""What is a new finding of the check `up_to_date`."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline_tests.fix_dagster import stop_sensor
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


PARTIALS, COMPLETES = "new_partial_archives", "new_complete_archives"
START_IT = (
    f"because the sensor {PARTIALS} is stopped: start {PARTIALS} in Dagster (Automation);"
    " 1 archive waits for the next load."
)


@pytest.mark.long
@pytest.mark.parametrize(
    ("stopped", "waits", "said"),
    [
        ([PARTIALS], "partial", START_IT),
        ([], "partial", "because 1 archive waits for the next load."),
        ([COMPLETES], "partial", "because 1 archive waits for the next load."),
        ([COMPLETES], "complete", "because 1 archive waits for the next load."),
        ([COMPLETES, PARTIALS], "complete", START_IT.replace(PARTIALS, COMPLETES)),
        ([PARTIALS], "complete", "because 1 archive waits for the next load."),
        ([PARTIALS], "nothing", "because that was the last window, all is well."),
    ],
)
def test_stopped_sensor_is_the_reason_why_what_it_would_load_waits(
    filled: TwoSites, stopped: list[str], waits: str, said: str
) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    if waits == "partial":
        filled.partial(recent_window(), since=base)
    elif waits == "complete":
        filled.complete(base)
    site = ReceiverSite(filled.settings, filled.catalog, filled.clock)
    with dg.instance_for_test() as instance:
        for name in stopped:
            stop_sensor(instance, name)
        result = check_lag(site, instance).result
    assert str(result.description).endswith(said)
    assert result.passed
    is_named = "is stopped" in said
    assert ("to do: start new_" in str(result.metadata)) is is_named
    assert ("to do: nothing" in str(result.metadata)) is (waits != "nothing" and not is_named)
