"""Findings about parked archives: what each cause is, and its remedy."""

from __future__ import annotations

from collections.abc import Iterator

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.spool.states import SpoolState, list_parked
from ar_sync_pipeline.sync.load.examine_again import examine_again
from ar_sync_pipeline.sync.load.intakes import other_archives
from ar_sync_pipeline.sync.rejection import by_cause

_MOST_CAUSES = 20


def parked_findings(
    settings: ReceiverSettings, catalog: Catalog, clock: Clock
) -> Iterator[Finding]:
    """Yield a warning for each cause for which archives are parked, that of the oldest first."""
    try:
        parked = [
            *list_parked(settings.remote_bkp_fldr),
            *(one for one in other_archives(settings) if one.state is SpoolState.PARKED),
        ]
    except ArSyncError:
        return  # the check of the spool reports it
    now = examine_again(settings, catalog, parked, clock())
    # Nobody has to act on what the receiver has by now: the next load takes it away.
    for cause in by_cause(one for one in now if not one.replaced)[:_MOST_CAUSES]:
        count = len(cause.names)
        archives = "1 archive is" if count == 1 else f"{count:,} archives are"
        yield Finding(Level.WARNING, f"{archives} parked: {cause.problem}", cause.remedy)
