"""Checks of what grows old while nothing runs: a sensor looks, and writes what is news.

A tick starts no run. It writes an evaluation where the verdict is another than the last recorded
one, or where the reason or the age has changed much; so the event log does not grow by the minute.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord

from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_evaluation import evaluation_of

_INTERVAL_SECONDS = 60


@dataclass(frozen=True)
class Look:
    """What one look has found.

    Attributes:
        result: with asset key, name and sentence.
        news: another text than at the last look makes the result worth writing once more.
    """

    result: dg.AssetCheckResult
    news: str = ""


def standing_check(
    spec: dg.AssetCheckSpec, look: Callable[[dg.DagsterInstance], Look]
) -> dg.AssetChecksDefinition:
    """The check itself, which an operator may also execute from the UI."""

    @dg.multi_asset_check(name=f"{spec.name}_check", specs=[spec])
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with operator_errors():
            yield look(context.instance).result

    return check


def standing_check_sensor(
    spec: dg.AssetCheckSpec,
    look: Callable[[dg.DagsterInstance], Look],
    *,
    name: str,
    description: str,
) -> dg.SensorDefinition:
    """Looks every minute, whether anything runs or not."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        description=f"{description} Starts nothing: it writes the result of the check"
        f" `{spec.name}` when that has changed.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def standing(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            found = look(context.instance)
        except TransientError as error:
            return dg.SkipReason(f"No look was possible. {error}")
        except ArSyncError as error:
            found = Look(_cannot_tell(spec, error), str(error))
        news = f"{found.result.passed} {found.news}"
        if (
            news == context.cursor
            and recorded_verdict(context.instance, spec) == found.result.passed
        ):
            return dg.SkipReason(found.result.description or "All is well, as at the last look.")
        return dg.SensorResult(
            asset_events=[evaluation_of(found.result, blocking=spec.blocking)], cursor=news
        )

    return standing


def _cannot_tell(spec: dg.AssetCheckSpec, error: ArSyncError) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=spec.asset_key, check_name=spec.name, passed=False, description=str(error)
    )


def recorded_verdict(instance: dg.DagsterInstance, spec: dg.AssetCheckSpec) -> bool | None:
    """The verdict that people see now, whoever wrote it; None if they see none.

    They see the last record only. It shows nothing where a run has planned the check and not, or
    never, come to it; and where it is older than the asset, since it then says nothing of what was
    materialized after it. Both happen to what a sensor writes while a run is at work.
    """
    record = instance.get_latest_asset_check_evaluation_record(spec.key)
    found = record.evaluation if record else None
    if record is None or not isinstance(found, dg.AssetCheckEvaluation):
        return None
    made = instance.fetch_materializations(spec.asset_key, limit=1).records
    return found.passed if not made or _is_of(record, found, made[0]) else None


def _is_of(
    record: AssetCheckExecutionRecord, found: dg.AssetCheckEvaluation, made: dg.EventLogRecord
) -> bool:
    """Whether Dagster shows an evaluation beside this materialization, by its own rules."""
    if record.run_id == made.event_log_entry.run_id:
        return True
    target = found.target_materialization_data
    if target is None:
        return record.create_timestamp > made.timestamp
    return target.storage_id == made.storage_id
