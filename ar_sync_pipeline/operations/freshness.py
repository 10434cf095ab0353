"""How old an asset may become before Dagster shows it as stale; the daemon checks twice a minute.

A policy counts from the last materialization. It is therefore only for assets that every run
materializes: an asset without new data must not turn red. The check `up_to_date` evaluates the
age of the data itself. Dagster writes an event only when the state changes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.settings.cron import longest_pause
from ar_sync_pipeline.sync.watch.arrived_archives import TOO_LATE

_LATE = timedelta(hours=2)


def every_window(interval_minutes: int) -> dg.FreshnessPolicy:
    """Return the policy of assets of every partial: late after three windows, stale after six."""
    interval = timedelta(minutes=interval_minutes)
    return dg.FreshnessPolicy.time_window(fail_window=6 * interval, warn_window=3 * interval)


def every_complete(cron: str, timezone: str) -> dg.FreshnessPolicy:
    """Return the policy of assets of every complete, by the longest pause of the schedule.

    An asset is late two hours after that pause and stale six hours after it.
    """
    pause = longest_pause(cron, timezone, datetime.now(UTC))
    return dg.FreshnessPolicy.time_window(fail_window=pause + TOO_LATE, warn_window=pause + _LATE)


def within(minutes: int) -> dg.FreshnessPolicy:
    """Return a policy that makes an asset stale after some minutes."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=minutes))


def with_freshness(
    assets: dg.AssetsDefinition, policies: Mapping[dg.AssetKey, dg.FreshnessPolicy]
) -> dg.AssetsDefinition:
    """Return the assets, with the policies of these keys."""
    return assets.map_asset_specs(
        lambda spec: (
            dg.apply_freshness_policy(spec, policies[spec.key]) if spec.key in policies else spec
        )
    )
