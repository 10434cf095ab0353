"""Adds the hooks to every step and the alert sensor to the definitions."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster_shared.record import replace

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.operations.alerts.alert_scope import SharedSteps, scope_of
from ar_sync_pipeline.operations.alerts.alert_sensor import alert_sensor
from ar_sync_pipeline.operations.alerts.problem_areas import RECEIVER_AREAS, SENDER_AREAS, Area
from ar_sync_pipeline.operations.alerts.step_hooks import step_hooks
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.alerting import open_alerts

_WITH_STEPS = (dg.AssetsDefinition, dg.JobDefinition)


def with_alerts(
    definitions: dg.Definitions,
    settings: SenderSettings | ReceiverSettings,
    clock: Clock,
    *,
    checks_of_areas: Mapping[dg.AssetCheckKey, Area] | None = None,
    muted: Mapping[dg.AssetCheckKey, str],
    proofs: Mapping[str, str] | None = None,
    shared: SharedSteps = SharedSteps(),  # noqa: B008  immutable
) -> dg.Definitions:
    """Return the same definitions, with the hooks and the alert sensor.

    The hooks are on the steps and not on the jobs, because a run that the UI or a backfill starts
    has no job.

    Args:
        definitions: Definitions of a code location.
        settings: Settings of its side.
        clock: Returns the current time.
        checks_of_areas: Checks that evaluate what several jobs depend on.
        muted: Checks that also fail because of another problem, with the key of that cause.
        proofs: Steps that succeed only if a cause works, with the key of that cause.
        shared: Steps of which some runs do only a part.
    """
    alerts = open_alerts(settings, clock)
    areas = SENDER_AREAS if isinstance(settings, SenderSettings) else RECEIVER_AREAS
    scope = scope_of(
        PairNames(settings.pair).name(alerts.side),
        definitions,
        areas,
        checks_of_areas=checks_of_areas or {},
        muted=muted,
        proofs=proofs or {},
        docs_url=settings.docs_url,
    )
    scope = dataclasses.replace(scope, shared=shared)
    hooks = step_hooks(scope, alerts)
    return replace(
        definitions,
        assets=[_hooked(asset, hooks) for asset in definitions.assets or ()],
        asset_checks=[_hooked(check, hooks) for check in definitions.asset_checks or ()],
        jobs=[_hooked(job, hooks) for job in definitions.jobs or ()],
        sensors=[*(definitions.sensors or ()), alert_sensor(scope, alerts)],
    )


def report_warnings(settings: SenderSettings | ReceiverSettings) -> None:
    """Log the warnings about the settings in the process that loads this code location."""
    of_pair = f"{settings.pair}: " if settings.pair else ""
    for warning in settings.warnings:
        dg.get_dagster_logger("ar_sync").warning("%s%s", of_pair, warning)


def _hooked(found: object, hooks: set[dg.HookDefinition]) -> Any:  # noqa: ANN401  what Definitions takes, of many types
    """Add the hooks to a definition with steps; the specification of an external asset has none.

    A job over assets has no other steps than theirs.
    """
    return found.with_hooks(hooks) if isinstance(found, _WITH_STEPS) else found
