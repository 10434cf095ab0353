"""Sensors that cannot read the spool say so in their ticks, and nothing else."""

from __future__ import annotations

import sys

import dagster as dg
import pytest
from dagster._core.errors import SensorExecutionError, user_code_error_boundary
from dagster._utils.error import serializable_error_info_from_exc_info

from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline_tests.fix_sites import TwoSites


@pytest.mark.parametrize("name", ["new_partial_archives", "new_complete_archives"])
def test_tick_shows_the_message_without_a_traceback(small_sites: TwoSites, name: str) -> None:
    """The class stays known: by it the alert is one with what else fails by the spool."""
    folder = small_sites.spool / name.split("_")[1]
    if folder.exists():
        folder.rmdir()
    folder.touch()
    sensor = receiver_definitions(small_sites.settings).resolve_sensor_def(name)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance) as context,
        pytest.raises(dg.DagsterError),
    ):
        try:
            # As the code server evaluates a tick.
            with user_code_error_boundary(SensorExecutionError, lambda: "a wrapper"):
                sensor.evaluate_tick(context)
        except dg.DagsterError:
            shown = serializable_error_info_from_exc_info(sys.exc_info())
            raise
    assert (shown.stack, shown.cause, shown.context) == ([], None, None)
    assert shown.cls_name is not None
    assert shown.cls_name.startswith("Spool")
    assert str(folder) in shown.to_string()
