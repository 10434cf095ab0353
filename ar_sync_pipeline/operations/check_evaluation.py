"""Check results as events, for places where Dagster does not convert the result itself."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg

from ar_sync_pipeline.clock import from_epoch
from ar_sync_pipeline.operations.dagster_internals import (
    AssetCheckEvaluationTargetMaterializationData,
)
from ar_sync_pipeline.package_files import runbook_text

NO_MAIL_BEFORE = "no_mail_before"
"""Metadata of a failed evaluation that is shown at once and mailed only if it lasts."""

ERROR = "error"
"""Metadata of a failed step, or of an evaluation that fails by an error: the error's code."""

OF_CONNECTION = "refused_connection"
"""Metadata of a failed step to which a server refused the connection, whatever the work."""

REMEDY = "remedy"
"""Metadata of a failed evaluation: what to do about this finding; its message may end with it."""

PAGE = "runbook_page"
"""Metadata of a failed evaluation: name of the runbook page about this finding."""

UNCHANGED_SINCE = "unchanged_since"
"""Metadata of a failed evaluation that repeats a finding: when it was first made, counts once."""

PASSES_SINCE = "passes_since"
"""Metadata of an evaluation that passes again: the first one's time; its message may have changed.

Earlier versions wrote it as `UNCHANGED_SINCE`."""

EXAMINED_AT = "examined_at"
"""Metadata of an evaluation that may be recorded again without an examination: its own time."""

NOT_EXAMINED_SINCE = "not_examined_since"
"""Metadata of an evaluation that keeps earlier findings: since when nothing could examine them."""

CAUSE = "incident"
"""Metadata of a failed evaluation that needs a mail of its own, whatever else the check found."""

_PARTS = "incidents"
_DESCRIPTION = "description"

_EXPLAINED_BY = "explained_by"


def unchanged_since(evaluation: dg.AssetCheckEvaluation) -> datetime | None:
    """Return when the finding of an evaluation was first made; None if it repeats none."""
    since = _time(evaluation, PASSES_SINCE) if evaluation.passed else None
    return since or _time(evaluation, UNCHANGED_SINCE)


def since_name(*, passed: bool) -> str:
    """Return the name of the metadata that `unchanged_since` reads."""
    return PASSES_SINCE if passed else UNCHANGED_SINCE


def examined_at(evaluation: dg.AssetCheckEvaluation) -> datetime | None:
    """Return when an evaluation was found; None if that is when it was recorded."""
    return _time(evaluation, EXAMINED_AT)


def _time(evaluation: dg.AssetCheckEvaluation, name: str) -> datetime | None:
    value = evaluation.metadata.get(name)
    if not isinstance(value, dg.TimestampMetadataValue):
        return None
    return from_epoch(value.value)


def with_page(result: dg.AssetCheckResult, name: str) -> dg.AssetCheckResult:
    """Return a result that, if it fails, shows the runbook page: the UI opens it in place."""
    if result.passed:
        return result
    page = {PAGE: dg.MetadataValue.text(name), "runbook": dg.MetadataValue.md(runbook_text(name))}
    return result._replace(metadata={**(result.metadata or {}), **page})


def with_parts(
    result: dg.AssetCheckResult, parts: Iterable[dg.AssetCheckResult]
) -> dg.AssetCheckResult:
    """Return a failed result that is mailed in parts, since its findings have several causes."""
    told = [{_DESCRIPTION: part.description, **_told(part.metadata or {})} for part in parts]
    metadata = {**(result.metadata or {}), _PARTS: dg.MetadataValue.json(told)}
    return result._replace(metadata=metadata)


def parts_of(evaluation: dg.AssetCheckEvaluation) -> Sequence[dg.AssetCheckEvaluation] | None:
    """Return the parts of an evaluation, which are all that it found; None if it has none."""
    parts = evaluation.metadata.get(_PARTS)
    if not isinstance(parts, dg.JsonMetadataValue) or not isinstance(parts.data, list):
        return None
    return [_part(evaluation, dict(part)) for part in parts.data]


def _told(metadata: Mapping[str, Any]) -> dict[str, str | float]:
    return {
        name: getattr(metadata[name], "value", metadata[name])
        for name in (CAUSE, REMEDY, PAGE, NO_MAIL_BEFORE)
        if name in metadata
    }


def _part(evaluation: dg.AssetCheckEvaluation, told: dict[str, Any]) -> dg.AssetCheckEvaluation:
    due = told.pop(NO_MAIL_BEFORE, None)
    times = {} if due is None else {NO_MAIL_BEFORE: dg.MetadataValue.timestamp(float(due))}
    return dg.AssetCheckEvaluation(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=False,
        severity=evaluation.severity,
        description=told.pop(_DESCRIPTION, None),
        metadata={**told, **times},
    )


def check_label(key: dg.AssetCheckKey) -> str:
    """Return the display name of a check, with its asset."""
    return f"{key.asset_key.to_user_string()}: {key.name}"


def common_remedy(remedies: Iterable[str]) -> dict[str, str]:
    """Return metadata with the remedy of all findings of a check; none if they differ."""
    different = set(remedies)
    return {REMEDY: different.pop()} if len(different) == 1 else {}


def explained_by(asset: dg.AssetKey, *names: str) -> dict[str, str]:
    """Return metadata for a step failure that only repeats the findings of an asset's checks."""
    labels = (check_label(dg.AssetCheckKey(asset, name)) for name in names)
    return {_EXPLAINED_BY: ", ".join(labels)}


def explaining_checks(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the labels of the checks that explain a step failure; none if the step explains it."""
    return tuple(filter(None, metadata.get(_EXPLAINED_BY, "").split(", ")))


def key_of(result: dg.AssetCheckResult) -> dg.AssetCheckKey:
    """Return the key of the check of a result that no step yields.

    Raises:
        ValueError: The result does not name its asset and its check.
    """
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a result that is no step's own names its asset and its check")
    return dg.AssetCheckKey(dg.AssetKey.from_coercible(result.asset_key), result.check_name)


def evaluation_of(
    result: dg.AssetCheckResult,
    *,
    blocking: bool = False,
    target: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> dg.AssetCheckEvaluation:
    """Return the event of a check result that no run was asked for, for a step or a sensor.

    Args:
        blocking: Value in the specification of the check.
        target: Materialization that the result is about; by default the newest one.

    Raises:
        ValueError: The result does not name its asset and its check.
    """
    key = key_of(result)
    return dg.AssetCheckEvaluation(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=target,
        severity=result.severity,
        description=result.description,
        blocking=blocking,
    )


def result_of(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    """Return the check result of an event, to record it again; see `evaluation_of`."""
    return dg.AssetCheckResult(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )
