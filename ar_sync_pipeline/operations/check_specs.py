"""Specifications of checks: what a check promises, what to do if it fails, and where to read on.

The UI shows them as one description. Mails take each from the metadata.
"""

import dagster as dg

from ar_sync_pipeline.operations.check_evaluation import PAGE, REMEDY
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


def meaning_of(spec: dg.AssetCheckSpec) -> str:
    """Return what is so while a check passes."""
    return str(spec.metadata[_MEANING])


def remedy_of(spec: dg.AssetCheckSpec) -> str:
    """Return what to do if a check fails, whatever it finds."""
    return str(spec.metadata[REMEDY])


def page_of(spec: dg.AssetCheckSpec) -> str:
    """Return the name of the runbook page of a check."""
    return str(spec.metadata[PAGE])
