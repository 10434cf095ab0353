"""Puts the failure hook on every step and the alert sensor beside the others."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import dagster as dg
from dagster_shared.record import replace

from ar_sync_pipeline.operations.alerts.alert_scope import scope_of
from ar_sync_pipeline.operations.alerts.alert_sensor import alert_sensor
from ar_sync_pipeline.operations.alerts.failure_hook import failure_hook
from ar_sync_pipeline.operations.alerts.problem_areas import RECEIVER_AREAS, SENDER_AREAS, Area
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.alerting import open_alerts

_WITH_STEPS = (dg.AssetsDefinition, dg.JobDefinition)


def with_alerts(
    definitions: dg.Definitions,
    settings: SenderSettings | ReceiverSettings,
    clock: Callable[[], datetime],
    *,
    checks_of_areas: Mapping[dg.AssetCheckKey, Area] | None = None,
    muted: Mapping[dg.AssetCheckKey, str] | None = None,
) -> dg.Definitions:
    """The same definitions, watched.

    The hook is on the steps and not on the jobs, since a run that the UI or a backfill starts is
    of no job.

    Args:
        checks_of_areas: checks that look at what several jobs depend on.
        muted: checks that also fail when something else does, by that cause's key.
    """
    alerts = open_alerts(settings, clock)
    areas = SENDER_AREAS if isinstance(settings, SenderSettings) else RECEIVER_AREAS
    scope = scope_of(
        PairNames(settings.pair).name(alerts.side),
        definitions,
        areas,
        checks_of_areas=checks_of_areas or {},
        muted=muted or {},
    )
    hooks = {failure_hook(scope, alerts)}
    return replace(
        definitions,
        assets=[_hooked(asset, hooks) for asset in definitions.assets or ()],
        asset_checks=[_hooked(check, hooks) for check in definitions.asset_checks or ()],
        jobs=[_hooked(job, hooks) for job in definitions.jobs or ()],
        sensors=[*(definitions.sensors or ()), alert_sensor(scope, alerts)],
    )


def report_warnings(settings: SenderSettings | ReceiverSettings) -> None:
    """Say what is allowed but unwise in the log of whatever loads this code location."""
    of_pair = f"{settings.pair}: " if settings.pair else ""
    for warning in settings.warnings:
        dg.get_dagster_logger("ar_sync").warning("%s%s", of_pair, warning)


def _hooked(found: object, hooks: set[dg.HookDefinition]) -> Any:  # noqa: ANN401  what Definitions takes, of many types
    """What runs gets the hook; a description of something outside has no steps.

    Nor has a job over assets any but theirs.
    """
    return found.with_hooks(hooks) if isinstance(found, _WITH_STEPS) else found
