"""Every derived column of the sample's stage A, compared with the rules computed row by row."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import shapely

from ar_sync_pipeline_tests.transform import oracle
from ar_sync_pipeline_tests.transform.receiver import Receiver, Row


def _by_key(rows: list[Row], key: str) -> dict[Any, list[Row]]:
    grouped: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row[key]].append(row)
    return grouped


@pytest.mark.long
def test_sample_gets_the_results_that_the_rules_give_row_by_row(sample_receiver: Receiver) -> None:
    before = oracle.read_facts(sample_receiver.url)

    report = sample_receiver.transform(batch_rows=700)

    # A batch that the database refused would have been halved, and counted more often.
    handled = {name.partition("_")[2]: rows for name, rows in report.handled.items()}
    assert report.batches == sum(-(-rows // 700) for rows in handled.values())
    facts = oracle.read_facts(sample_receiver.url)
    _compare_buses(before, facts)
    _compare_stops(sample_receiver)
    _compare_events(facts, "eventforbusstop", "stadisticdatafromregistrationbusstop")
    _compare_events(facts, "eventforbusv2", "stadisticdatafromregistrationbus")
    _compare_reports(facts, sample_receiver.rows("reportinfo"))
    assert all(row["transformed"] for row in facts["report"])


@pytest.mark.long
def test_postgis_and_wkb_give_the_sample_the_same_results(
    sample_receiver: Receiver, sample_postgis_receiver: Receiver
) -> None:
    reports = [one.transform(batch_rows=5000) for one in (sample_receiver, sample_postgis_receiver)]
    assert reports[0].rows == reports[1].rows
    assert reports[0].rejected == reports[1].rejected
    for table in ("busv2", "eventforbusv2", "eventforbusstop", "report", "reportinfo"):
        assert sample_receiver.rows(table) == sample_postgis_receiver.rows(table), table
    _compare_stops(sample_postgis_receiver)
    (stop, *_) = sample_postgis_receiver.rows("busstop")
    # The column's declared number, which the web application's queries are made for.
    assert shapely.get_srid(shapely.from_wkb(stop["point"])) == 32140


def _compare_buses(before: oracle.Facts, after: oracle.Facts) -> None:
    expected = [oracle.plate(bus["registrationPlate"]) for bus in before["busv2"]]
    assert [bus["registrationPlate"] for bus in after["busv2"]] == expected
    assert all(bus["transformed"] for bus in after["busv2"])


def _compare_stops(receiver: Receiver) -> None:
    for stop in receiver.rows("busstop"):
        assert stop["transformed"]
        point = shapely.from_wkb(stop["point"])
        assert (point.x, point.y) == (stop["longitude"], stop["latitude"])


def _compare_events(facts: oracle.Facts, events: str, statistics: str) -> None:
    own_statistics = _by_key(facts[statistics], "reportOfEvent_id")
    poses, stops = _by_key(facts["poseintrajectoryoftoken"], "token_id"), oracle.newest_stops(facts)
    tokens = _by_key(facts["token"], "phoneId")
    for event in facts[events]:
        position = oracle.event_position(event, own_statistics[event["id"]])
        assert event["timePeriod_id"] == oracle.time_period(
            event["timeCreation"], facts["timeperiod"]
        )
        assert event["halfHourPeriod_id"] == oracle.half_hour(
            event["timeCreation"], facts["halfhourperiod"]
        )
        assert event["zonification_id"] == oracle.zone(position, facts), event
        assert event["transformed"]
        if events == "eventforbusv2":
            own = oracle.Facts({"token": tokens[event["phoneId"]]}, {})
            assert event["direction"] == oracle.direction(event, own, poses)
            codes = (event["busStop1"], event["busStop2"])
            assert codes == oracle.nearest_codes(position, stops), event


def _compare_reports(facts: oracle.Facts, infos: list[Row]) -> None:
    poses = _by_key(facts["poseintrajectoryoftoken"], "token_id")
    tokens = _by_key(facts["token"], "phoneId")
    expected = {}
    for report in facts["report"]:
        row = oracle.report_info(report["reportInfo"], facts["busv2"])
        if row is None:
            continue
        user = (row["userLongitude"], row["userLatitude"])
        own = oracle.Facts({"token": tokens[report["phoneId"]]}, {})
        is_bus = row["reportType"] == "bus"
        expected[report["id"]] = row | {
            "zonification_id": oracle.zone(user if user[0] is not None else None, facts),
            "direction": oracle.direction(report, own, poses) if is_bus else None,
            "transformed": True,
        }
    found = {
        row.pop("report_id"): {name: row[name] for name in row if name != "id"} for row in infos
    }
    assert found == expected
    assert len(infos) == len(expected) > 1000
