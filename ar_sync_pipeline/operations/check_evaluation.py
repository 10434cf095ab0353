"""A check's result as an event, for where Dagster does not make it of the result itself."""

from collections.abc import Mapping

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import (
    AssetCheckEvaluationTargetMaterializationData,
)

NO_MAIL_BEFORE = "no_mail_before"
"""Metadata of a failed evaluation that is shown at once and mailed only if it lasts."""

ERROR = "error"
"""Metadata of a failed step, or of an evaluation that could not be made: the error's code."""

_EXPLAINED_BY = "explained_by"


def check_label(key: dg.AssetCheckKey) -> str:
    """A check as people call it, with its asset."""
    return f"{key.asset_key.to_user_string()}: {key.name}"


def explained_by(asset: dg.AssetKey, *names: str) -> dict[str, str]:
    """Metadata of a step's failure that only repeats what checks of an asset have found."""
    labels = (check_label(dg.AssetCheckKey(asset, name)) for name in names)
    return {_EXPLAINED_BY: ", ".join(labels)}


def explaining_checks(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Labels of the checks that say why a step failed; none where the step says it itself."""
    return tuple(filter(None, metadata.get(_EXPLAINED_BY, "").split(", ")))


def evaluation_of(
    result: dg.AssetCheckResult,
    *,
    blocking: bool = False,
    target: AssetCheckEvaluationTargetMaterializationData | None = None,
) -> dg.AssetCheckEvaluation:
    """What a step logs, or a sensor reports, of a check that nobody was asked to run.

    Args:
        blocking: as the check's specification says.
        target: the materialization that the result is about; by default the newest one.

    Raises:
        ValueError: the result does not name its asset and its check.
    """
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a result that is no step's own names its asset and its check")
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey.from_coercible(result.asset_key),
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=target,
        severity=result.severity,
        description=result.description,
        blocking=blocking,
    )
