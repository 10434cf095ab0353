"""How old an asset may become before Dagster shows it as stale; the daemon checks twice a minute.

A policy counts from the last materialization. It is therefore only for assets that every run
materializes: an asset without new data must not turn red. The check `up_to_date` evaluates the
age of the data itself. Dagster writes an event only when the state changes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import cron_string_iterator

_LONG_ENOUGH = timedelta(days=32)
_MOST_TICKS = 2000
_LATE, _TOO_LATE = timedelta(hours=2), timedelta(hours=6)


def every_window(interval_minutes: int) -> dg.FreshnessPolicy:
    """Return the policy of assets of every partial: late after three windows, stale after six."""
    interval = timedelta(minutes=interval_minutes)
    return dg.FreshnessPolicy.time_window(fail_window=6 * interval, warn_window=3 * interval)


def every_complete(cron: str, timezone: str) -> dg.FreshnessPolicy:
    """Return the policy of assets of every complete, by the longest pause of the schedule.

    An asset is late two hours after that pause and stale six hours after it.
    """
    pause = longest_pause(cron, timezone, datetime.now(UTC))
    return dg.FreshnessPolicy.time_window(fail_window=pause + _TOO_LATE, warn_window=pause + _LATE)


def first_complete_within(cron: str, timezone: str, now: datetime) -> timedelta:
    """Return how long a new receiver may wait for its first complete."""
    return longest_pause(cron, timezone, now) + _TOO_LATE


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


def longest_pause(cron: str, timezone: str, now: datetime) -> timedelta:
    """Return the longest time between two ticks of a schedule, such as a weekend without ticks."""
    longest, last = timedelta(0), None
    ticks = cron_string_iterator(now.timestamp(), cron, timezone)
    for number, local in zip(range(_MOST_TICKS), ticks, strict=False):
        # Python subtracts two times of one zone as local times, without changes of the UTC offset.
        tick = local.astimezone(UTC)
        if last is not None:
            longest = max(longest, tick - last)
        last = tick
        if number > 1 and tick - now > _LONG_ENOUGH:
            break
    return longest
