"""Sample stage A compared with the results of the old system: equal, or different by a rule's word.

The old system's steps are written down as they were observed to work; where a rule departs from
one, the difference is counted, so that nothing differs unnoticed.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import shapely

from ar_sync_pipeline_tests.transform import oracle
from ar_sync_pipeline_tests.transform.receiver import Receiver, Row

KINDS = {
    "eventforbusv2": "stadisticdatafromregistrationbus",
    "eventforbusstop": "stadisticdatafromregistrationbusstop",
}


@pytest.fixture
def facts(sample_receiver: Receiver) -> oracle.Facts:
    """The sample, transformed."""
    sample_receiver.transform(batch_rows=5000)
    facts = oracle.read_facts(sample_receiver.url)
    facts.tables["reportinfo"] = sample_receiver.rows("reportinfo")
    return facts


@pytest.mark.long
def test_sample_agrees_with_the_old_system_wherever_the_rules_do_not_say_otherwise(
    facts: oracle.Facts,
) -> None:
    _compare_times(facts)
    _compare_zones(facts)
    _compare_stops(facts)
    _compare_reports(facts)


def _compare_times(facts: oracle.Facts) -> None:
    """Step 3 is equal everywhere; step 1 read UTC, which was seen to differ 4,150 times (D24)."""
    differing = 0
    for table in KINDS:
        for event in facts[table]:
            created = event["timeCreation"]
            assert event["halfHourPeriod_id"] == oracle.half_hour(created, facts["halfhourperiod"])
            differing += event["timePeriod_id"] != _old_period(created, facts["timeperiod"])
    assert differing == 4150


def _old_period(created: datetime, periods: list[Row]) -> int | None:
    utc = created.astimezone(UTC)
    day_type = {5: "Sábado", 6: "Domingo"}.get(utc.weekday(), "Laboral")
    now = utc.replace(microsecond=0, tzinfo=None).time()
    return next(
        (
            row["id"]
            for row in periods
            if row["day_type"] == day_type and row["initial_time"] <= now <= row["end_time"]
        ),
        None,
    )


def _compare_zones(facts: oracle.Facts) -> None:
    """Step 5 took whichever zone came first; 17 events lie in more than one."""
    ambiguous = 0
    zones = [(key, facts.shapes[key]) for key in sorted(facts.shapes)]
    tree = shapely.STRtree([shape for _, shape in zones])
    for table in KINDS:
        positions = _positions(facts, table)
        found: dict[int, list[int]] = defaultdict(list)
        events = list(positions)
        points = shapely.points([positions[key] for key in events])
        for event, zone in zip(*tree.query(points, predicate="intersects"), strict=True):
            found[events[event]].append(zones[zone][0])
        for event in facts[table]:
            own = found[event["id"]]
            ambiguous += len(own) > 1
            assert event["zonification_id"] == min(own, default=None)
    assert ambiguous == 17


def _compare_stops(facts: oracle.Facts) -> None:
    """Step 7 measured in plain degrees: where it chose another stop, ours is nearer on foot.

    It failed on two GTFS versions (D5), so it is given the newest one alone.
    """
    stops = oracle.newest_stops(facts)
    places = np.array([_place(stop) for stop in stops])
    by_code = {stop["code"]: _place(stop) for stop in stops}
    positions, events = _positions(facts, "eventforbusv2"), facts["eventforbusv2"]
    differing = 0
    for event in events:
        if event["id"] not in positions:
            continue
        here = positions[event["id"]]
        order = np.argsort(np.hypot(*(places - here).T), kind="stable")[:20]
        old = list(dict.fromkeys(stops[index]["code"] for index in order))[:2]
        ours = [event["busStop1"], event["busStop2"]]
        if ours == old:
            continue
        differing += 1
        walks = [
            [oracle.ground_m(*here, *by_code[code]) for code in codes] for codes in (ours, old)
        ]
        assert walks[0] < walks[1], event["id"]
    # 17 % of distortion changes the order for some, never for most.
    assert 0 < differing < len(events) / 4


def _compare_reports(facts: oracle.Facts) -> None:
    r"""Step 4 cut two characters off a person's position: correct after ``\/`` alone (D26)."""
    infos = {row["report_id"]: row for row in facts["reportinfo"]}
    agreeing = 0
    for report in facts["report"]:
        info, location = infos.get(report["id"]), oracle.user_location(report["reportInfo"])
        old = _old_position(location) if location else None
        if info is None or old is None:
            continue
        agreeing += 1
        assert (info["userLatitude"], info["userLongitude"]) == old, report["id"]
    assert agreeing > 100


def _old_position(location: tuple[str, str]) -> tuple[float, float] | None:
    if not all(text.startswith("\\/") for text in location):
        return None
    try:
        latitude, longitude = (float(text[2:]) for text in location)
    except ValueError:  # where the old step stopped, and all others with it (D27)
        return None
    return (latitude, longitude) if oracle.is_on_earth(longitude, latitude) else None


def _positions(facts: oracle.Facts, table: str) -> dict[int, tuple[float, float]]:
    own: dict[Any, list[Row]] = defaultdict(list)
    for statistic in facts[KINDS[table]]:
        own[statistic["reportOfEvent_id"]].append(statistic)
    found = (
        (event["id"], oracle.event_position(event, own[event["id"]])) for event in facts[table]
    )
    return {key: position for key, position in found if position is not None}


def _place(stop: Row) -> tuple[float, float]:
    return stop["longitude"], stop["latitude"]
