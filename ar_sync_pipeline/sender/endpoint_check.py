"""The hourly look at the road to the receiver, from the name to a renamed test file."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from ar_sync_pipeline.operations.asset_job import AssetJob
from ar_sync_pipeline.operations.asset_keys import receiver_endpoint_key
from ar_sync_pipeline.operations.boundary import operator_errors
from ar_sync_pipeline.sender.site import OWNERS, SenderSite
from ar_sync_pipeline.sftp.probe import STEPS, ProbeOutcome, ProbeStep
from ar_sync_pipeline.sync.publish import probe_receiver

_NAME = "reachable"
_LONGEST_SECONDS = 300


def endpoint_spec(site: SenderSite) -> dg.AssetSpec:
    """The receiver's SFTP server: nothing here makes it, the check observes it."""
    settings = site.settings
    return dg.AssetSpec(
        receiver_endpoint_key(),
        group_name="connectivity",
        description=f"The receiver's SFTP server `{settings.remote_host}` port"
        f" {settings.remote_port}, as `{settings.remote_user}` reaches it. Observed every hour,"
        " step by step: milliseconds of each, free space, difference of the clocks.",
        kinds={"sftp"},
        owners=OWNERS,
    )


def endpoint_check(site: SenderSite) -> dg.AssetChecksDefinition:
    """Walk the whole way of an archive with a test file."""
    spec = dg.AssetCheckSpec(
        _NAME,
        asset=receiver_endpoint_key(),
        description="An archive can travel: every step from the host's name to a test file that is"
        " renamed in the spool succeeds. If not: the step that failed says what to do; the later"
        " ones were not tried. `ar-sync check` does the same from a shell.",
    )

    @dg.multi_asset_check(name="ssh_sftp_check", specs=[spec])
    def ssh_sftp_check(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with operator_errors():
            steps = probe_receiver(site.settings, site.clock)
        context.op_execution_context.log_event(
            dg.AssetObservation(receiver_endpoint_key(), metadata=_metadata(steps))
        )
        troubles = [step for step in steps if step.outcome is not ProbeOutcome.PASSED]
        failed = [step for step in troubles if not step.ok]
        sentence = " ".join(f"{s.name}: {s.detail}; {s.remedy}." for s in troubles)
        yield dg.AssetCheckResult(
            asset_key=receiver_endpoint_key(),
            check_name=_NAME,
            passed=not troubles,
            severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
            description=sentence or None,
            metadata={"steps_passed": len(steps) - len(troubles)},
        )
        if failed:
            raise dg.Failure(description=sentence, allow_retries=False)

    return ssh_sftp_check


def ssh_sftp_checker() -> AssetJob:
    """The job, under the name that it had in the old system."""
    return dg.define_asset_job(
        "ssh_sftp_checker",
        selection=dg.AssetSelection.checks_for_assets(receiver_endpoint_key()),
        description="Try every step from the receiver's name to a renamed test file in its spool.",
        tags={"dagster/max_runtime": str(_LONGEST_SECONDS), "ar_sync/side": "sender"},
        executor_def=dg.in_process_executor,
    )


def checker_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """Once an hour, between two windows."""
    return dg.ScheduleDefinition(
        name="ssh_sftp_checker_schedule",
        job=job,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        description="The road to the receiver, once an hour.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def _metadata(steps: Sequence[ProbeStep]) -> dict[str, Any]:
    lines = ["| step | ms | outcome | found |", "|---|--:|---|---|"]
    lines += [
        f"| {step.name} | {step.seconds * 1000:,.0f} | {step.outcome} | {step.detail} |"
        for step in steps
    ]
    lines += [f"| {name} | | not tried | |" for name in STEPS[len(steps) :]]
    return {
        "steps": dg.MetadataValue.md("\n".join(lines)),
        "total_ms": round(1000 * sum(step.seconds for step in steps), 1),
        **{f"{s.name.replace(' ', '_')}_ms": round(s.seconds * 1000, 1) for s in steps},
        **{name: round(value, 3) for s in steps for name, value in s.numbers.items()},
    }
