"""The windows of partial archives, as Dagster's partitions."""

from datetime import datetime, timedelta

import dagster as dg

KEY_FORMAT = "%Y-%m-%dT%H:%MZ"


def window_partitions(
    now: datetime, *, days_back: int, interval_minutes: int
) -> dg.TimeWindowPartitionsDefinition:
    """Windows aligned to the clock, in UTC, from some days ago on.

    The start is bounded because Dagster lists every key (100,000 an asset at most are advised);
    the ledger is the truth about the past.
    """
    start = (now - timedelta(days=days_back)).replace(hour=0, minute=0, second=0, microsecond=0)
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule=f"*/{interval_minutes} * * * *" if interval_minutes < 60 else "0 * * * *",  # noqa: PLR2004  minutes of an hour
        start=start.strftime(KEY_FORMAT),
        fmt=KEY_FORMAT,
        timezone="UTC",
    )
