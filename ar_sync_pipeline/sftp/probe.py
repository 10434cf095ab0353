"""Connectivity check: names, times and explains every step of a publication."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import PurePosixPath

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.probe_spool import check_the_spool
from ar_sync_pipeline.sftp.probe_steps import (
    NOT_OF_UPLOADS,
    STEPS,
    ProbeOutcome,
    ProbeStep,
    StepRecord,
)

__all__ = ["LIMITS", "NOT_OF_UPLOADS", "STEPS", "ProbeOutcome", "ProbeStep", "probe"]

# Together 110 s: in every case the operator has the answer within two minutes.
LIMITS = SessionLimits(
    resolve_seconds=10,
    connect_seconds=10,
    opening_seconds=60,
    silence_seconds=30,
    whole_seconds=50,
)


def probe(
    endpoint: SftpEndpoint,
    spool: PurePosixPath,
    *,
    clock: Clock,
    limits: SessionLimits | None = None,
    judge_receipt: Callable[[str, bytes], None] | None = None,
    free_floor_percent: float = 0,
    read_also: Collection[str] = (),
) -> list[ProbeStep]:
    """Publish a test file like an archive; stop at the first step that fails.

    Missing subfolders of an empty spool are made, as by the first publication, and removed if the
    account may remove folders.

    Args:
        endpoint: SFTP account at the receiver.
        spool: Path of the spool, as the account sees it.
        clock: Clock of this machine.
        limits: Time limits of the session; by default shorter than those of an upload.
        judge_receipt: Function that gets the name and content of the newest receipt, and of each
            file in `read_also`; raises an `ArSyncError` for an invalid one.
        free_floor_percent: Free space below which the step has a warning.
        read_also: Names of other files in the folder of receipts to read if they exist.

    Returns:
        All steps in order; those after a failed step were not tried.
    """
    record = StepRecord(endpoint)
    try:
        with open_session(endpoint, limits or LIMITS, observe=record.opening) as session:
            record.describe_opening(session)
            check_the_spool(
                record, session, spool, clock, judge_receipt, free_floor_percent, read_also
            )
    except ArSyncError as error:
        record.close(error)
    return record.steps
