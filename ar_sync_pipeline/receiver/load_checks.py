"""Checks of a load: all archives applied, digests equal, no gap, no drift, all tables sent."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.check_evaluation import (
    CAUSE,
    NO_MAIL_BEFORE,
    common_remedy,
    with_page,
)
from ar_sync_pipeline.operations.pair_names import ALONE, PairNames
from ar_sync_pipeline.package_files import see
from ar_sync_pipeline.postgres.errors import DigestMismatchError
from ar_sync_pipeline.sync.errors import DeleteGuardError
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.load.unsent_tables import unsent_in_words
from ar_sync_pipeline.visible_text import listed, visible

_LONGEST_NAME = 130
_GUARD_PAGE = "delete_guard"
# The next archive contains the rows of a lost one, so only a gap that lasts is an incident.
_CLOSES_WITHIN_WINDOWS = 3

LOADED, DIGESTS, _NO_HOLES, _NO_DRIFT, _ALL_SENT = (
    "archives_loaded",
    "digests_equal",
    "no_holes",
    "no_drift",
    "tables_sent",
)
_PAGES = {
    LOADED: "archive_parked",
    DIGESTS: "digests_differ",
    _NO_HOLES: "hole_in_windows",
    _NO_DRIFT: "hole_in_windows",
    _ALL_SENT: "table_not_sent",
}


def load_check_specs(names: PairNames) -> Sequence[dg.AssetCheckSpec]:
    """Return the checks of the ledger, each with its remedy."""
    key = applied_archives_key(names)
    return [
        dg.AssetCheckSpec(
            LOADED,
            asset=key,
            description="Every admitted archive was applied. If not: it is in the spool's parked or"
            " quarantine folder with the reason beside it. An archive that the delete guard keeps"
            " is let through with `ar-sync allow`; `ar-sync plan` shows what it would do. Until"
            " then the others are loaded all the same." + see(_PAGES[LOADED]),
        ),
        dg.AssetCheckSpec(
            DIGESTS,
            asset=key,
            description="What was written is what the archives hold, compared chunk by chunk"
            " before the load's transaction is committed. If not: nothing was changed, and no"
            " load continues; look for a trigger, a rule or somebody else that writes to the"
            " named table." + see(_PAGES[DIGESTS]),
            blocking=True,
        ),
        dg.AssetCheckSpec(
            _NO_HOLES,
            asset=key,
            description="The applied archives join without a gap, or a complete that waits closes"
            " it. If not: an archive was lost on the way; the sender's next partial carries what it"
            " held, and the next complete repairs the rest. A gap that lasts for more than"
            f" {_CLOSES_WITHIN_WINDOWS} windows is mailed: start"
            f" `{names.name('complete_dump')}` at the sender." + see(_PAGES[_NO_HOLES]),
        ),
        dg.AssetCheckSpec(
            _ALL_SENT,
            asset=key,
            description="Every replicated table that has rows here is in the sender's newest"
            " complete. If not: the sender has dropped or renamed it; migrate the receiver, or name"
            " the table in `receiver_tables` of the catalog." + see(_PAGES[_ALL_SENT]),
        ),
        dg.AssetCheckSpec(
            _NO_DRIFT,
            asset=key,
            description="A complete found nothing that partials should have brought. If not: look"
            " for large tables without a time stamp (catalog: `changed_at`, `watermark`), for a"
            " failover of the sender, or for somebody who writes to the receiver's shared columns."
            + see(_PAGES[_NO_DRIFT]),
        ),
    ]


def load_check_results(
    report: LoadReport, window_minutes: int, names: PairNames = ALONE
) -> Iterator[dg.AssetCheckResult]:
    """Yield the check results of a load."""
    key = applied_archives_key(names)
    drift = {
        plan.table: plan.drift for archive in report.loaded for plan in archive.tables if plan.drift
    }
    gaps = report.chain.gaps if report.chain else ()
    damaged = [r for r in report.refused if not r.waits]
    aside = [*report.kept, *damaged]
    guarded = any(one.code == DeleteGuardError.code for one in aside)
    loaded = _result(
        key,
        LOADED,
        " ".join(listed([*map(str, aside)])),
        "Every admitted archive is applied.",
        archives_not_applied=len(aside),
        **common_remedy(one.remedy for one in aside),
        # Only a person lets it through, who may know of the other archives already.
        **({CAUSE: "delete guard"} if guarded else {}),
    )
    yield with_page(loaded, _GUARD_PAGE) if guarded else loaded
    staged = sum(archive.chunks_staged for archive in report.loaded)
    unverified = sum(plan.unverified for one in report.loaded for plan in one.tables)
    unchanged = sum(archive.chunks for archive in report.loaded) - staged - unverified
    differing = [r for r in report.refused if r.code == DigestMismatchError.code]
    yield _result(
        key,
        DIGESTS,
        " ".join(listed([*map(str, differing)])),
        f"{staged} chunks were written and compared, {unchanged} were equal before."
        + (f" {unverified} are compared with the next complete." if unverified else ""),
        chunks_compared=staged,
        chunks_equal_before=unchanged,
        chunks_unverified=unverified,
        **common_remedy(one.remedy for one in differing),
    )
    gap_result = _result(
        key,
        _NO_HOLES,
        "; ".join(listed([*map(str, gaps)])),
        _without_gap(report),
        gaps=len(gaps),
    )
    yield _mailed_if_it_lasts(gap_result, report, window_minutes)
    yield _result(
        key,
        _ALL_SENT,
        unsent_in_words(report.unsent),
        "The sender's newest complete has every replicated table that has rows here.",
        tables_not_sent=len(report.unsent),
    )
    tables = [f"{rows:,} rows of {visible(table, _LONGEST_NAME)}" for table, rows in drift.items()]
    sentence = ", ".join(listed(tables, most=20))
    yield _result(
        key,
        _NO_DRIFT,
        sentence,
        "The last load repaired nothing that partials should have brought.",
        rows_repaired=sum(drift.values()),
    )


def _without_gap(report: LoadReport) -> str:
    if report.chain is None:
        return "No complete archive has been applied yet."
    return f"Nothing is missing up to {report.chain.until:%Y-%m-%d %H:%M:%S} UTC."


def _mailed_if_it_lasts(
    gaps: dg.AssetCheckResult, report: LoadReport, window_minutes: int
) -> dg.AssetCheckResult:
    """Delay the mail about gaps, unless the sender was restored.

    Only a complete closes the gap after a restored sender, so it is mailed at once.
    """
    restored = report.chain and any(gap.new_history for gap in report.chain.gaps)
    if report.gaps_since is None or restored:
        return gaps
    due = report.gaps_since + _CLOSES_WITHIN_WINDOWS * timedelta(minutes=window_minutes)
    times = {NO_MAIL_BEFORE: dg.MetadataValue.timestamp(due)}
    return gaps._replace(metadata={**(gaps.metadata or {}), **times})


def _result(
    key: dg.AssetKey, name: str, sentence: str, passing: str, **metadata: int | str
) -> dg.AssetCheckResult:
    """Return a check result that passes if the sentence about a problem is empty."""
    grave = name in (LOADED, DIGESTS)
    return with_page(
        dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not sentence,
            severity=dg.AssetCheckSeverity.ERROR if grave else dg.AssetCheckSeverity.WARN,
            description=sentence or passing,
            metadata=metadata,
        ),
        _PAGES[name],
    )
