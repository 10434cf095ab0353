"""Findings of the newest evaluations of a side's asset checks."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg

from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.problem_areas import Area
from ar_sync_pipeline.operations.check_evaluation import (
    CAUSE,
    ERROR,
    NO_MAIL_BEFORE,
    PAGE,
    REMEDY,
    check_label,
)
from ar_sync_pipeline.operations.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
)
from ar_sync_pipeline.operations.standing_check import unchanged_since
from ar_sync_pipeline.package_files import RUNBOOK, page_of

# A check is evaluated at most every few minutes, and the sensor reads it every half minute.
_LOOK_BACK = 20
_REMEDY = "If not: "


def check_findings(
    instance: dg.DagsterInstance, scope: AlertScope, seen: Mapping[str, float]
) -> tuple[list[Problem | Success], dict[str, float]]:
    """Return every evaluation since the last tick, and when each check was evaluated last.

    Args:
        instance: Dagster instance.
        scope: Definitions of the side.
        seen: Result of the last tick; only the newest evaluation counts for a check without an
            entry.
    """
    findings: list[Problem | Success] = []
    newest = dict(seen)
    storage = instance.event_log_storage
    summaries = storage.get_asset_check_summary_records(list(scope.checks))
    for key, summary in summaries.items():
        last, name = summary.last_completed_check_execution_record, key.to_user_string()
        if last is None or last.event is None or last.event.timestamp <= seen.get(name, 0):
            continue
        newest[name] = last.event.timestamp
        records = [last]
        if name in seen:
            records = list(
                storage.get_asset_check_execution_history(
                    key, limit=_LOOK_BACK, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
                )
            )
        findings += _since(scope, key, records, seen.get(name, 0))
    return findings, newest


def check_problem(
    scope: AlertScope,
    evaluation: dg.AssetCheckEvaluation,
    *,
    at: datetime,
    run_id: str | None,
    occurrence: str,
) -> Problem:
    """Return a failed evaluation as a problem of the check, or of the area that it evaluates."""
    key = evaluation.asset_check_key
    name = check_label(key)
    full = scope.checks.get(key, "")
    description, _, _ = full.partition(RUNBOOK)
    meaning, _, remedy = description.partition(_REMEDY)
    area = _area(scope, evaluation)
    own = evaluation.metadata.get(REMEDY)
    # What to do about this finding is more exact than what the check says about all findings.
    remedy = str(own.value) if own is not None and own.value else remedy.strip().rstrip(".")
    page, cause = evaluation.metadata.get(PAGE), evaluation.metadata.get(CAUSE)
    own_cause = str(cause.value) if cause is not None else check_source(key)
    return Problem(
        cause=area.cause if area else own_cause,
        source=check_source(key),
        occurrence=occurrence,
        at=at,
        title=area.title if area else f"check {name}",
        what=f"check {name}",
        sentence=_sentence(evaluation, meaning).removesuffix(f": {remedy}"),
        remedy=remedy,
        run_id=run_id,
        page=f"assets/{'/'.join(key.asset_key.path)}?view=checks&checkDetail={key.name}",
        muted_by=scope.muted.get(key),
        runbook=scope.page(str(page.value)) if page is not None else page_of(full),
        # With a cause of its own or an error, the check does not say what became of the others.
        ends_other_causes=cause is None and ERROR not in evaluation.metadata,
    )


def _area(scope: AlertScope, evaluation: dg.AssetCheckEvaluation) -> Area | None:
    """Return what is broken if a check fails or could not be evaluated; None if it is no area."""
    error = evaluation.metadata.get(ERROR)
    if error is not None:
        return scope.areas.get(str(error.value))
    return scope.checks_of_areas.get(evaluation.asset_check_key)


def _sentence(evaluation: dg.AssetCheckEvaluation, meaning: str) -> str:
    """Return the message of the check, or else its meaning with the numbers that it found."""
    if evaluation.description:
        return evaluation.description.strip().rstrip(".")
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {value.value}"
        for name, value in evaluation.metadata.items()
        if isinstance(value.value, int | float)
    )
    return f"this is not so: {meaning.strip().rstrip('.')}" + (f" ({numbers})" if numbers else "")


def check_source(key: dg.AssetCheckKey) -> str:
    """Return the check as the source of a problem."""
    return f"check:{key.to_user_string()}"


def _since(
    scope: AlertScope,
    key: dg.AssetCheckKey,
    records: list[AssetCheckExecutionRecord],
    after: float,
) -> Iterator[Problem | Success]:
    for record in records:
        evaluation = record.evaluation
        if record.event is None or evaluation is None or record.event.timestamp <= after:
            continue
        at = datetime.fromtimestamp(record.event.timestamp, UTC)
        if evaluation.passed:
            yield Success(check_source(key), at)
        elif is_to_be_mailed(evaluation, at):
            yield check_problem(
                scope,
                evaluation,
                at=at,
                run_id=record.run_id or None,
                occurrence=record.run_id or _occurrence(record, evaluation),
            )


def is_to_be_mailed(evaluation: dg.AssetCheckEvaluation, at: datetime) -> bool:
    """Return whether a failed evaluation is mailed at this time, or not yet."""
    due = evaluation.metadata.get(NO_MAIL_BEFORE)
    return not isinstance(due, dg.TimestampMetadataValue) or at.timestamp() >= due.value


def _occurrence(record: AssetCheckExecutionRecord, evaluation: dg.AssetCheckEvaluation) -> str:
    """Return the occurrence: evaluations by a sensor are one while the finding is the same."""
    since = unchanged_since(evaluation)
    return f"finding of {since.isoformat()}" if since else f"evaluation {record.id}"
