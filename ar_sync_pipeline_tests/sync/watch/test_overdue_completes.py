"""Completes that stop while partials come: both sides say so, and nothing else sets it off."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import dagster as dg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline.settings.model import load_receiver_settings
from ar_sync_pipeline.sync.watch.arrived_archives import Arrived, at_possible_times, overdue_since
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute

START = datetime(2026, 11, 20, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
WITHIN = 30 * HOUR


def complete(hours: float, *, took: float = 0.5) -> Arrived:
    at = START + hours * HOUR
    return Arrived("", ArchiveKind.COMPLETE, at, at + took * HOUR)


def partials(first: float, last: float, *, every: float = 0.5) -> list[Arrived]:
    """Return partials at these hours, and at each step between them."""
    steps = int((last - first) / every)
    times = [START + (first + step * every) * HOUR for step in range(steps + 1)]
    return [Arrived("", ArchiveKind.PARTIAL, at, at) for at in times]


def test_complete_is_overdue_when_partials_have_come_for_too_long_without_one() -> None:
    assert overdue_since([complete(0), *partials(1, 30)], WITHIN) is None
    found = overdue_since([complete(0), *partials(1, 31)], WITHIN)
    assert found == START + HOUR / 2


def test_complete_that_took_hours_counts_from_its_end() -> None:
    assert overdue_since([complete(0, took=8), *partials(1, 36)], WITHIN) is None


def test_complete_that_was_applied_in_the_future_counts_from_its_snapshot() -> None:
    """The receiver's clock was a year ahead then."""
    archives = [complete(0, took=365 * 24), *partials(1, 31)]
    found = at_possible_times(archives, START + 31 * HOUR)
    assert overdue_since(found, WITHIN) == START
    assert found[1:] == archives[1:]


def test_new_pair_waits_for_its_first_complete() -> None:
    assert overdue_since([], WITHIN) is None
    assert overdue_since(partials(0, 100), WITHIN) is None


def test_outage_makes_no_complete_overdue_while_it_lasts_or_just_after() -> None:
    """Nothing has come for three days; then the next complete is due within its usual time."""
    before = [complete(0), *partials(1, 10)]
    assert overdue_since(before, WITHIN) is None
    assert overdue_since([*before, *partials(82, 111)], WITHIN) is None
    assert overdue_since([*before, *partials(82, 113)], WITHIN) is not None


def test_short_interruptions_do_not_hide_that_completes_have_stopped() -> None:
    hours = [one for day in range(3) for one in partials(day * 24 + 1, day * 24 + 20)]
    assert overdue_since([complete(0), *hours], WITHIN) == START + HOUR / 2


def overdue_at(hours: float, archives: list[Arrived], within: timedelta = WITHIN) -> bool:
    """Return whether the sender says so, which forgets partials after eight days."""
    remembered = START + (hours - 8 * 24) * HOUR
    kept = [a for a in archives if a.kind is ArchiveKind.COMPLETE or a.at > remembered]
    return overdue_since(kept, within, remembered) is not None


@pytest.mark.parametrize("days", [2, 7.9, 8, 8.1, 9, 40, 400])
def test_completes_that_have_stopped_are_overdue_for_good(days: float) -> None:
    assert overdue_at(24 * days, [complete(0), *partials(1, 24 * days)])


@pytest.mark.parametrize("every_days", [7, 31])
def test_rarer_completes_are_overdue_as_soon(every_days: int) -> None:
    within = every_days * 24 * HOUR + 6 * HOUR
    for hours, expected in ((every_days * 24 + 6, False), (every_days * 24 + 8, True)):
        assert overdue_at(hours, [complete(0), *partials(1, hours)], within) is expected


def test_outage_beyond_what_is_remembered_makes_no_complete_overdue_just_after() -> None:
    days = 20 * 24
    before = [complete(0), *partials(1, 10)]
    for hours, expected in ((0, False), (29, False), (31, True), (6 * 24, True)):
        now = days + hours
        assert overdue_at(now, [*before, *partials(days, now)]) is expected, hours


def test_complete_without_a_partial_after_it_is_not_overdue() -> None:
    assert not overdue_at(20 * 24, [complete(0)])


@given(st.lists(st.floats(0, 500), min_size=1), st.lists(st.floats(0, 500)))
def test_complete_a_day_is_never_overdue(of_partials: list[float], more: list[float]) -> None:
    daily = [complete(24 * day) for day in range(22)]
    later = [one for hours in (*of_partials, *more) for one in partials(hours, hours)]
    assert overdue_since([*later, *daily], WITHIN) is None


@given(st.lists(st.floats(1, 500), min_size=2, unique=True))
def test_overdue_means_that_nothing_was_interrupted_for_the_whole_time(times: list[float]) -> None:
    found = [one for hours in times for one in partials(hours, hours)]
    if overdue_since([complete(0), *found], WITHIN) is not None:
        ordered = sorted(times)
        stops = [b for a, b in pairwise([0.0, *ordered]) if b - a > 6]
        assert ordered[-1] - max(stops, default=0) > 30


def exit_code(environment: dict[str, str]) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["status", "--json"], env=environment)
    return found.exit_code, json.loads(found.stdout)["because"]


@pytest.mark.long
def test_both_sides_say_that_completes_have_stopped(deployment: Deployment) -> None:
    deployment.change_both({"AR_SYNC_COMPLETE_CRON": "* * * * *"})
    for job in ("complete", "partial", "partial"):
        deployment.succeed(f"{job}_dump")
        deployment.succeed(f"{job}_loaddata")
    both = (deployment.sender_environment(), deployment.receiver_environment())
    assert [exit_code(one)[0] for one in both] == [0, 0]

    age(deployment)
    for code, because in map(exit_code, both):
        assert code == 1
        assert "no complete has come since" in because
        assert "all is well" not in because

    settings = load_receiver_settings(deployment.receiver_environment())
    site = ReceiverSite(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        look = check_lag(site, instance)
    assert (look.result.passed, look.result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "no complete has come since" in str(look.result.description)

    deployment.succeed("complete_dump")
    assert exit_code(deployment.sender_environment())[0] == 0
    assert "no complete has come" not in exit_code(deployment.receiver_environment())[1]
    (damaged,) = (deployment.spool / "complete").glob("NEW_*")
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    assert not deployment.run("complete_loaddata").succeeded
    because = exit_code(deployment.receiver_environment())[1]
    assert "1 archive is in quarantine" in because
    assert "no complete has come" not in because, "one has come"

    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert [exit_code(one)[0] for one in both] == [0, 0]


def age(deployment: Deployment) -> None:
    """Move the complete back by six and a half hours, and the first partial by three.

    The sender's journal has another complete, by a clock that was ahead for a while.
    """
    shifts = {"complete": timedelta(hours=6.5), "first": timedelta(hours=3)}
    execute(
        deployment.receiver_url,
        "WITH ordered AS (SELECT archive_id, row_number() OVER (ORDER BY snapshot_at) AS place"
        " FROM ar_sync.applied_archive), shifted AS (SELECT archive_id,"
        " (ARRAY['6.5 h', '3 h', '0 h'])[place]::interval AS own,"
        " (ARRAY['0 h', '6.5 h', '3 h'])[place]::interval AS before FROM ordered)"
        " UPDATE ar_sync.applied_archive one SET snapshot_at = snapshot_at - own,"
        " applied_at = applied_at - own, covers_from = covers_from - before"
        " FROM shifted WHERE shifted.archive_id = one.archive_id",
    )
    journal = deployment.folder / "scratch" / "ar_sync_sent.json"
    content = json.loads(journal.read_text())
    first, second, _ = content["archives"]
    later = datetime.now(UTC) + timedelta(days=9)
    content["archives"].append(
        {
            **first,
            "name": f"backup_complete_{later:%Y%m%dT%H%M%S.%fZ}.tar",
            "sent_at": later.isoformat(),
            "watermark": {
                **first["watermark"],
                "snapshot_at": later.isoformat(),
                "archive_id": str(uuid4()),
            },
        }
    )
    for archive, shift in ((first, shifts["complete"]), (second, shifts["first"])):
        for place, key in ((archive, "sent_at"), (archive["watermark"], "snapshot_at")):
            place[key] = (datetime.fromisoformat(place[key]) - shift).isoformat()
    journal.write_text(json.dumps(content))


AGE = (
    "UPDATE ar_sync.applied_archive SET snapshot_at = snapshot_at - interval '32 h',"
    " applied_at = applied_at - interval '32 h' WHERE kind = 'complete'"
)
# Without a longer stop the time does not begin again.
PARTIALS = (
    "INSERT INTO ar_sync.applied_archive (archive_id, name, kind, snapshot_at, covers_from,"
    " watermark, sender, superseded, applied_at, plan) SELECT gen_random_uuid(), name || n,"
    " 'partial', at, at - interval '1 h', watermark, sender, false, at, '[]'"
    " FROM (SELECT *, snapshot_at + n * interval '1 h' AS at"
    "         FROM ar_sync.applied_archive, generate_series(1, 31) n) one"
)


@pytest.mark.parametrize("state", ["waiting", "parked"])
def test_complete_that_waits_and_is_never_loaded_is_a_finding(filled: TwoSites, state: str) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(AGE, PARTIALS)
    now = datetime.now(UTC)
    place = {"waiting": "complete/NEW_", "parked": "parked/"}[state]

    def found(*hours_ago: float) -> tuple[bool, str]:
        for hours in hours_ago:
            name = ArchiveName(ArchiveKind.COMPLETE, now - hours * HOUR).applied
            path = filled.spool / f"{place}{name}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"")
        status = receiver_status(filled.settings, filled.catalog, now)
        return status.overdue_complete is not None, status.lag.because

    overdue, because = found()
    assert (overdue, "no complete has come since" in because) == (True, True)
    assert found(4)[0] is False
    overdue, because = found(8)
    assert overdue is (state == "waiting")
    assert ("waits and is not loaded, although newer" in because) is (state == "waiting")
    assert "no complete has come since" not in because
    # The next complete waits as well.
    assert found(1)[0] is (state == "waiting")
