"""Checks of a load: everything applied, nothing missing, nothing that partials had forgotten."""

from collections.abc import Iterator, Sequence

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.sync.load import LoadReport

_LOADED, _NO_HOLES, _NO_DRIFT = "archives_loaded", "no_holes", "no_drift"


def load_check_specs() -> Sequence[dg.AssetCheckSpec]:
    """The checks of the ledger, each with what to do."""
    key = applied_archives_key()
    return [
        dg.AssetCheckSpec(
            _LOADED,
            asset=key,
            description="Every admitted archive was applied. If not: it is in the spool's parked or"
            " quarantine folder with the reason beside it. An archive that the delete guard keeps"
            " is let through with `ar-sync allow`; `ar-sync plan` shows what it would do.",
        ),
        dg.AssetCheckSpec(
            _NO_HOLES,
            asset=key,
            description="The applied archives join without a hole. If not: an archive was lost on"
            " the way; the sender's next partial carries what it held, and the next complete"
            " repairs the rest. Nothing is to be done unless it lasts.",
        ),
        dg.AssetCheckSpec(
            _NO_DRIFT,
            asset=key,
            description="A complete found nothing that partials should have brought. If not: look"
            " for large tables without a time stamp (catalog: `changed_at`, `watermark`), for a"
            " failover of the sender, or for somebody who writes to the receiver's shared columns.",
        ),
    ]


def load_check_results(report: LoadReport) -> Iterator[dg.AssetCheckResult]:
    """What a load found."""
    drift = {
        plan.table: plan.drift for archive in report.loaded for plan in archive.tables if plan.drift
    }
    holes = report.chain.holes if report.chain else ()
    yield _result(
        _LOADED, " ".join(str(refusal.error) for refusal in report.refused), len(report.refused)
    )
    yield _result(_NO_HOLES, "; ".join(map(str, holes)), len(holes))
    sentence = ", ".join(f"{rows:,} rows of {table}" for table, rows in drift.items())
    yield _result(_NO_DRIFT, sentence, sum(drift.values()))


def _result(name: str, sentence: str, count: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=applied_archives_key(),
        check_name=name,
        passed=count == 0,
        severity=dg.AssetCheckSeverity.ERROR if name == _LOADED else dg.AssetCheckSeverity.WARN,
        description=sentence or None,
        metadata={"count": count},
    )
