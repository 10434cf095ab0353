"""Run launcher of a simulation: it records each run as a success, and the windows that it made.

What is measured is the daemon. A real run of 3 to 5 processor seconds for each pair and window
would take more than the machine has, and is measured by `benchmarks.empty_windows`. A run of a
window ends after the window, as a real one does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Timer
from typing import Any, Self

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import ConfigurableClassData, LaunchRunContext

_WINDOW = timedelta(minutes=5)
_KEY = "%Y-%m-%dT%H:%MZ"


class RecordedRunLauncher(dg.DefaultRunLauncher):
    """Launches nothing."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> Self:  # noqa: ANN401  as its base
        """Make the launcher; Dagster calls this."""
        del config_value
        return cls(inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Record that the run has started, and its success when its newest window has ended."""
        run = context.dagster_run
        self._record(run, dg.DagsterEventType.PIPELINE_START)
        newest = run.tags.get("dagster/asset_partition_range_end")
        left = _parsed(newest) + _WINDOW - datetime.now(UTC) if newest else timedelta(0)
        timer = Timer(max(left.total_seconds(), 0), self._end, [run])
        timer.daemon = True
        timer.start()

    def _end(self, run: dg.DagsterRun) -> None:
        pair, first = (
            run.tags.get("ar_sync/pair"),
            run.tags.get("dagster/asset_partition_range_start"),
        )
        if pair is not None and first is not None:
            window = _parsed(first)
            while window <= _parsed(run.tags["dagster/asset_partition_range_end"]):
                key = dg.AssetKey([pair, "partial", "archive"])
                made = dg.AssetMaterialization(key, partition=window.strftime(_KEY))
                self._instance.report_runless_asset_event(made)
                window += _WINDOW
        self._record(run, dg.DagsterEventType.PIPELINE_SUCCESS)

    def _record(self, run: dg.DagsterRun, kind: dg.DagsterEventType) -> None:
        event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
        self._instance.report_dagster_event(event, run_id=run.run_id)


def _parsed(key: str) -> datetime:
    return datetime.strptime(f"{key}+0000", f"{_KEY}%z")
