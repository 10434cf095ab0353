"""Data that is late because archives are not applied, which has an incident of its own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.operations.alerts.check_findings import check_source
from ar_sync_pipeline.operations.alerts.problem_areas import DATABASE, SPOOL
from ar_sync_pipeline.operations.alerts.run_findings import step_source
from ar_sync_pipeline.operations.asset_keys import admitted_key, applied_archives_key
from ar_sync_pipeline.receiver.admission_asset import FITTING, VERIFIED
from ar_sync_pipeline.receiver.load_checks import DIGESTS_CAUSE, GUARD_CAUSE, LOADED
from ar_sync_pipeline.receiver.load_specs import load_step
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.watch.status import Status

# An older failure may be over without a success, such as that of the nightly complete.
_SEEN_WITHIN = timedelta(hours=2)


def has_own_incident(status: Status, site: ReceiverSite) -> bool:
    """Return whether recent archives are here that an open incident says are not applied.

    Without a recent one it is the sender that is silent, whatever else is wrong here.
    """
    causes = {
        "parked": _of_rejected(site),
        "quarantined": _of_rejected(site),
        "waiting": _of_failed_loads(site),
    }
    seen = {
        one.incident.cause
        for one in status.incidents.found
        if site.clock() - one.incident.last_seen_at <= _SEEN_WITHIN
    }
    return any(
        not seen.isdisjoint(causes[one.state]) and _is_recent(one.newest, site)
        for one in status.archives
        if one.state in causes
    )


def _is_recent(name: str, site: ReceiverSite) -> bool:
    archive = ArchiveName.parse(name)
    limit = timedelta(minutes=site.settings.max_lag)
    return archive is not None and site.clock() - archive.snapshot_at <= limit


def _of_rejected(site: ReceiverSite) -> Iterable[str]:
    ledger, admitted = applied_archives_key(site.names), admitted_key(site.names)
    checks = [(ledger, LOADED), (admitted, VERIFIED), (admitted, FITTING)]
    keys = (dg.AssetCheckKey(asset, name) for asset, name in checks)
    return {GUARD_CAUSE, DIGESTS_CAUSE, *map(check_source, keys)}


def _of_failed_loads(site: ReceiverSite) -> Iterable[str]:
    steps = admitted_key(site.names).to_python_identifier(), load_step(site.names)
    return {SPOOL.cause, DATABASE.cause, *map(step_source, steps)}
