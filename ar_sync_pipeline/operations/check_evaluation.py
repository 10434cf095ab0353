"""A check's result as an event, for where Dagster does not make it of the result itself."""

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

NO_MAIL_BEFORE = "no_mail_before"
"""Metadata of a failed evaluation that is shown at once and mailed only if it lasts."""

ERROR = "error"
"""Metadata of an evaluation that could not be made: the name of the error's class."""


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
