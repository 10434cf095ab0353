"""A sensor that evaluates the transform's checks even if no load comes and every run fails.

A run evaluates the checks after the transform. If the transform fails, its rows grow old while
nothing runs.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import applied_archives_key, postprocessed_key
from ar_sync_pipeline.operations.runs.run_state import at_work_since
from ar_sync_pipeline.operations.standing_check import Evaluation, standing_check_sensor
from ar_sync_pipeline.postgres.errors import LockWaitError
from ar_sync_pipeline.receiver.jobs import load_jobs
from ar_sync_pipeline.receiver.postprocess_checks import (
    WAITING,
    check_specs,
    news_of,
    results_of,
)
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.load.postprocess import postprocess_state

INTERVAL_SECONDS = 300
# Rows that waited while the receiver was off are transformed as soon as it is back.
_SETTLES = timedelta(minutes=10)
# A first load locks the tables that it fills, and is ended if anybody waits for them for long
# (AR_SYNC_MAX_BLOCKING_SECONDS, at least one second).
_LONGEST_LOCK_WAIT = "500ms"
_NEXT_TICKS = timedelta(seconds=2 * INTERVAL_SECONDS)


def postprocess_sensor(site: ReceiverSite) -> dg.SensorDefinition:
    """Return a sensor that evaluates both checks every five minutes."""
    return standing_check_sensor(
        check_specs(site),
        lambda instance, _repository: _evaluations(instance, site),
        site.clock,
        name=site.names.name("untransformed_rows"),
        description="Looks for rows that the transform has left for too long or rejected, and"
        " shows them in the checks of `postprocessed_rows`.",
        interval_seconds=INTERVAL_SECONDS,
    )


def _evaluations(instance: dg.DagsterInstance, site: ReceiverSite) -> Sequence[Evaluation]:
    """Return the findings; none while a load locks the tables."""
    try:
        state = postprocess_state(
            site.settings, site.catalog, site.clock, lock_timeout=_LONGEST_LOCK_WAIT
        )
    except LockWaitError:
        if at_work_since(instance, load_jobs(site.names), applied_archives_key(site.names)) is None:
            raise
        return []
    return [
        Evaluation(
            result,
            news,
            mail_from=_end_of_work(instance, site) if _is_late(result) else None,
            settles=_SETTLES,
        )
        for result, news in zip(results_of(state, site), news_of(state), strict=True)
    ]


def _is_late(result: dg.AssetCheckResult) -> bool:
    return not result.passed and result.check_name == WAITING


def _end_of_work(instance: dg.DagsterInstance, site: ReceiverSite) -> datetime | None:
    """Return a time after the next ticks while the run that loaded the rows transforms them.

    A run that began later than the rows became too old to wait found them there: an earlier
    transform has failed, or has left them behind. A run ends at its maximum runtime at the latest.
    """
    now, key = site.clock(), postprocessed_key(site.names)
    since = at_work_since(instance, load_jobs(site.names), key)
    longest = timedelta(minutes=site.settings.transform_max_age)
    return now + _NEXT_TICKS if since is not None and now - since >= longest else None
