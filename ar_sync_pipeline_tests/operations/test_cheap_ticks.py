"""Costs of a daemon over many pairs: ticks, and queries of Dagster's storage in each tick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from sqlalchemy import Engine, event

from ar_sync_pipeline_tests.fix_dagster import Deployment

_MOST_TICKS_A_MINUTE = 9


@contextmanager
def statements() -> Iterator[list[str]]:
    """Return all queries of Dagster's storage; the product's own queries do not use SQLAlchemy."""
    found: list[str] = []

    def note(*call: object) -> None:
        found.append(str(call[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def context(instance: dg.DagsterInstance, location: str) -> dg.SensorEvaluationContext:
    """Return the context of a sensor's tick, as the daemon requests it from a code server."""
    return dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        instance=instance,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        repository_name="__repository__",
        code_location_origin=RegisteredCodeLocationOrigin(location),
    )


@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_empty_spool_asks_nothing_of_the_storage(deployment: Deployment, kind: str) -> None:
    sensor = deployment.receiver_definitions().resolve_sensor_def(f"new_{kind}_archives")
    home = str(deployment.home)
    with dg.DagsterInstance.from_config(home) as instance, statements() as asked:
        answer = sensor(context(instance, "receiver"))
    assert isinstance(answer, dg.SkipReason)
    assert asked == []


def test_alerts_of_a_pair_do_not_look_at_the_ticks_of_the_others(deployment: Deployment) -> None:
    sensor = deployment.receiver_definitions().resolve_sensor_def("receiver_alerts")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        counts = []
        for other in (0, 30):
            for number in range(other):
                add_sensor(instance, f"city_{number}", "receiver_alerts")
            with statements() as asked:
                sensor(context(instance, "receiver"))
            counts.append(len(asked))
    assert counts[0] == counts[1]


def add_sensor(instance: dg.DagsterInstance, location: str, name: str) -> None:
    """Add a sensor of another code location that has run."""
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), name
    )
    instance.add_instigator_state(
        InstigatorState(
            origin,
            InstigatorType.SENSOR,
            InstigatorStatus.RUNNING,
            SensorInstigatorData(),
        )
    )


def test_ticks_of_a_pair_follow_its_windows(deployment: Deployment) -> None:
    def ticks() -> float:
        return sum(
            60 / (sensor.minimum_interval_seconds or 30)
            for definitions in (deployment.sender_definitions(), deployment.receiver_definitions())
            for sensor in definitions.get_repository_def().sensor_defs
        )

    deployment.change_both({"AR_SYNC_PARTIAL_INTERVAL": "1"})
    quick = ticks()
    deployment.change_both({"AR_SYNC_PARTIAL_INTERVAL": "5"})
    assert ticks() < min(quick, _MOST_TICKS_A_MINUTE)
