"""Specifications of checks: what a check promises, what to do if it fails, and where to read on.

The UI shows them as one description. Mails take each from the metadata.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.check_evaluation import PAGE, REMEDY, with_page
from ar_sync_pipeline.package_files import see

_MEANING = "meaning"


def check_spec(
    name: str,
    key: dg.AssetKey,
    *,
    meaning: str,
    remedy: str,
    page: str,
    blocking: bool = False,
) -> dg.AssetCheckSpec:
    """Return the specification of a check.

    Args:
        name: Name of the check.
        key: Asset of the check.
        meaning: What is so while it passes, without a final full stop.
        remedy: What to do if it fails, without a final full stop.
        page: Name of the runbook page.
        blocking: Whether a failure skips the steps after it.
    """
    return dg.AssetCheckSpec(
        name,
        asset=key,
        description=f"{meaning}. If not: {remedy}.{see(page)}",
        blocking=blocking,
        metadata={_MEANING: meaning, REMEDY: remedy, PAGE: page},
    )


def result_for(
    spec: dg.AssetCheckSpec,
    *,
    passed: bool,
    description: str,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    metadata: Mapping[str, Any] | None = None,
    page: str | None = None,
) -> dg.AssetCheckResult:
    """Return a result of a check, with the runbook page if it fails.

    Args:
        spec: Specification of the check.
        passed: Whether it passes.
        description: What was found, as one message.
        severity: Severity if it fails.
        metadata: Metadata of the result.
        page: Name of the page about this finding, if it is not that of the check.
    """
    result = dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=passed,
        severity=severity,
        description=description,
        metadata=metadata,
    )
    return with_page(result, page or page_of(spec))


def meaning_of(spec: dg.AssetCheckSpec) -> str:
    """Return what is so while a check passes."""
    return str(spec.metadata[_MEANING])


def remedy_of(spec: dg.AssetCheckSpec) -> str:
    """Return what to do if a check fails, whatever it finds."""
    return str(spec.metadata[REMEDY])


def page_of(spec: dg.AssetCheckSpec) -> str:
    """Return the name of the runbook page of a check."""
    return str(spec.metadata[PAGE])
