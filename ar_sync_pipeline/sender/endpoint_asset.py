"""The receiver's SFTP account as an external asset, checked every hour."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.alerts.problem_areas import ENDPOINT, area_of_link
from ar_sync_pipeline.operations.asset_keys import endpoint_key
from ar_sync_pipeline.operations.check_evaluation import (
    ERROR,
    EXAMINED_AT,
    REMEDY,
    evaluation_of,
    explained_by,
    key_of,
    result_of,
)
from ar_sync_pipeline.operations.check_history import (
    delete_overtaken,
    failed_evaluations,
    newest_target,
    place_of_run,
    shown_evaluation,
)
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.preflight_check import keep_preflight_shown
from ar_sync_pipeline.operations.run_metadata import settings_metadata
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sftp.probe import NOT_OF_UPLOADS
from ar_sync_pipeline.sync.watch.endpoint_check import EndpointCheck, check_endpoint, milliseconds
from ar_sync_pipeline.visible_text import as_markdown, visible

CHECK = "archives_can_be_published"
_STEP = "step"


def endpoint_spec(names: PairNames) -> dg.AssetSpec:
    """Return the specification of the account, which the sender does not make."""
    return dg.AssetSpec(
        endpoint_key(names),
        group_name=names.name("receiver_endpoint"),
        description="The receiver's SFTP account as the sender sees it. Every hour job"
        f" `{names.name('ssh_sftp_checker')}` publishes a test file as an archive is"
        " published: seconds of each step, free space, round trip, difference of the clocks. A"
        " materialization is a test that passed, an observation one that failed.",
        kinds={"sftp"},
    )


def endpoint_check_spec(names: PairNames) -> dg.AssetCheckSpec:
    """Return the specification of the check of job ``ssh_sftp_checker``."""
    return check_spec(
        CHECK,
        endpoint_key(names),
        meaning="Every step to a published archive works, tried every hour; an upload that"
        " fails by the connection shows here at once",
        remedy="the failed step and what to do about it are in the result; `ar-sync check`"
        " tries each step",
        page=ENDPOINT.page,
    )


def endpoint_check(site: SenderSite) -> dg.AssetChecksDefinition:
    """Return the check of job ``ssh_sftp_checker``; a failed step also fails the run."""
    key = endpoint_key(site.names)

    @dg.multi_asset_check(
        name=site.names.name("endpoint_check"),
        specs=[endpoint_check_spec(site.names)],
    )
    def endpoint_check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        found = check_endpoint(site.settings, site.clock)
        for step in found.warnings:
            context.log.warning("%s: %s: %s.", step.name, visible(step.detail), step.remedy)
        log = dg.AssetExecutionContext(context.op_execution_context)
        keep_preflight_shown(log, key)
        log.log_event(_event(site, found))
        delete_overtaken(context.instance, dg.AssetCheckKey(key, CHECK), context.run.run_id)
        yield _verdict(site, found)
        failed = found.failed
        if failed is not None:
            raise dg.Failure(
                description=f"{failed.name}: {visible(failed.detail)}: {failed.remedy}.",
                metadata={_STEP: failed.name, REMEDY: failed.remedy or ""}
                | explained_by(key, CHECK),
                allow_retries=False,
            )

    return endpoint_check


def first_check(
    site: SenderSite, instance: dg.DagsterInstance, found: EndpointCheck | None
) -> list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation]:
    """Return the events of a link that passed a preflight, if the account has none yet.

    After an installation the account would otherwise look missing until the hourly check. A failed
    link is the finding of the preflight.
    """
    key = endpoint_key(site.names)
    if found is None or found.failed or instance.get_latest_materialization_event(key) is not None:
        return []
    return [_event(site, found), evaluation_of(_verdict(site, found))]


def _event(site: SenderSite, found: EndpointCheck) -> dg.AssetMaterialization | dg.AssetObservation:
    """Return the event of a check; without a materialization the UI shows an asset as missing."""
    event = dg.AssetObservation if found.failed else dg.AssetMaterialization
    metadata = _metadata(found) | settings_metadata(site.settings)
    return event(endpoint_key(site.names), metadata=metadata)


@contextmanager
def record_publication(context: dg.AssetExecutionContext, site: SenderSite) -> Iterator[None]:
    """Record in the check that an upload has failed, or that one has succeeded after a failure.

    A failure of a test stays if it is in a step that no upload proves: only a test ends it. It is
    recorded again if uploads that failed since have replaced it.
    """
    with record_failed_link(context, site):
        yield
    key, instance = endpoint_key(site.names), context.instance
    check = dg.AssetCheckKey(key, CHECK)
    shown = shown_evaluation(instance, check)
    if shown is None or shown.passed or _is_not_of_uploads(shown):
        return
    failed_test = next(filter(_is_not_of_uploads, failed_evaluations(instance, check)), None)
    if failed_test is None:
        result = result_for(
            endpoint_check_spec(site.names), passed=True, description="An archive was published."
        )
        _record(context, result)
    else:
        _record(context, result_of(failed_test))


@contextmanager
def record_failed_link(context: dg.AssetExecutionContext, site: SenderSite) -> Iterator[None]:
    """Record in the check that the receiver could not be reached."""
    try:
        yield
    except ENDPOINT.errors as error:
        result = result_for(
            endpoint_check_spec(site.names),
            passed=False,
            description=str(error),
            metadata={REMEDY: error.remedy},
        )
        _record(context, result)
        raise


def _is_not_of_uploads(failed: dg.AssetCheckEvaluation) -> bool:
    """Return whether a test failed in a step that no upload proves."""
    step = failed.metadata.get(_STEP)
    return step is not None and step.value in NOT_OF_UPLOADS


def _record(context: dg.AssetExecutionContext, result: dg.AssetCheckResult) -> None:
    """Record an evaluation as the newest one, without the run where the run has one already.

    Dagster has one record for a run and a check, which stays older than those of later runs.
    """
    key, instance = key_of(result), context.instance
    evaluation = evaluation_of(result, target=newest_target(instance, key.asset_key))
    place = place_of_run(instance, key, context.run.run_id)
    repeats = place == 0 and not result.passed
    if place is None or repeats:
        context.log_event(evaluation)
    else:
        instance.report_runless_asset_event(evaluation)


def _verdict(site: SenderSite, found: EndpointCheck) -> dg.AssetCheckResult:
    failed = found.failed
    area = ENDPOINT if failed is None else area_of_link(failed.code)
    metadata: dict[str, Any] = {"steps_passed": sum(step.ok for step in found.steps)}
    if failed is not None:
        metadata |= {_STEP: failed.name, REMEDY: failed.remedy or ""}
        metadata[EXAMINED_AT] = dg.MetadataValue.timestamp(site.clock())
    if failed is not None and area is not ENDPOINT:
        metadata[ERROR] = failed.code
    return result_for(
        endpoint_check_spec(site.names),
        passed=failed is None,
        description=f"{failed.name}: {visible(failed.detail)}"
        if failed
        else "A test file was published and removed.",
        metadata=metadata,
        page=area.page_of(failed.code if failed else None),
    )


def _metadata(found: EndpointCheck) -> dict[str, Any]:
    lines = ["| step | | ms | found |", "|---|---|--:|---|"]
    lines += [
        f"| {step.name} | {step.outcome} | {milliseconds(step)} | {as_markdown(step.detail)} |"
        for step in found.steps
    ]
    return {
        **{name: round(value, 6) for name, value in found.figures.items()},
        "seconds": round(found.seconds, 3),
        "warnings": len(found.warnings),
        "steps": dg.MetadataValue.md("\n".join(lines)),
    }
