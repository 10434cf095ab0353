"""The check that the receiver's data is recent, even if nothing arrives or runs."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.clock import from_epoch
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.runs.run_state import (
    at_work_since,
    has_last_run_failed,
    last_success,
)
from ar_sync_pipeline.operations.standing_check import (
    INTERRUPTION,
    LOAD_MAY_TAKE,
    Evaluation,
    doublings,
    standing_check,
    standing_check_sensor,
)
from ar_sync_pipeline.receiver.jobs import load_jobs, load_under_way
from ar_sync_pipeline.receiver.late_archives import has_own_incident
from ar_sync_pipeline.receiver.ledger_metadata import unapplied_metadata
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.stopped_sensors import (
    StoppedSensors,
    lag_with,
    stopped_sensors,
    view_with,
)
from ar_sync_pipeline.sync.load.acknowledge import (
    acknowledge_by_hand,
    report_load_at_work,
)
from ar_sync_pipeline.sync.load.media_of_load import recover_by_itself
from ar_sync_pipeline.sync.watch.arrived_archives import complete_due_within
from ar_sync_pipeline.sync.watch.lag import Lag
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.status import PARKED_REPLACED, VANISHED, Status
from ar_sync_pipeline.sync.watch.unapplied import view_ledger

# A receiver that was off loads at its sensors' first ticks what has arrived since then.
_SETTLES = timedelta(minutes=10)
_JUST_NOW = timedelta(minutes=5)
_WINDOWS = 2
_CLOSES_WITHIN_WINDOWS = 3
_DATA_UNTIL = "data_until"
_UNAPPLIED = ("waiting", "parked", PARKED_REPLACED, "quarantined")
# Longer than it takes a person who reads the mail about these archives, or two retries.
_WITH_OWN_INCIDENT = timedelta(hours=6)


def up_to_date_spec(site: ReceiverSite) -> dg.AssetCheckSpec:
    """Return the specification, on the ledger, which knows up to when the data is complete."""
    return check_spec(
        "up_to_date",
        applied_archives_key(site.names),
        meaning=f"The receiver shows data that is at most {site.settings.max_lag} minutes"
        " old (AR_SYNC_MAX_LAG)",
        remedy="the reason is in the result. Nothing arrives: look at the sender's"
        " `partial_dump` and at `ssh_sftp_checker`. Archives wait: look at the last"
        " load. One is parked or has vanished: do what the result says. DDL at the receiver has"
        " changed rows of a table: wait for the sender's next complete. No complete"
        " comes: look at the newest run of the sender's `complete_dump`, and switch"
        " `complete_dump_schedule` on",
        page="receiver_is_behind",
    )


def up_to_date_check(site: ReceiverSite) -> dg.AssetChecksDefinition:
    """Return the check, which can be executed from the UI and ends every load."""
    return standing_check(
        up_to_date_spec(site),
        lambda instance, repository: check_lag(site, instance, repository),
        site.clock,
        site.names,
    )


def up_to_date_sensor(site: ReceiverSite) -> dg.SensorDefinition:
    """Return a sensor that evaluates the check every minute."""
    # Data that is applied is up to two windows old.
    oldest = _WINDOWS * timedelta(minutes=site.settings.partial_interval)
    return standing_check_sensor(
        [up_to_date_spec(site)],
        lambda instance, repository: _evaluate(site, instance, repository),
        site.clock,
        name=site.names.name("data_age"),
        description="Shows how far behind the receiver is, also when nothing arrives. Tells the"
        " sender if rejected archives were moved by hand or the database was restored, and that a"
        " load is at work.",
        interruption=min(INTERRUPTION, timedelta(minutes=site.settings.max_lag) - oldest),
        recall=lambda last, error: _last_known(site, last, error),
    )


def _evaluate(
    site: ReceiverSite, instance: dg.DagsterInstance, repository_id: str | None
) -> list[Evaluation]:
    found = check_lag(site, instance, repository_id)
    recover_by_itself(site.settings, site.catalog.name)
    try:
        _report(site, instance)
    except ArSyncError as error:
        # Loads and `preflight` find what is wrong with the spool; this check is about the data.
        said = f"{found.result.description} The sender is not told: {error.problem}."
        found = replace(found, result=found.result._replace(description=said))
    return [found]


def _last_known(
    site: ReceiverSite, last: dg.AssetCheckEvaluation, error: ArSyncError
) -> dg.AssetCheckResult | None:
    """Return the lag now of the data that was known last, while nobody can tell whether it is."""
    until = last.metadata.get(_DATA_UNTIL)
    if not isinstance(until, dg.TimestampMetadataValue):
        return None
    data_until = from_epoch(until.value)
    minutes = (site.clock() - data_until) / timedelta(minutes=1)
    lag = Lag(data_until, minutes, str(error).rstrip("."))
    return result_for(
        up_to_date_spec(site),
        passed=last.passed and minutes <= site.settings.max_lag,
        description=_message(lag),
        metadata=_metadata(lag),
    )


def _report(site: ReceiverSite, instance: dg.DagsterInstance) -> None:
    """Tell the sender what a person has changed, and that a load is at work."""
    acknowledge_by_hand(site.settings, site.clock)
    if _is_to_report(site, instance):
        report_load_at_work(site.settings, site.clock)


def _is_to_report(site: ReceiverSite, instance: dg.DagsterInstance) -> bool:
    """Return whether a load is at work that the sender can wait for.

    A run in the queue does nothing yet, and a load that fails again and again never ends.
    """
    jobs, key = load_jobs(site.names), applied_archives_key(site.names)
    since = at_work_since(instance, jobs, key)
    if since is None:
        return False
    return site.clock() - since > _JUST_NOW or not has_last_run_failed(instance, jobs, key)


def check_lag(
    site: ReceiverSite, instance: dg.DagsterInstance, repository_id: str | None = None
) -> Evaluation:
    """Return the lag of the receiver now, and its reason.

    Args:
        repository_id: Repository of the receiver's sensors; None: those of all code locations.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
        SpoolMissingError: The spool does not exist.
    """
    status = receiver_status(site.settings, site.catalog, site.clock())
    lag = status.lag
    late = lag.minutes_behind is not None and lag.minutes_behind > site.settings.max_lag
    other = status.unverified or status.overdue_complete
    wrong = late or lag.ahead or other or status.count(VANISHED)
    passed = lag.data_until is not None and not wrong
    stopped = stopped_sensors(site, instance, repository_id)
    result = result_for(
        up_to_date_spec(site),
        passed=passed,
        # A receiver that was set up a minute ago is not broken.
        severity=dg.AssetCheckSeverity.ERROR if late or lag.ahead else dg.AssetCheckSeverity.WARN,
        description=_message(lag_with(stopped, lag)),
        metadata=_metadata(lag) | _not_applied(site, status, stopped),
    )
    news = _news(status, site.settings.max_lag)
    if lag.data_until is None and not status.count(VANISHED):
        return Evaluation(result, news, settles=complete_due_within(site.settings, site.clock()))
    if late and lag.data_until and _is_loading(status, site, instance):
        late_from = lag.data_until + timedelta(minutes=site.settings.max_lag)
        return Evaluation(result, news, late_from + LOAD_MAY_TAKE, LOAD_MAY_TAKE)
    return Evaluation(result, news, _mail_from(status, site), _SETTLES)


def _mail_from(status: Status, site: ReceiverSite) -> datetime | None:
    """Return when the finding is mailed if it lasts until then; None: at once."""
    lag = status.lag
    if lag.ahead or status.unverified or status.overdue_complete:
        return None
    late = lag.minutes_behind is not None and lag.minutes_behind > site.settings.max_lag
    if not late:
        return _mail_of_vanished(status, site)
    if lag.data_until and not status.count(VANISHED) and has_own_incident(status, site):
        return lag.data_until + _WITH_OWN_INCIDENT
    return None


def _mail_of_vanished(status: Status, site: ReceiverSite) -> datetime | None:
    """Return when a vanished archive is mailed: the next partial brings what a partial held."""
    newest = (ArchiveName.parse(one.newest) for one in status.archives if one.state == VANISHED)
    windows = _CLOSES_WITHIN_WINDOWS * timedelta(minutes=site.settings.partial_interval)
    return max((name.snapshot_at + windows for name in newest if name), default=None)


def _is_loading(status: Status, site: ReceiverSite, instance: dg.DagsterInstance) -> bool:
    """Return whether a load brings newer data, or just ended and left some to the next."""
    if load_under_way(instance, site) is not None:
        return True
    if not status.count("waiting"):
        return False
    now, key = site.clock(), applied_archives_key(site.names)
    last = last_success(instance, key, now, job_names=load_jobs(site.names))
    return last is not None and abs(now - last) < _JUST_NOW


def _message(lag: Lag) -> str:
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
        _DATA_UNTIL: dg.MetadataValue.timestamp(lag.data_until),
        "lag_seconds": round(60 * lag.minutes_behind, 1),
    }


def _not_applied(site: ReceiverSite, status: Status, stopped: StoppedSensors) -> dict[str, Any]:
    """Return the list of archives that are not applied, which a failed load leaves out of date."""
    if not any(status.count(state) for state in _UNAPPLIED):
        return {}
    view = view_ledger(site.settings, status.parked)
    return unapplied_metadata(view_with(stopped, view))


def _news(status: Status, limit_minutes: int) -> frozenset[str]:
    """Return what this check judges: not the reason, which changes while the state lasts.

    The reason also names open incidents, of which that of this check is one. Late data is a new
    finding at 30 minutes, 1, 2, 4, 8 hours.
    """
    lag, found = status.lag, {f"unverified {table}" for table in status.unverified}
    if lag.data_until is None:
        found.add("no data")
    if lag.minutes_behind is not None and lag.minutes_behind > limit_minutes:
        found |= doublings("late", lag.minutes_behind / limit_minutes)
    if lag.ahead:
        found.add("ahead")
    found |= {f"vanished {one.newest}" for one in status.archives if one.state == VANISHED}
    if status.overdue_complete is not None:
        found.add(f"no complete since {status.overdue_complete.isoformat()}")
    return frozenset(found)
