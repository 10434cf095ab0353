"""The built-in rules as a postprocessor, and the metadata of a run."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.run_metadata import markdown_table
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.postprocess import run_builtin
from ar_sync_pipeline.transform.rejected_rows import Severity
from ar_sync_pipeline.transform.transapp.report import RESULTS, TransformReport


@dataclass(frozen=True)
class BuiltinPostprocessor:
    """Runs the rules that are part of the product.

    Attributes:
        site: The receiver.
        timeout_seconds: Seconds after which it stops; finished batches are kept.
    """

    site: ReceiverSite
    timeout_seconds: float

    def run(self, context: dg.AssetExecutionContext) -> Mapping[str, Any]:
        """Compute the seven results of all untransformed rows, batch by batch."""
        started = time.monotonic()
        site = self.site
        report = run_builtin(
            site.settings, site.catalog, site.clock, timeout_seconds=self.timeout_seconds
        )
        handled = sum(report.handled.values())
        context.log.info("%s rows handled in %s batches", handled, report.batches)
        return {"seconds": round(time.monotonic() - started, 3), **builtin_metadata(report)}


def builtin_metadata(report: TransformReport) -> dict[str, Any]:
    """Return rows per result, rejected rows by reason, and seconds per step.

    Every run has every result, even with 0 rows, so that its plot has no gaps.
    """
    by_severity = {
        severity: sum(
            count for (_, found, _), count in report.rejected.items() if found is severity
        )
        for severity in Severity
    }
    return {
        "rows_handled": sum(report.handled.values()),
        **{f"rows_{_key(result)}": report.rows.get(result, 0) for result in RESULTS},
        "rejected_rows": by_severity[Severity.ERROR],
        "rejected_details": by_severity[Severity.INFO],
        "rejected_by_reason": _rejected_table(report),
        **{
            f"seconds_{_key(step)}": round(seconds, 3)
            for step, seconds in sorted(report.seconds.items())
        },
        "batches": report.batches,
    }


def metadata_of_no_rows() -> dict[str, Any]:
    """Return the metadata of a run that has nothing to transform."""
    return {"seconds": 0.0, **builtin_metadata(TransformReport({}, {}, {}, {}, 0))}


def _rejected_table(report: TransformReport) -> dg.MarkdownMetadataValue | str:
    rows = [(*reason, count) for reason, count in sorted(report.rejected.items())]
    return markdown_table(("step", "severity", "reason", "rows"), rows)


def _key(name: str) -> str:
    return name.replace(" ", "_")
