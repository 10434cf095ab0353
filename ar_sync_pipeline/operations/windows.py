"""The windows of partial archives, as Dagster's partitions."""

from datetime import datetime, timedelta

import dagster as dg

KEY_FORMAT = "%Y-%m-%dT%H:%MZ"
WINDOW_TAG = "ar_sync/window"
# A limit, because an archive of any origin must not decide how many events are written.
_MOST_WINDOWS = 1000


def window_partitions(
    now: datetime, *, days_back: int, interval_minutes: int, first: datetime | None = None
) -> dg.TimeWindowPartitionsDefinition:
    """Return windows aligned to the clock, in UTC, from some days ago or from the first one on.

    The start is bounded because Dagster lists every key; its documentation advises at most 100,000
    for an asset. The ledger is the source of truth about the past.
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
    """Return the keys of the windows in a range, oldest first; at most the first 1000."""
    many = min(max(1, round((end - start) / timedelta(minutes=interval_minutes))), _MOST_WINDOWS)
    step = timedelta(minutes=interval_minutes)
    return [(start + number * step).strftime(KEY_FORMAT) for number in range(many)]


def window_in_words(start: datetime, end: datetime, many: int) -> str:
    """Return the text of a window, or of a range: ``2026-11-28 14:35-14:55 (4 windows)``."""
    last = f"{end:%H:%M}" if end - start < timedelta(days=1) else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M}-{last}" + (f" ({many} windows)" if many > 1 else "")
