"""The check that no window is missing in the grid, also when the schedule itself rests."""

from datetime import datetime, timedelta
from functools import partial

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.standing_check import Look, standing_check, standing_check_sensor
from ar_sync_pipeline.sender.missing_windows import missing_windows
from ar_sync_pipeline.sender.site import SenderSite

_ON_THEIR_WAY = 2
_SHOWN = 5


def no_gap_spec() -> dg.AssetCheckSpec:
    """On the partial archive, whose partitions the windows are."""
    return dg.AssetCheckSpec(
        "no_gap_in_windows",
        asset=archive_key(ArchiveKind.PARTIAL),
        description="Every window of the last hours has its archive, the newest two aside. If not:"
        " see that the schedule `partial_dump_schedule` is on and what the last run of"
        " `partial_dump` says; the next run takes missed windows along. Their rows are not lost:"
        " every partial carries all changes since the newest archive that the receiver has.",
    )


def no_gap_check(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> dg.AssetChecksDefinition:
    """The check as an operator executes it."""
    return standing_check(no_gap_spec(), partial(look_for_gaps, site, windows))


def no_gap_sensor(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> dg.SensorDefinition:
    """Looks every minute."""
    return standing_check_sensor(
        no_gap_spec(),
        partial(look_for_gaps, site, windows),
        name="window_gaps",
        description="Looks for windows without an archive.",
    )


def look_for_gaps(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition, instance: dg.DagsterInstance
) -> Look:
    """Which windows are missing in the grid right now."""
    missing = [
        window
        for window in missing_windows(
            instance, archive_key(ArchiveKind.PARTIAL), windows, site.clock()
        )
        if _is_due(window, windows, site)
    ]
    result = dg.AssetCheckResult(
        asset_key=archive_key(ArchiveKind.PARTIAL),
        check_name="no_gap_in_windows",
        passed=not missing,
        severity=dg.AssetCheckSeverity.WARN,
        description=_sentence(missing),
        metadata={"missing_windows": len(missing)},
    )
    return Look(result, missing[0] if missing else "")


def _is_due(window: str, windows: dg.TimeWindowPartitionsDefinition, site: SenderSite) -> bool:
    """The newest windows may be in a run that has just begun."""
    end: datetime = windows.time_window_for_partition_key(window).end
    grace = _ON_THEIR_WAY * timedelta(minutes=site.settings.partial_interval)
    return end <= site.clock() - grace


def _sentence(missing: list[str]) -> str:
    if not missing:
        return "Every window that is due has an archive."
    shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
    have = "1 window has" if len(missing) == 1 else f"{len(missing)} windows have"
    return f"{have} no archive: {shown}."
