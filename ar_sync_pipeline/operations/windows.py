"""The windows of partial archives, as Dagster's partitions."""

from datetime import datetime, timedelta

import dagster as dg

KEY_FORMAT = "%Y-%m-%dT%H:%MZ"
WINDOW_TAG = "ar_sync/window"
# An archive comes from elsewhere: it does not decide how much is written for it.
_MOST_WINDOWS = 1000


def window_partitions(
    now: datetime, *, days_back: int, interval_minutes: int, first: datetime | None = None
) -> dg.TimeWindowPartitionsDefinition:
    """Windows aligned to the clock, in UTC, from some days ago on, or from the first one on.

    The start is bounded because Dagster lists every key (100,000 an asset at most are advised);
    the ledger is the truth about the past.
    """
    start = (now - timedelta(days=days_back)).replace(hour=0, minute=0, second=0, microsecond=0)
    start = start if first is None else max(start, first)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=f"*/{interval_minutes} * * * *" if interval_minutes < 60 else "0 * * * *",  # noqa: PLR2004  minutes of an hour
        start=start.strftime(KEY_FORMAT),
        fmt=KEY_FORMAT,
        timezone="UTC",
    )


def keys_of(start: datetime, end: datetime, interval_minutes: int) -> list[str]:
    """The keys of the windows in a range, oldest first; the first ones of a very long range."""
    many = min(max(1, round((end - start) / timedelta(minutes=interval_minutes))), _MOST_WINDOWS)
    step = timedelta(minutes=interval_minutes)
    return [(start + number * step).strftime(KEY_FORMAT) for number in range(many)]


def window_in_words(start: datetime, end: datetime, many: int) -> str:
    """A window, or a range with their number: ``2026-11-28 14:35-14:55 (4 windows)``."""
    last = f"{end:%H:%M}" if end - start < timedelta(days=1) else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M}-{last}" + (f" ({many} windows)" if many > 1 else "")
