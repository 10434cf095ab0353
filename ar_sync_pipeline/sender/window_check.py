"""The check that no window of the grid is missing, even if the schedule is stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.check_evaluation import REMEDY
from ar_sync_pipeline.operations.check_history import last_evaluation
from ar_sync_pipeline.operations.check_specs import check_spec, result_for
from ar_sync_pipeline.operations.pair_names import PairNames
from ar_sync_pipeline.operations.runs.backoff import LONGEST_PAUSE
from ar_sync_pipeline.operations.runs.run_state import (
    failures_in_a_row,
    is_stopped,
    last_canceled,
    last_end_by_hand,
    last_success,
    work_under_way,
)
from ar_sync_pipeline.operations.standing_check import (
    INTERRUPTION,
    Evaluation,
    standing_check,
    standing_check_sensor,
)
from ar_sync_pipeline.operations.windows import KEY_FORMAT
from ar_sync_pipeline.sender.jobs import PARTIAL_DUMP
from ar_sync_pipeline.sender.missing_windows import (
    HORIZON,
    find_missing_windows,
    no_window_yet,
)
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.window_requests import SCHEDULE

# Two windows may be in a run that has just started; the next tick starts a third one.
_ON_THEIR_WAY, _UNTIL_THE_NEXT_RUN = 2, 3
_SHOWN = 5
_FAILED_UNTIL = "failed_until_window"
# A gap fails the check after two windows: a tick a minute would find it no sooner.
_TICKS_PER_WINDOW = 2.5
_FASTEST_SECONDS, _SLOWEST_SECONDS = 60, 300


_TAKEN_ALONG = (
    "the next run takes missed windows along. Their rows are not lost: every partial carries all"
    " changes since the newest archive that the receiver has"
)


def no_gap_spec(names: PairNames) -> dg.AssetCheckSpec:
    """Return the specification, on the partial archive, whose partitions are the windows."""
    return check_spec(
        "no_gap_in_windows",
        archive_key(ArchiveKind.PARTIAL, names),
        meaning=f"Every window of the last {HORIZON.total_seconds() / 3600:.0f} hours has"
        " its archive, or a run is about to make it",
        remedy=f"switch the schedule `{names.name(SCHEDULE)}` on, start the daemon, and read"
        f" the error of the last run of `{names.name(PARTIAL_DUMP)}`; {_TAKEN_ALONG}. A window"
        " has none either if its archive was made while the clock was ahead",
        page="gap_in_windows",
    )


def no_gap_check(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> dg.AssetChecksDefinition:
    """Return the check, which can also be executed from the UI."""
    return standing_check(
        no_gap_spec(site.names), partial(check_for_gaps, site, windows), site.clock, site.names
    )


def no_gap_sensor(
    site: SenderSite, windows: dg.TimeWindowPartitionsDefinition
) -> dg.SensorDefinition:
    """Return a sensor that evaluates the check a few times in each window."""
    interval = timedelta(minutes=site.settings.partial_interval)
    seconds = int(interval.total_seconds() / _TICKS_PER_WINDOW)
    return standing_check_sensor(
        [no_gap_spec(site.names)],
        lambda instance, repository_id: [check_for_gaps(site, windows, instance, repository_id)],
        site.clock,
        name=site.names.name("window_gaps"),
        description="Looks for windows without an archive.",
        interval_seconds=min(max(seconds, _FASTEST_SECONDS), _SLOWEST_SECONDS),
        interruption=min(INTERRUPTION, _ON_THEIR_WAY * interval),
    )


def check_for_gaps(
    site: SenderSite,
    windows: dg.TimeWindowPartitionsDefinition,
    instance: dg.DagsterInstance,
    repository_id: str | None = None,
) -> Evaluation:
    """Return which windows are missing in the grid now; pass if a run is about to fill them.

    A gap that has failed it is over when its windows have archives: a run that has begun may fail.
    """
    spec, schedule = no_gap_spec(site.names), site.names.name(SCHEDULE)
    stopped = is_stopped(instance, schedule, repository_id)
    found = _Gaps.find(site, windows, instance, stopped=stopped)
    until = _known_until(last_evaluation(instance, spec.key))
    found = replace(found, known=bool(found.missing) and found.missing[0] <= until)
    described = found.in_words
    metadata: dict[str, object] = {"missing_windows": len(found.missing)}
    if found.missing and not found.passed:
        # Later windows that a run has on its way do not prolong a gap.
        metadata[_FAILED_UNTIL] = (
            until if found.known and found.is_on_its_way else found.missing[-1]
        )
    if stopped and not found.passed:
        described = f"{described} The schedule {schedule} is stopped."
        metadata[REMEDY] = f"switch the schedule `{schedule}` on; {_TAKEN_ALONG}"
    result = result_for(
        spec,
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=described,
        metadata=metadata,
    )
    interval = timedelta(minutes=site.settings.partial_interval)
    news = frozenset[str]() if result.passed else found.beginnings(interval)
    return Evaluation(
        result,
        news,
        mail_from=_mail_from(found, site.clock(), _ON_THEIR_WAY * interval, stopped=stopped),
        settles=_UNTIL_THE_NEXT_RUN * interval,
    )


def _known_until(last: dg.AssetCheckEvaluation | None) -> str:
    """Return the newest window by which the check has failed; empty if it has not."""
    newest = last.metadata.get(_FAILED_UNTIL) if last is not None and not last.passed else None
    return str(newest.value) if newest is not None else ""


def _mail_from(
    found: "_Gaps", now: datetime, grace: timedelta, *, stopped: bool
) -> datetime | None:
    # Failed runs have their own incidents, and the windows that they missed are a consequence; not
    # those that no run follows any more.
    if found.failures and not stopped:
        return max(found.failures) + LONGEST_PAUSE + grace
    return now + grace if found.filled_by is not None else None


@dataclass(frozen=True)
class _Gaps:
    """Due windows without an archive.

    Attributes:
        missing: Their keys, oldest first.
        older: Keys of windows without an archive before the horizon, oldest first.
        filled_by: Text about the work that will make their archives; None: nothing will.
        failures: When the last runs failed, without a success since.
        job: Name of the job of these runs.
        none_yet: Why the grid has no closed window; None: it has one.
        known: Whether the check has failed by some of them already.
    """

    missing: list[str]
    older: Sequence[str]
    filled_by: str | None
    failures: list[datetime]
    job: str
    none_yet: str | None = None
    known: bool = False

    @property
    def passed(self) -> bool:
        return self.none_yet is None and (
            not self.missing or (self.is_on_its_way and not self.known)
        )

    @property
    def is_on_its_way(self) -> bool:
        return self.filled_by is not None and not self.failures

    @classmethod
    def find(
        cls,
        site: SenderSite,
        windows: dg.TimeWindowPartitionsDefinition,
        instance: dg.DagsterInstance,
        *,
        stopped: bool,
    ) -> "_Gaps":
        now, key = site.clock(), archive_key(ArchiveKind.PARTIAL, site.names)
        job = site.names.name(PARTIAL_DUMP)
        grace = _ON_THEIR_WAY * timedelta(minutes=site.settings.partial_interval)
        found = find_missing_windows(instance, key, windows, now)
        missing = [window for window in found.recent if _end(windows, window) <= now - grace]
        if not missing:
            return cls([], (), None, [], job, no_window_yet(windows, now))
        # Not of other jobs of this side: they send no window.
        last = last_success(instance, key, now, job_names=[job])
        failures = failures_in_a_row(instance, job, last, now)
        filled_by = work_under_way(instance, job, key, now)
        if filled_by is not None and not stopped:
            # A backfill may be at work on other windows.
            filled_by += " or the next one"
        if filled_by is None and not failures:
            # A person who cancels a run leaves its windows to the next one. So does a run by hand,
            # whatever becomes of it: none is started beside it.
            ends = [last]
            if not stopped:
                ends += [last_canceled(instance, job, now), last_end_by_hand(instance, key, now)]
            if any(end is not None and abs(now - end) <= grace for end in ends):
                filled_by = "The next run"
            elif last is None and not stopped:
                filled_by = "The first run"
        return cls(missing, found.older, filled_by, failures, job)

    def beginnings(self, interval: timedelta) -> frozenset[str]:
        """Return the first window of each gap, which one more missing window does not change.

        A gap that is longer than the horizon still begins where it began.
        """
        found: set[str] = set()
        recent, end, begin = set(self.missing), None, ""
        for key in (*self.older, *self.missing):
            start = datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC)
            begin = begin if start == end else key
            end = start + interval
            if key in recent:
                found.add(begin)
        return frozenset(found or {"no window"})

    @property
    def in_words(self) -> str:
        if self.none_yet is not None:
            return self.none_yet
        if not self.missing:
            return "Every window that is due has an archive."
        shown = ", ".join(self.missing[:_SHOWN]) + (", …" if len(self.missing) > _SHOWN else "")
        have = "1 window has" if len(self.missing) == 1 else f"{len(self.missing)} windows have"
        text = f"{have} no archive: {shown}."
        if len(self.failures) == 1:
            text += f" The last run of {self.job} has failed."
        elif self.failures:
            text += f" The last {len(self.failures)} runs of {self.job} have failed."
        if self.filled_by is not None:
            text += f" {self.filled_by} {'takes' if self.passed else 'is to take'} them along."
        return text


def _end(windows: dg.TimeWindowPartitionsDefinition, key: str) -> datetime:
    end: datetime = windows.time_window_for_partition_key(key).end
    return end
