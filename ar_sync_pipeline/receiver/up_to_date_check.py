"""The check that the receiver shows the sender's present, also when nothing arrives or runs."""

import math
import re

import dagster as dg

from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.standing_check import Look, standing_check, standing_check_sensor
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.sync.watch.lag import Lag
from ar_sync_pipeline.sync.watch.status import receiver_status


def up_to_date_spec(site: ReceiverSite) -> dg.AssetCheckSpec:
    """On the ledger, which knows up to when the data is whole."""
    return dg.AssetCheckSpec(
        "up_to_date",
        asset=applied_archives_key(),
        description="The receiver shows data that is at most"
        f" {site.settings.max_lag} minutes old (AR_SYNC_MAX_LAG). If not: the reason is in the"
        " result. Nothing arrives: look at the sender's `partial_dump` and at `ssh_sftp_checker`."
        " Archives wait: look at the last load. One is parked: do what its reason says.",
    )


def up_to_date_check(site: ReceiverSite) -> dg.AssetChecksDefinition:
    """The check as an operator executes it, and as every load ends with it."""
    return standing_check(up_to_date_spec(site), lambda _: look_at_lag(site))


def up_to_date_sensor(site: ReceiverSite) -> dg.SensorDefinition:
    """Looks every minute."""
    return standing_check_sensor(
        up_to_date_spec(site),
        lambda _: look_at_lag(site),
        name="data_age",
        description="Looks how far behind the receiver is, also when nothing arrives.",
    )


def look_at_lag(site: ReceiverSite) -> Look:
    """How far behind the receiver is right now, and why.

    Raises:
        DatabaseUnreachableError: the receiver's database is not there.
        SpoolMissingError: the spool is not there.
    """
    lag = receiver_status(site.settings, site.clock()).lag
    late = lag.minutes_behind is not None and lag.minutes_behind > site.settings.max_lag
    passed = lag.data_until is not None and not late and not lag.ahead
    result = dg.AssetCheckResult(
        asset_key=applied_archives_key(),
        check_name="up_to_date",
        passed=passed,
        # A receiver that was set up a minute ago is not a broken one.
        severity=dg.AssetCheckSeverity.ERROR if late or lag.ahead else dg.AssetCheckSeverity.WARN,
        description=_sentence(lag),
        metadata=_metadata(lag),
    )
    # One more archive that waits is no news.
    because = re.sub(r"\d+", "", lag.because)
    return Look(result, "" if passed else f"{_doublings(lag, site.settings.max_lag)} {because}")


def _sentence(lag: Lag) -> str:
    if lag.data_until is None or lag.minutes_behind is None or lag.ahead:
        return str(lag)
    return (
        f"Data until {lag.data_until:%Y-%m-%d %H:%M} UTC, {lag.age_in_words} behind,"
        f" because {lag.because}."
    )


def _metadata(lag: Lag) -> dict[str, dg.MetadataValue | float]:
    if lag.data_until is None or lag.minutes_behind is None:
        return {}
    return {
        "data_until": dg.MetadataValue.timestamp(lag.data_until),
        "lag_seconds": round(60 * lag.minutes_behind, 1),
    }


def _doublings(lag: Lag, limit_minutes: int) -> int:
    """Told again when twice as late: 30 minutes, an hour, two, four, eight."""
    if lag.minutes_behind is None:
        return 0
    return int(math.log2(max(1.0, lag.minutes_behind / limit_minutes)))
