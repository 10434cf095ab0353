"""Checks of a load: all applied, equal by digest, no hole, nothing that partials had forgotten."""

from collections.abc import Iterator, Sequence

import dagster as dg

from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.postgres.errors import DigestMismatchError
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.visible_text import listed, visible

_LONGEST_NAME = 130

_LOADED, _DIGESTS, _NO_HOLES, _NO_DRIFT = (
    "archives_loaded",
    "digests_equal",
    "no_holes",
    "no_drift",
)


def load_check_specs() -> Sequence[dg.AssetCheckSpec]:
    """The checks of the ledger, each with what to do."""
    key = applied_archives_key()
    return [
        dg.AssetCheckSpec(
            _LOADED,
            asset=key,
            description="Every admitted archive was applied. If not: it is in the spool's parked or"
            " quarantine folder with the reason beside it. An archive that the delete guard keeps"
            " is let through with `ar-sync allow`; `ar-sync plan` shows what it would do. Until"
            " then the others are loaded all the same.",
        ),
        dg.AssetCheckSpec(
            _DIGESTS,
            asset=key,
            description="What was written is what the archives hold, compared chunk by chunk"
            " before the load's transaction is committed. If not: nothing was changed and nothing"
            " goes on; look for a trigger, a rule or somebody else that writes to the named table.",
            blocking=True,
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
    damaged = [r.error for r in report.refused if not isinstance(r.error, ParkedError)]
    aside = [*map(str, report.kept), *map(str, damaged)]
    yield _result(_LOADED, " ".join(listed(aside)), archives_not_applied=len(aside))
    staged = sum(archive.chunks_staged for archive in report.loaded)
    unchanged = sum(archive.chunks for archive in report.loaded) - staged
    differing = [r.error for r in report.refused if isinstance(r.error, DigestMismatchError)]
    yield _result(
        _DIGESTS,
        " ".join(listed([*map(str, differing)])),
        chunks_compared=staged,
        chunks_equal_before=unchanged,
    )
    yield _result(_NO_HOLES, "; ".join(listed([*map(str, holes)])), holes=len(holes))
    tables = [f"{rows:,} rows of {visible(table, _LONGEST_NAME)}" for table, rows in drift.items()]
    sentence = ", ".join(listed(tables, most=20))
    yield _result(_NO_DRIFT, sentence, rows_repaired=sum(drift.values()))


def _result(name: str, sentence: str, **figures: int) -> dg.AssetCheckResult:
    """A sentence says what is wrong; without one the check passes."""
    grave = name in (_LOADED, _DIGESTS)
    return dg.AssetCheckResult(
        asset_key=applied_archives_key(),
        check_name=name,
        passed=not sentence,
        severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
        description=sentence or None,
        metadata=figures,
    )
