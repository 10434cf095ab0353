"""The connectivity check: every step to a published file, named, timed and explained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.probe_spool import check_the_spool
from ar_sync_pipeline.sftp.probe_steps import STEPS, ProbeOutcome, ProbeStep, StepRecord
from ar_sync_pipeline.sftp.session import SessionLimits, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import PurePosixPath

    from ar_sync_pipeline.sftp.endpoint import SftpEndpoint

__all__ = ["LIMITS", "STEPS", "ProbeOutcome", "ProbeStep", "probe"]

# Together 110 s: whatever hangs, a person who waits has the answer within two minutes.
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
    clock: Callable[[], datetime],
    limits: SessionLimits | None = None,
    judge_receipt: Callable[[str, bytes], None] | None = None,
    free_floor_percent: float = 0,
    read_also: Collection[str] = (),
) -> list[ProbeStep]:
    """Walk the whole way of an archive with a test file; stop at the first step that fails.

    Missing subfolders of an empty spool are made, as the first publication would do, and
    removed where the account may remove folders.

    Args:
        endpoint: the receiver's account.
        spool: the spool, as that account sees it.
        clock: this machine's aware time.
        limits: of the session; by default shorter than an upload's.
        judge_receipt: told the name and the content of the newest receipt, and of those of
            `read_also`; raises an `ArSyncError` if it is not one.
        free_floor_percent: less free space than this is a warning.
        read_also: names in the folder of receipts that are read where they are there.

    Returns:
        All steps in order; those behind one that failed were not tried.
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
