"""Requests of loads while an archive is on its way, because the sender has announced it."""

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.runs.run_state import has_last_run_failed
from ar_sync_pipeline.receiver.jobs import intake_of, load_jobs
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.spool.announcement import expected_archive
from ar_sync_pipeline.spool.states import is_waiting


def request_for_expected(instance: dg.DagsterInstance, site: ReceiverSite) -> dg.RunRequest | None:
    """Return a request of a load that waits for the announced archive; None: none is announced.

    One announcement starts one run. After a failed load there is none, because the success of a run
    without an archive would look like the end of the failure; and none while a complete waits for
    its own load.
    """
    now, spool = site.clock(), site.settings.remote_bkp_fldr
    keys = site.settings.signing_keys.accepted(now)
    expected = expected_archive(spool, now, signing_keys=keys)
    if expected is None or is_waiting(spool, ArchiveKind.COMPLETE):
        return None
    if has_last_run_failed(instance, load_jobs(site.names), applied_archives_key(site.names)):
        return None
    return dg.RunRequest(
        run_key=f"announced_{expected.announcement_id}",
        run_config=intake_of([ArchiveKind.PARTIAL], site.names, expected.until),
    )
