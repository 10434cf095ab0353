"""Findings of the newest evaluations of a side's asset checks."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import dagster as dg
from pydantic import BaseModel, Field

from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.clock import from_epoch
from ar_sync_pipeline.operations.alerts.alert_scope import AlertScope
from ar_sync_pipeline.operations.alerts.problem_areas import Area
from ar_sync_pipeline.operations.check_evaluation import (
    CAUSE,
    ERROR,
    NO_MAIL_BEFORE,
    PAGE,
    REMEDY,
    check_label,
    examined_at,
    parts_of,
    unchanged_since,
)
from ar_sync_pipeline.operations.check_specs import meaning_of, page_of, remedy_of
from ar_sync_pipeline.operations.dagster_internals import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES,
    AssetCheckExecutionRecord,
)

# A check is evaluated at most every few minutes, and the sensor reads it every minute.
_LOOK_BACK = 20


class EvaluationsSeen(BaseModel):
    """The newest evaluation of each check that was read.

    Attributes:
        at: Newest time of an evaluation.
        ids: Id of its record, which counts where the clock was set back; older cursors have none.
    """

    at: dict[str, float] = Field(default_factory=dict)
    ids: dict[str, int] = Field(default_factory=dict)

    def has(self, name: str, record: AssetCheckExecutionRecord) -> bool:
        """Return whether an evaluation of a check was read.

        A run evaluates the record that it planned: a record with a lower id may have a later time.
        """
        known = record.event is None or record.event.timestamp <= self.at.get(name, 0)
        return known and record.id <= self.ids.get(name, record.id)


def check_findings(
    instance: dg.DagsterInstance, scope: AlertScope, seen: EvaluationsSeen
) -> tuple[list[Problem | Success], EvaluationsSeen]:
    """Return every evaluation since the last tick, and which evaluations were read.

    Args:
        instance: Dagster instance.
        scope: Definitions of the side.
        seen: Result of the last tick; only the newest evaluation counts for a check without an
            entry.
    """
    findings: list[Problem | Success] = []
    newest = seen.model_copy(deep=True)
    storage = instance.event_log_storage
    summaries = storage.get_asset_check_summary_records(list(scope.checks))
    for key, summary in summaries.items():
        last, name = summary.last_completed_check_execution_record, key.to_user_string()
        if last is None or last.event is None or seen.has(name, last):
            continue
        newest.at[name] = max(last.event.timestamp, seen.at.get(name, 0))
        newest.ids[name] = max(last.id, seen.ids.get(name, 0))
        records = [last]
        if name in seen.at:
            records = list(
                storage.get_asset_check_execution_history(
                    key, limit=_LOOK_BACK, status=COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES
                )
            )
        findings += _of_records(scope, [one for one in records if not seen.has(name, one)])
    return findings, newest


def check_problems(
    scope: AlertScope,
    evaluation: dg.AssetCheckEvaluation,
    *,
    at: datetime,
    run_id: str | None,
    occurrence: str,
) -> Iterator[Problem]:
    """Yield a problem of each cause that a failed evaluation found, unless its mail is delayed."""
    parts = parts_of(evaluation)
    found = [
        (part, _problem(scope, part, at=at, run_id=run_id, occurrence=occurrence))
        for part in parts or [evaluation]
    ]
    causes = {problem.cause for _, problem in found}
    for part, problem in found:
        if _is_to_be_mailed(part, at):
            others = tuple(sorted(causes - {problem.cause}))
            is_all = problem.ends_other_causes or parts is not None
            yield replace(problem, ends_other_causes=is_all, other_causes=others)


def _problem(
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
    spec = scope.checks[key]
    area = _area(scope, evaluation)
    own = evaluation.metadata.get(REMEDY)
    # What to do about this finding is more exact than what the check says about all findings.
    remedy = str(own.value) if own is not None and own.value else remedy_of(spec)
    muted_by = scope.muted.get(key)
    cause = evaluation.metadata.get(CAUSE)
    own_area = scope.checks_of_areas.get(key)
    own_cause = str(cause.value) if cause is not None else check_source(key)
    return Problem(
        cause=area.cause if area else own_cause,
        source=check_source(key),
        occurrence=occurrence,
        at=at,
        title=area.title if area else f"check {name}",
        what=f"check {name}",
        sentence=_message(evaluation, meaning_of(spec)).removesuffix(f": {remedy}"),
        remedy=remedy,
        run_id=run_id,
        page=f"assets/{'/'.join(key.asset_key.path)}?view=checks&checkDetail={key.name}",
        # A failure of that very cause counts there; recorded again later, it is known.
        muted_by=None if area is not None and area.cause == muted_by else muted_by,
        runbook=scope.page(_page(scope, evaluation, area)),
        # With a cause of its own or an error, the check does not say what became of the others;
        # that of an area has found it to work if it fails by something after it.
        ends_other_causes=(cause is None and ERROR not in evaluation.metadata)
        if own_area is None
        else area is not own_area,
    )


def _page(scope: AlertScope, evaluation: dg.AssetCheckEvaluation, area: Area | None) -> str:
    """Return the page of the runbook about what is broken, or else that of the finding."""
    error, page = evaluation.metadata.get(ERROR), evaluation.metadata.get(PAGE)
    if area is not None and error is not None:
        return area.page_of(str(error.value))
    spec = scope.checks[evaluation.asset_check_key]
    return str(page.value) if page is not None else page_of(spec)


def _area(scope: AlertScope, evaluation: dg.AssetCheckEvaluation) -> Area | None:
    """Return what is broken if a check fails or could not be evaluated; None if it is no area."""
    error = evaluation.metadata.get(ERROR)
    if error is not None:
        return scope.areas.get(str(error.value))
    return scope.checks_of_areas.get(evaluation.asset_check_key)


def _message(evaluation: dg.AssetCheckEvaluation, meaning: str) -> str:
    """Return the message of the check, or else its meaning with the numbers that it found."""
    if evaluation.description:
        return evaluation.description.strip().rstrip(".")
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {value.value}"
        for name, value in evaluation.metadata.items()
        if isinstance(value.value, int | float)
    )
    return f"this is not so: {meaning}" + (f" ({numbers})" if numbers else "")


def check_source(key: dg.AssetCheckKey) -> str:
    """Return the check as the source of a problem."""
    return f"check:{key.to_user_string()}"


def _of_records(
    scope: AlertScope, records: list[AssetCheckExecutionRecord]
) -> Iterator[Problem | Success]:
    for record in records:
        evaluation = record.evaluation
        if record.event is None or evaluation is None:
            continue
        recorded_at = from_epoch(record.event.timestamp)
        # What is recorded again to stay shown was not found again.
        at = min(recorded_at, examined_at(evaluation) or recorded_at)
        if evaluation.passed:
            yield Success(check_source(evaluation.asset_check_key), at)
        else:
            yield from check_problems(
                scope,
                evaluation,
                at=at,
                run_id=record.run_id or None,
                occurrence=_occurrence(record, evaluation),
            )


def _is_to_be_mailed(evaluation: dg.AssetCheckEvaluation, at: datetime) -> bool:
    """Return whether a failed evaluation is mailed at this time, or not yet."""
    due = evaluation.metadata.get(NO_MAIL_BEFORE)
    return not isinstance(due, dg.TimestampMetadataValue) or at.timestamp() >= due.value


def _occurrence(record: AssetCheckExecutionRecord, evaluation: dg.AssetCheckEvaluation) -> str:
    """Return the occurrence: evaluations that repeat one finding are one."""
    since = unchanged_since(evaluation)
    if since is not None:
        return f"finding of {since.isoformat()}"
    return record.run_id or f"evaluation {record.id}"
