"""How old an asset may become before Dagster shows it as stale; the daemon looks twice a minute.

A policy counts from the last materialization, so it belongs where runs always materialize: an
asset that had nothing to do must not turn red. What the data itself says of its age is the check
`up_to_date`. An event is written when the state changes, and only then.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from ar_sync_pipeline.operations.dagster_internals import cron_string_iterator

_LONG_ENOUGH = timedelta(days=32)
_MOST_TICKS = 2000
_LATE, _TOO_LATE = timedelta(hours=2), timedelta(hours=6)


def every_window(interval_minutes: int) -> dg.FreshnessPolicy:
    """What every partial makes: late after three windows, stale after six."""
    interval = timedelta(minutes=interval_minutes)
    return dg.FreshnessPolicy.time_window(fail_window=6 * interval, warn_window=3 * interval)


def every_complete(cron: str, timezone: str) -> dg.FreshnessPolicy:
    """What every complete makes: late two hours after the longest pause of the schedule."""
    pause = longest_pause(cron, timezone, datetime.now(UTC))
    return dg.FreshnessPolicy.time_window(fail_window=pause + _TOO_LATE, warn_window=pause + _LATE)


def first_complete_within(cron: str, timezone: str, now: datetime) -> timedelta:
    """How long a new receiver may wait for its first complete."""
    return longest_pause(cron, timezone, now) + _TOO_LATE


def within(minutes: int) -> dg.FreshnessPolicy:
    """Stale after so many minutes."""
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=minutes))


def with_freshness(
    assets: dg.AssetsDefinition, policies: Mapping[dg.AssetKey, dg.FreshnessPolicy]
) -> dg.AssetsDefinition:
    """The assets, those of these keys with their policy."""
    return assets.map_asset_specs(
        lambda spec: (
            dg.apply_freshness_policy(spec, policies[spec.key]) if spec.key in policies else spec
        )
    )


def longest_pause(cron: str, timezone: str, now: datetime) -> timedelta:
    """Between two ticks of a schedule, such as the weekend of one that rests then."""
    longest, last = timedelta(0), None
    ticks = cron_string_iterator(now.timestamp(), cron, timezone)
    for number, local in zip(range(_MOST_TICKS), ticks, strict=False):
        # Two instants of one zone are subtracted by the clock on the wall.
        tick = local.astimezone(UTC)
        if last is not None:
            longest = max(longest, tick - last)
        last = tick
        if number > 1 and tick - now > _LONG_ENOUGH:
            break
    return longest
