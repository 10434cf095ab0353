"""Report of a run of the built-in rules: names and counts of its results.

This module does not import the rules, which need pandas, so a report can be shown without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ar_sync_pipeline.transform.rejected_rows import Severity

STOP_POINTS: Final = "stop points"
PLATES: Final = "plates"
TIME_PERIOD: Final = "time period"
HALF_HOUR: Final = "half hour"
ZONE: Final = "zone"
DIRECTION: Final = "direction"
NEAREST_STOPS: Final = "nearest stops"
REPORT_INFO_STEP: Final = "report info"
WRITE: Final = "write"
RULES: Final = "rules"
"""Step of a row on which the rules fail for a reason that they do not foresee."""

RESULTS: Final = (
    STOP_POINTS, PLATES, TIME_PERIOD, HALF_HOUR, ZONE, DIRECTION, NEAREST_STOPS, REPORT_INFO_STEP,
)  # fmt: skip
"""Names of the results in `TransformReport.rows`."""


@dataclass(frozen=True)
class TransformReport:
    """Result of a run.

    Attributes:
        handled: Number of handled rows by table.
        rows: Number of rows by result.
        rejected: Number of rows by step, severity and reason.
        seconds: Duration by step.
        batches: Number of committed transactions.
    """

    handled: Mapping[str, int]
    rows: Mapping[str, int]
    rejected: Mapping[tuple[str, Severity, str], int]
    seconds: Mapping[str, float]
    batches: int
