"""The archives that a load may use: verified to the last byte, and compatible with the receiver."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NoReturn

import dagster as dg
from pydantic import Field

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import UNVERSIONED, admitted_key, archive_key
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.operations.check_evaluation import (
    common_remedy,
    evaluation_of,
    explained_by,
)
from ar_sync_pipeline.operations.check_history import (
    forget_planned,
    newest_target,
    shown_evaluation,
)
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.dagster_internals import ROOT_RUN_ID_TAG
from ar_sync_pipeline.operations.run_metadata import markdown_list, settings_metadata
from ar_sync_pipeline.operations.runs.longer_runs import LongerRun
from ar_sync_pipeline.operations.selected_outputs import Result, whatever_is_selected
from ar_sync_pipeline.progress import progress_to
from ar_sync_pipeline.receiver.ledger_metadata import observe_unapplied
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.admit import Admission, admit_archives
from ar_sync_pipeline.sync.load.expected_partial import LONGEST_WAIT_SECONDS, wait_for_partial
from ar_sync_pipeline.sync.rejection import Rejection, by_cause
from ar_sync_pipeline.visible_text import listed

GROUP = "receiver_load"
VERIFIED, FITTING = "archives_sound", "archives_fit_schema"
_PASSING = {
    VERIFIED: "Every archive was whole, or another one has brought what it held.",
    FITTING: "No archive waits for a change of the receiver.",
}


class Intake(dg.Config):
    """Which archives a run verifies.

    Attributes:
        kinds: ``partial``, or both kinds.
        waits_until: Time until which a run that was started early waits for a partial, in seconds
            since 1970; 0: it does not wait.
    """

    kinds: list[str] = Field(default_factory=lambda: [str(kind) for kind in ArchiveKind])
    waits_until: float = 0.0


def admission_asset(site: ReceiverSite) -> dg.AssetsDefinition:
    """Return the first step of both load jobs."""
    key = admitted_key(site.names)

    spec = dg.AssetSpec(
        key,
        deps=[archive_key(kind, site.names) for kind in ArchiveKind],
        group_name=site.names.name(GROUP),
        description="Waiting archives that may be loaded: read to their last byte and compared with"
        " the receiver's schema. What is corrupt is quarantined, what does not fit yet is parked."
        " Materialized alone, it loads nothing: the next load does.",
        kinds={"tar"},
    )

    # A subset of the results is allowed, because a run that waited in vain has none.
    @dg.multi_asset(
        name=key.to_python_identifier(),
        specs=[spec],
        check_specs=_check_specs(key),
        pool=site.pool,
        can_subset=True,
    )
    @whatever_is_selected
    def admitted_archives(context: dg.AssetExecutionContext, config: Intake) -> Iterator[Result]:
        kinds = _kinds(config)
        # A retry, which has the configuration of the run before it, takes what is there.
        if config.waits_until and ROOT_RUN_ID_TAG not in context.run.tags:
            # Nothing is examined while the run waits, so what was found before stays shown.
            forget_planned(context.instance, context.run.run_id)
            if not _has_arrived(context, site, config.waits_until):
                return
        yield from admission_results(context, site, kinds)

    return admitted_archives


def _kinds(config: Intake) -> list[ArchiveKind]:
    """Return the kinds that a run verifies; a user who launches one may write anything."""
    known = [str(kind) for kind in ArchiveKind]
    if not config.kinds or not set(config.kinds) <= set(known):
        raise dg.Failure(
            f"The run's configuration has kinds: {config.kinds}. Launch it again with one or both"
            f" of {known}.",
            allow_retries=False,
        )
    return [ArchiveKind(kind) for kind in config.kinds]


def _has_arrived(context: dg.AssetExecutionContext, site: ReceiverSite, until: float) -> bool:
    """Wait for the announced archive; without it the run ends, and its other steps are skipped."""
    # In this order, 0 also replaces what is not a number.
    left = min(max(0.0, until - site.clock().timestamp()), LONGEST_WAIT_SECONDS)
    context.log.info("Waiting %.0f s for the announced archive.", left)
    with operator_errors():
        found = wait_for_partial(site.settings.remote_bkp_fldr, left)
    if not found:
        context.log.info("No archive has arrived in time; the sensor finds it when it does.")
    return found


def admission_results(
    context: dg.AssetExecutionContext,
    site: ReceiverSite,
    kinds: Collection[ArchiveKind] = tuple(ArchiveKind),
) -> Iterator[Result]:
    """Admit waiting archives; the ledger's database records them for the load.

    Raises:
        Failure: Only unusable archives were found.
    """
    key = admitted_key(site.names)
    longer = LongerRun(context.instance, context.run.run_id)
    with operator_errors(), longer, progress_to(longer.progress):
        admission = admit_archives(site.settings, site.catalog, site.clock, frozenset(kinds))
    for warning in admission.warnings:
        context.log.warning(warning)
    yield from admission_checks(key, admission)
    if not admission.admitted and (admission.quarantined or admission.parked):
        observe_unapplied(context, site)
        fail_on_refusals(key, [*admission.quarantined, *admission.parked], VERIFIED, FITTING)
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=admission_metadata(admission) | settings_metadata(site.settings),
        data_version=UNVERSIONED,
    )


def record_made_good(
    context: dg.AssetExecutionContext, lost: Collection[Rejection], site: ReceiverSite
) -> None:
    """Record that the load has brought what damaged archives held, which the admission missed."""
    check = _verified_spec(admitted_key(site.names))
    shown = shown_evaluation(context.instance, check.key)
    if shown is not None and not shown.passed and not lost:
        target = newest_target(context.instance, check.asset_key)
        context.log_event(evaluation_of(_result(check, [], is_error=False), target=target))


def _check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    return [_verified_spec(key), _fitting_spec(key)]


def _verified_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return check_spec(
        VERIFIED,
        key,
        meaning="Every archive was whole, and made by this receiver's sender",
        remedy="it is in the spool's quarantine folder with the reason beside it; the next"
        " partial carries what a partial held, the next complete what a complete"
        " held, and this passes again when it has come. If it does not pass by"
        " itself, do what the result says. Blocks only a load that has no good"
        " archive",
        page="archive_quarantined",
        blocking=True,
    )


def _fitting_spec(key: dg.AssetKey) -> dg.AssetCheckSpec:
    return check_spec(
        FITTING,
        key,
        meaning="Every archive fits the receiver's tables",
        remedy="it is parked with the reason beside it; do what the result says, and it is"
        " loaded by itself, or a later one replaces it. Blocks only a load that has no good"
        " archive",
        page="archive_parked",
        blocking=True,
    )


def admission_checks(key: dg.AssetKey, admission: Admission) -> Iterator[dg.AssetCheckResult]:
    """Yield what is wrong now, whichever run found it; an error only if this run admits nothing."""
    for spec, found, refusals in (
        (_verified_spec(key), admission.lost, admission.quarantined),
        (_fitting_spec(key), admission.waiting_for_schema, admission.parked),
    ):
        wrong = [*found] or [*refusals]
        # One bad archive never blocks the load of good ones.
        nothing_good = bool(refusals) and not admission.admitted
        yield _result(spec, wrong, is_error=nothing_good)


def _result(
    spec: dg.AssetCheckSpec, wrong: list[Rejection], *, is_error: bool
) -> dg.AssetCheckResult:
    return result_for(
        spec,
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description=in_words(wrong) or _PASSING[spec.name],
        metadata={"archives": len(wrong), **common_remedy(one.remedy for one in wrong)},
    )


def in_words(rejections: Sequence[Rejection]) -> str:
    """Return one sentence for each cause for which archives were rejected."""
    return " ".join(listed([*map(str, by_cause(rejections))]))


def fail_on_refusals(key: dg.AssetKey, refusals: Sequence[Rejection], *checks: str) -> NoReturn:
    """Fail a run that found only unusable archives, with the first reasons.

    Args:
        key: Asset of the checks.
        refusals: What is wrong with each archive.
        checks: Names of the checks that show the same.

    Raises:
        Failure: Always.
    """
    raise dg.Failure(
        description=in_words(refusals),
        metadata={one.name: one.remedy for one in refusals} | explained_by(key, *checks),
        allow_retries=False,
    )


def admission_metadata(admission: Admission) -> dict[str, Any]:
    """Return how many archives were admitted and rejected, and the names of the admitted ones."""
    return {
        "dagster/row_count": sum(manifest.row_count for manifest in admission.admitted),
        "archives": len(admission.admitted),
        "parked": len(admission.parked),
        "quarantined": len(admission.quarantined),
        "seconds": round(admission.seconds, 3),
        "names": markdown_list(admission.names),
    }
