"""When a finding is new, and after which pauses between two ticks it has to settle again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.operations.check_evaluation import (
    NO_MAIL_BEFORE,
    evaluation_of,
    unchanged_since,
)
from ar_sync_pipeline.operations.standing_check import (
    INTERRUPTION,
    Evaluation,
    doublings,
    standing_check_sensor,
)

SPEC = dg.AssetCheckSpec("rows_are_transformed", asset="rows")
SETTLES = timedelta(minutes=20)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        yield made


def _at(now: datetime) -> datetime:
    return now


def mailed_from(
    instance: dg.DagsterInstance,
    seconds: int,
    *ticks: datetime,
    interruption: timedelta = INTERRUPTION,
) -> datetime:
    """Return from when a failure is mailed after ticks of a sensor with this interval."""
    found = dg.AssetCheckResult(passed=False, asset_key=SPEC.asset_key, check_name=SPEC.name)
    cursor, due = None, None
    for now in ticks:
        sensor = standing_check_sensor(
            [SPEC],
            lambda _instance, _repository: [Evaluation(found, settles=SETTLES)],
            partial(_at, now),
            name="untransformed_rows",
            description="Looks.",
            interval_seconds=seconds,
            interruption=interruption,
        )
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            answer = sensor(context)
        assert isinstance(answer, dg.SensorResult)
        (event,) = answer.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        cursor, due = answer.cursor, event.metadata[NO_MAIL_BEFORE].value
    return datetime.fromtimestamp(float(str(due)), UTC)


def test_failed_tick_of_a_slow_sensor_is_no_interruption(instance: dg.DagsterInstance) -> None:
    due = mailed_from(instance, 300, NOON, NOON + 11 * MINUTE, NOON + 22 * MINUTE)
    assert due == NOON + SETTLES


@pytest.mark.parametrize(("seconds", "pause"), [(60, 11), (300, 16)])
def test_pause_of_several_ticks_is_an_interruption(
    instance: dg.DagsterInstance, seconds: int, pause: int
) -> None:
    back = NOON + pause * MINUTE
    assert mailed_from(instance, seconds, NOON, back) == back + SETTLES


@pytest.mark.parametrize(("minutes", "settles_again"), [(3, False), (4, True)])
def test_shorter_pause_is_an_interruption_of_a_check_that_fails_sooner(
    instance: dg.DagsterInstance, minutes: int, *, settles_again: bool
) -> None:
    back = NOON + minutes * MINUTE
    due = mailed_from(instance, 60, NOON, back, interruption=2 * MINUTE)
    assert due == (back if settles_again else NOON) + SETTLES


@pytest.mark.parametrize(
    ("parts", "is_new"),
    [
        ({"a", "b"}, False),
        ({"a"}, False),
        ({"a", "b", "c"}, True),
        ({"c"}, True),
        (set[str](), False),
    ],
)
def test_only_what_was_not_found_before_makes_a_finding_new(
    instance: dg.DagsterInstance, parts: set[str], *, is_new: bool
) -> None:
    assert (times_of(instance, {"a", "b"}, parts) == {NOON, NOON + MINUTE}) is is_new


def test_part_that_comes_back_is_new(instance: dg.DagsterInstance) -> None:
    assert len(times_of(instance, {"a", "b"}, {"a"}, {"a", "b"})) == 2


@pytest.mark.parametrize(("passed", "name"), [(True, "passes_since"), (False, "unchanged_since")])
def test_time_of_a_check_that_passes_is_not_named_as_that_of_its_message(
    *, passed: bool, name: str
) -> None:
    """`unchanged_since` was older than the message, even than the time in it."""
    result = dg.AssetCheckResult(passed=passed, asset_key=SPEC.asset_key, check_name=SPEC.name)
    event = evaluation_of(Evaluation(result).with_times(NOON, NOON))
    assert {*event.metadata} == {name}
    assert unchanged_since(event) == NOON


def test_evaluation_that_an_earlier_version_wrote_is_replaced_too() -> None:
    since = {"unchanged_since": dg.MetadataValue.timestamp(NOON)}
    result = dg.AssetCheckResult(
        passed=True, asset_key=SPEC.asset_key, check_name=SPEC.name, metadata=since
    )
    assert unchanged_since(evaluation_of(result)) == NOON


def test_size_is_new_when_it_has_doubled() -> None:
    assert doublings("rows", 12) == doublings("rows", 15) < doublings("rows", 16)
    assert doublings("rows", 0) == doublings("rows", 1) == {"rows 1"}


def times_of(instance: dg.DagsterInstance, *news: set[str]) -> set[datetime | None]:
    """Return since when each of successive ticks says that its finding is unchanged."""
    failed = dg.AssetCheckResult(passed=False, asset_key=SPEC.asset_key, check_name=SPEC.name)
    cursor, found = None, set()
    for minute, parts in enumerate(news):
        sensor = standing_check_sensor(
            [SPEC],
            partial(_found, Evaluation(failed, frozenset(parts))),
            partial(_at, NOON + minute * MINUTE),
            name="untransformed_rows",
            description="Looks.",
        )
        with dg.build_sensor_context(instance, cursor=cursor) as context:
            answer = sensor(context)
        assert isinstance(answer, dg.SensorResult)
        (event,) = answer.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        found.add(unchanged_since(event))
        cursor = answer.cursor
    return found


def _found(one: Evaluation, *_: object) -> list[Evaluation]:
    return [one]
