"""Checks of a load: all archives applied, digests equal, no gap, no drift, all tables sent."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.merge.errors import UnprovenDeletionError
from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.check_evaluation import (
    CAUSE,
    ERROR,
    NO_MAIL_BEFORE,
    REMEDY,
    UNCHANGED_SINCE,
    common_remedy,
    result_of,
    with_parts,
)
from ar_sync_pipeline.operations.check_history import last_evaluation
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.postgres.errors import DigestMismatchError
from ar_sync_pipeline.receiver.admission_asset import in_words
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.sync.errors import ContentLackingError, DeleteGuardError
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline.sync.load.load_outcome import LoadedArchive
from ar_sync_pipeline.sync.load.missing_parts import missing_in_words
from ar_sync_pipeline.sync.load.recovered_archives import AppliedComplete
from ar_sync_pipeline.sync.load.unsent_tables import unsent_in_words
from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline.visible_text import counted, listed, visible_name

GUARD_CAUSE = "delete guard"
"""Key of the incident of archives that the delete guard parks."""
DIGESTS_CAUSE = "digests"
"""Key of the incident of archives whose rows were not those that the load had written."""
# Only a person lets a guarded archive through, who may know of the others already; of differing
# digests two checks tell.
_CAUSES = {DeleteGuardError.code: GUARD_CAUSE, DigestMismatchError.code: DIGESTS_CAUSE}
_PAGES = {GUARD_CAUSE: "delete_guard", DIGESTS_CAUSE: "digests_differ"}
_COMPLETE = "newest_complete"
# The next archives contain what a lost one or the receiver lacks: only what lasts is an incident.
_CLOSES_WITHIN_WINDOWS = 3
# The sender's next complete replaces the archive, at once and by itself.
_REPLACED = {ContentLackingError.code, UnprovenDeletionError.code}

LOADED, DIGESTS, _NO_GAPS, _NO_DRIFT, _ALL_SENT = (
    "archives_loaded",
    "digests_equal",
    "no_holes",
    "no_drift",
    "tables_sent",
)
_ERRORS = frozenset({LOADED, DIGESTS})


def load_check_specs(names: PairNames) -> Sequence[dg.AssetCheckSpec]:
    """Return the checks of the ledger, each with its remedy."""
    return [
        _loaded_spec(names),
        _digests_spec(names),
        _gaps_spec(names),
        _sent_spec(names),
        _drift_spec(names),
    ]


def _loaded_spec(names: PairNames) -> dg.AssetCheckSpec:
    return check_spec(
        LOADED,
        applied_archives_key(names),
        meaning="Every admitted archive was applied",
        remedy="it is in the spool's parked or quarantine folder with the reason beside"
        " it. An archive that the delete guard keeps is let through with `ar-sync"
        " allow`; `ar-sync plan` shows what it would do. Until then the others are"
        " loaded all the same. What a complete does not carry and the receiver lacks"
        " comes with the sender's next complete, by itself; it is mailed if that"
        f" takes more than {_CLOSES_WITHIN_WINDOWS} windows",
        page="archive_parked",
    )


def _digests_spec(names: PairNames) -> dg.AssetCheckSpec:
    return check_spec(
        DIGESTS,
        applied_archives_key(names),
        meaning="What was written is what the archives hold, compared chunk by chunk before"
        " the load's transaction is committed",
        remedy="look for a trigger, a rule or somebody else that writes to the named table."
        " Nothing was changed; the archive is parked and tried again with each load, and the"
        " others are loaded",
        page="digests_differ",
        blocking=True,
    )


def _gaps_spec(names: PairNames) -> dg.AssetCheckSpec:
    return check_spec(
        _NO_GAPS,
        applied_archives_key(names),
        meaning="The applied archives join without a gap, or a complete that waits closes it",
        remedy="an archive was lost on the way, or what the result says; the sender's next"
        " partial carries what it held, and the next complete repairs the rest. A gap that"
        f" lasts for more than {_CLOSES_WITHIN_WINDOWS} windows is mailed: start"
        f" `{names.name('complete_dump')}` at the sender",
        page="gap_in_windows",
    )


def _sent_spec(names: PairNames) -> dg.AssetCheckSpec:
    return check_spec(
        _ALL_SENT,
        applied_archives_key(names),
        meaning="The sender sends every replicated table that has rows here, and the receiver has"
        " every table and column that it sends",
        remedy="one side has dropped or renamed it; migrate the other one, or name a table that"
        " only the receiver has in `receiver_tables` of the catalog",
        page="table_not_sent",
    )


def _drift_spec(names: PairNames) -> dg.AssetCheckSpec:
    return check_spec(
        _NO_DRIFT,
        applied_archives_key(names),
        meaning="The newest complete found nothing that partials should have brought; later"
        " partials change nothing about it",
        remedy="look for large tables without a time stamp (catalog: `changed_at`,"
        " `watermark`), for a failover of the sender, or for somebody who writes to"
        " the receiver's shared columns",
        page="gap_in_windows",
    )


def drift_before(instance: dg.DagsterInstance, names: PairNames) -> dg.AssetCheckResult | None:
    """Return what the newest complete showed about drift, as it was recorded; None: nothing yet."""
    before = last_evaluation(instance, _drift_spec(names).key)
    return None if before is None else result_of(before)


def load_check_results(
    report: LoadReport,
    window_minutes: int,
    names: PairNames,
    before: dg.AssetCheckResult | None = None,
) -> Iterator[dg.AssetCheckResult]:
    """Yield the check results of a load.

    Args:
        report: What was loaded.
        window_minutes: Length of a window.
        names: Names of the definitions of this receiver.
        before: What `drift_before` returned: without a complete a load says nothing about drift.
    """
    yield _archives_loaded(_loaded_spec(names), report, window_minutes)
    yield _digests_equal(_digests_spec(names), report)
    yield _no_gaps(_gaps_spec(names), report, window_minutes)
    yield _result(
        _sent_spec(names),
        ", and ".join(
            filter(None, (unsent_in_words(report.unsent), missing_in_words(report.missing)))
        ),
        "The sender sends every replicated table that has rows here, and the receiver has every"
        " table and column that it sends.",
        tables_not_sent=len(report.unsent),
        missing=len(report.missing),
    )
    yield _no_drift(_drift_spec(names), report, before)


def _archives_loaded(
    spec: dg.AssetCheckSpec, report: LoadReport, window_minutes: int
) -> dg.AssetCheckResult:
    rejected = [*report.kept, *(one for one in report.refused if not one.waits)]
    if report.unreported is not None and not rejected:
        return _not_reported(spec, report.unreported)
    causes = dict.fromkeys(_CAUSES.get(one.code, "") for one in rejected)
    parts = {
        cause: [one for one in rejected if _CAUSES.get(one.code, "") == cause] for cause in causes
    }
    result = _of_rejected(spec, report, rejected, next(filter(None, causes), ""), window_minutes)
    if not any(causes):
        return result
    return with_parts(
        result,
        (_of_rejected(spec, report, part, cause, window_minutes) for cause, part in parts.items()),
    )


def _of_rejected(
    spec: dg.AssetCheckSpec,
    report: LoadReport,
    rejected: Sequence[Rejection],
    cause: str,
    window_minutes: int,
) -> dg.AssetCheckResult:
    """Return the result about archives, of which some or all were rejected for one cause."""
    result = _result(
        spec,
        in_words(rejected),
        _all_applied(report),
        page=_PAGES.get(cause),
        archives_not_applied=len(rejected),
        **common_remedy(one.remedy for one in rejected),
        **({CAUSE: cause} if cause else {}),
    )
    if rejected and all(one.code in _REPLACED for one in rejected):
        since = min((one.since for one in rejected if one.since), default=None)
        return _mailed_if_it_lasts(
            result._replace(severity=dg.AssetCheckSeverity.WARN), since, window_minutes
        )
    return result


def _all_applied(report: LoadReport) -> str:
    if not report.vanished:
        return "Every admitted archive is applied."
    # `up_to_date` fails until another archive brings what they held.
    still = "Every admitted archive that is still in the spool is applied."
    return f"{still} {in_words(report.vanished)}"


def _not_reported(spec: dg.AssetCheckSpec, error: SpoolAccessError) -> dg.AssetCheckResult:
    """Return a failure that is the spool's, since rows and ledger are as they should be."""
    return _result(
        spec,
        f"Every admitted archive is applied, but the sender has no report yet: {error.problem}.",
        "",
        archives_not_applied=0,
        **{ERROR: error.code, REMEDY: error.remedy},
    )


def _digests_equal(spec: dg.AssetCheckSpec, report: LoadReport) -> dg.AssetCheckResult:
    verified = [archive for archive in report.loaded if not archive.recovered]
    staged = sum(archive.chunks_staged for archive in verified)
    unverified = sum(plan.unverified for one in verified for plan in one.tables)
    unchanged = sum(archive.chunks for archive in verified) - staged - unverified
    rejected = {one.name: one for one in (*report.kept, *report.refused)}.values()
    differing = [one for one in rejected if one.code == DigestMismatchError.code]
    result = _result(
        spec,
        in_words(differing),
        f"{staged} chunks were written and compared, {unchanged} were equal before."
        + (f" {unverified} come with the next complete." if unverified else ""),
        chunks_compared=staged,
        chunks_equal_before=unchanged,
        chunks_unverified=unverified,
        **common_remedy(one.remedy for one in differing),
        **({CAUSE: DIGESTS_CAUSE} if differing else {}),
    )
    # A parked archive holds up neither the others nor their transform.
    blocks = report.refused and not report.loaded
    return result if blocks else result._replace(severity=dg.AssetCheckSeverity.WARN)


def _no_gaps(
    spec: dg.AssetCheckSpec, report: LoadReport, window_minutes: int
) -> dg.AssetCheckResult:
    """Return the result about gaps; its mail is delayed, unless the sender was restored.

    Only a complete closes the gap after a restored sender, so it is mailed at once.
    """
    gaps = report.chain.gaps if report.chain else ()
    result = _result(
        spec,
        "; ".join(listed([*map(str, gaps)])),
        _without_gap(report),
        gaps=len(gaps),
    )
    if any(gap.new_history for gap in gaps):
        return result
    return _mailed_if_it_lasts(result, report.gaps_since, window_minutes)


def _no_drift(
    spec: dg.AssetCheckSpec, report: LoadReport, before: dg.AssetCheckResult | None
) -> dg.AssetCheckResult:
    newest = report.newest_complete
    completes = [one for one in report.loaded if one.manifest.kind is ArchiveKind.COMPLETE]
    if before is not None and not completes and (newest is None or _is_about(before, newest.name)):
        return before
    found_at, drift = _drift_in(completes, newest)
    result = _result(
        spec,
        _drift_in_words(found_at, drift) if found_at and drift else "",
        "The newest complete repaired nothing that partials should have brought.",
        rows_repaired=sum(drift.values()),
        **({_COMPLETE: newest.name} if newest else {}),
    )
    if found_at is None or not drift:
        return result
    # Every later load repeats it: one finding of this complete.
    since = {UNCHANGED_SINCE: dg.MetadataValue.timestamp(found_at)}
    return result._replace(metadata={**(result.metadata or {}), **since})


def _drift_in(
    loaded: Sequence[LoadedArchive], newest: AppliedComplete | None
) -> tuple[datetime | None, dict[str, int]]:
    """Return when completes were made, and what they repaired: those of a load, or the newest one.

    A load that was killed after its commit has recorded no result; the ledger has it.
    """
    plans = [plan for one in loaded for plan in one.tables]
    times = [one.manifest.snapshot_at for one in loaded]
    if newest is not None and not loaded:
        plans, times = list(newest.tables), [newest.snapshot_at]
    return max(times, default=None), {plan.table: plan.drift for plan in plans if plan.drift}


def _drift_in_words(found_at: datetime, drift: Mapping[str, int]) -> str:
    tables = [f"{counted(rows, 'row')} of {visible_name(table)}" for table, rows in drift.items()]
    return (
        f"The complete of {found_at:%Y-%m-%d %H:%M} UTC has repaired"
        f" {', '.join(listed(tables, most=20))} that differed from the sender: partials should have"
        " brought them, or somebody changed them here."
    )


def _is_about(result: dg.AssetCheckResult, complete: str) -> bool:
    name = (result.metadata or {}).get(_COMPLETE)
    return name is not None and name.value == complete


def _without_gap(report: LoadReport) -> str:
    if report.chain is None:
        return "No complete archive has been applied yet."
    return f"Nothing is missing up to {report.chain.until:%Y-%m-%d %H:%M:%S} UTC."


def _mailed_if_it_lasts(
    result: dg.AssetCheckResult, since: datetime | None, window_minutes: int
) -> dg.AssetCheckResult:
    """Delay the mail about what the next archives repair; without a start it is not delayed."""
    if since is None:
        return result
    due = since + _CLOSES_WITHIN_WINDOWS * timedelta(minutes=window_minutes)
    times = {NO_MAIL_BEFORE: dg.MetadataValue.timestamp(due)}
    return result._replace(metadata={**(result.metadata or {}), **times})


def _result(
    spec: dg.AssetCheckSpec,
    problem: str,
    passing: str,
    *,
    page: str | None = None,
    **metadata: int | str,
) -> dg.AssetCheckResult:
    """Return a check result that passes if there is no message about a problem."""
    is_error = spec.name in _ERRORS
    return result_for(
        spec,
        passed=not problem,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=problem or passing,
        metadata=metadata,
        page=page,
    )
