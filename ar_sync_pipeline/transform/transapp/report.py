"""What a run of the built-in rules tells: its results by their names, and how they are counted.

Apart from the rules themselves, which need pandas: whoever only shows a report does without.
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

RESULTS: Final = (
    STOP_POINTS, PLATES, TIME_PERIOD, HALF_HOUR, ZONE, DIRECTION, NEAREST_STOPS, REPORT_INFO_STEP,
)  # fmt: skip
"""The names under which `TransformReport.rows` counts."""


@dataclass(frozen=True)
class TransformReport:
    """What a run did.

    Attributes:
        handled: rows per table.
        rows: rows that got a result, per result.
        rejected: rows per step, severity and reason.
        seconds: per step.
        batches: transactions committed.
    """

    handled: Mapping[str, int]
    rows: Mapping[str, int]
    rejected: Mapping[tuple[str, Severity, str], int]
    seconds: Mapping[str, float]
    batches: int
