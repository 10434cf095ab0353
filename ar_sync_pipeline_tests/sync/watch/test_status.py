"""The lag and its reason: the same answer on both sides."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import time_machine
from click.testing import CliRunner, Result

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.cli import main
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline.settings.model import load_receiver_settings, load_sender_settings
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_waiting
from ar_sync_pipeline.sync.dump import receiver_view
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline.sync.load import load_archives
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand, report_load_at_work
from ar_sync_pipeline.sync.watch import disk_space
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline.sync.watch.lag import Backlog, count_newer, explain_lag
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline.sync.watch.status import each_once
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window, watermark_of
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FIVE = timedelta(minutes=5)


@pytest.mark.parametrize(
    ("minutes", "backlog", "sentence"),
    [
        (3, Backlog(), "until 2026-11-23 11:57:00 UTC, 3 min behind, because that was the last"),
        (30, Backlog(), "30 min behind, because no newer archive has arrived"),
        (119, Backlog(), "119 min behind"),
        (300, Backlog(), "5 h behind"),
        (3 * 1440, Backlog(), "3 days behind"),
        (-3, Backlog(), "0 min behind"),
        (-60, Backlog(), "in the future, because the clock"),
        (30, Backlog(gaps=1, new_history=True), "because the sender's database was restored"),
        (30, Backlog(waiting=3), "because 3 archives wait for the next load"),
        (3, Backlog(quarantined=1), "because 1 archive is in quarantine"),
        (3, Backlog(unverified=["a"]), "because a was altered, truncated or created again at"),
        (3, Backlog(unverified=["a", "b\x1b"]), "because a, b"),
        (3, Backlog(unverified=list("abcde"), more_unverified=11), "c, d, e, and 11 more were"),
        (
            30,
            Backlog(gaps=1, waiting=3),
            "because changes are missing, since an archive was lost on",
        ),
        (30, Backlog(gaps=1, parked=["X waits for 0035"]), "because X waits for 0035."),
        (30, Backlog(parked=["X waits", "Y waits"]), "because X waits (and 1 more)."),
        (30, Backlog(nothing_newer="nothing was published"), "because nothing was published."),
        (3, Backlog(faults=["1 incident is open"]), "the last window, and 1 incident is open."),
        (30, Backlog(faults=["X", "Y"]), "because no newer archive has arrived, and X, and Y."),
        # A warning that stays is not why data is late.
        (3, Backlog(unsent=["t"]), "because the sender does not send t, so that"),
        (30, Backlog(unsent=["t"]), "no newer archive has arrived, and the sender does not"),
        (3, Backlog(missing=["t", "u.v"]), "because the receiver lacks t, u.v, which the"),
        (30, Backlog(unverified=["t"]), "because no newer archive has arrived, and t was altered"),
        (3, Backlog(unsent=["t"], faults=["X"]), "of the catalog, and X."),
        (30, Backlog(unverified=["t"], faults=["the link is down"]), ", and the link is down."),
        # Nor is an archive that newer ones have overtaken.
        (
            180,
            Backlog(parked=["X waits"], is_overtaken=True, faults=["1 incident is open"]),
            "because X waits, and no newer archive has arrived, and 1 incident is open.",
        ),
        (3, Backlog(parked=["X waits"], is_overtaken=True), "because X waits."),
        (30, Backlog(quarantined=1, is_overtaken=True), "yet, and no newer archive has arrived."),
        (30, Backlog(gaps=1, faults=["the link is down"]), "next complete, and the link is down."),
        (30, Backlog(waiting=3, unsent=["t"]), "because 3 archives wait for the next load."),
        # What the next load brings comes before what it cannot bring.
        *(
            (minutes, Backlog(waiting=2, newer=1, parked=["X waits"]), sentence)
            for minutes in (3, 30)
            for sentence in ["because 1 archive waits for the next load, and X waits."]
        ),
        (30, Backlog(waiting=1, newer=1, quarantined=1), "next load, and 1 archive is in quar"),
        (30, Backlog(waiting=1, newer=1, gaps=1), "next load, and changes are missing, since"),
        (30, Backlog(waiting=1, newer=1, is_overtaken=True), "waits for the next load."),
        (30, Backlog(waiting=1, parked=["X waits"]), "because X waits."),
    ],
)
def test_lag_is_one_number_and_one_reason(minutes: int, backlog: Backlog, sentence: str) -> None:
    assert sentence in str(explain_lag(NOON - timedelta(minutes=minutes), NOON, FIVE, backlog))


@pytest.mark.parametrize(
    ("interval", "seconds", "is_last"),
    [(1, 120, True), (1, 181, False), (1, 240, False), (5, 299, True), (5, 301, False)],
)
def test_last_window_is_shown_as_such_only_while_no_later_one_could_be_applied(
    interval: int, seconds: int, *, is_last: bool
) -> None:
    until = NOON - timedelta(seconds=seconds)
    lag = explain_lag(until, NOON, timedelta(minutes=interval), Backlog())
    assert ("that was the last window, all is well" in str(lag)) is is_last


def test_reason_of_many_archives_is_said_once() -> None:
    assert each_once(["X waits", "Y waits", "X waits"]) == "X waits; Y waits"


@pytest.mark.long
def test_little_free_space_is_not_well_on_either_side(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may arrive on a full disk, so that no load measures it."""
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    both = {
        "scratch, state": deployment.sender_environment(),
        "spool, media, state": deployment.receiver_environment(),
    }
    assert [status(environment).exit_code for environment in both.values()] == [0, 0]
    monkeypatch.setattr(disk_space, "measure_free_space", lambda _: FreeSpace(5, 100))
    for folders, environment in both.items():
        shown = status(environment, "--json")
        assert shown.exit_code == 1
        said = json.loads(shown.stdout)["because"]
        assert said.endswith(f", and less than 10 % of the disk is free: {folders}")


def test_receiver_without_a_complete_says_so() -> None:
    assert str(explain_lag(None, NOON, FIVE, Backlog())) == (
        "The receiver holds no data yet, because no complete archive has been applied."
    )


def test_empty_receiver_says_what_keeps_its_first_complete_and_what_else_is_wrong() -> None:
    backlog = Backlog(parked=["X waits"], is_overtaken=True, faults=["1 incident is open"])
    assert explain_lag(None, NOON, FIVE, backlog).because == "X waits, and 1 incident is open"


@pytest.mark.parametrize(
    ("newer", "because"),
    [(1, "1 archive waits for the next load, and X waits"), (0, "X waits")],
)
def test_empty_receiver_waits_for_the_complete_that_the_next_load_brings(
    newer: int, because: str
) -> None:
    backlog = Backlog(waiting=2, newer=newer, parked=["X waits"])
    assert explain_lag(None, NOON, FIVE, backlog).because == because


def test_partials_are_newer_than_data_and_only_completes_than_none() -> None:
    names = [ArchiveName(kind, NOON) for kind in ArchiveKind]
    assert [count_newer(names, until) for until in (None, NOON - FIVE, NOON)] == [1, 2, 0]


def test_partial_that_waits_is_why_data_is_late_and_not_a_parked_complete(
    filled: TwoSites,
) -> None:
    """The complete is kept by the delete guard, and the loads of partials were killed so far."""
    filled.environ["AR_SYNC_DELETE_GUARD"] = "1"
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("DELETE FROM app_child WHERE id > 100")
    complete = filled.complete(base).name.removeprefix("NEW_")
    filled.load()
    filled.partial(recent_window(), since=base)
    later = filled.clock() + timedelta(minutes=20)
    because = receiver_status(filled.settings, filled.catalog, later).lag.because
    assert because.startswith(
        f"1 archive waits for the next load, and {complete} is kept from loading"
    )
    filled.load()
    because = receiver_status(filled.settings, filled.catalog, filled.clock()).lag.because
    assert because.startswith(f"{complete} is kept from loading")


class Killed(BaseException):
    """Ends a load as a signal does."""


def load_killed_after_its_commit(sites: TwoSites, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(load_archives, "mark_applied", killed)
        with pytest.raises(Killed):
            sites.load()


def test_what_a_killed_load_has_applied_does_not_wait_too(
    media_sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load was killed between its commit and the renaming of the archives."""
    sites = media_sender.sites
    media_sender.complete()
    sites.load()
    media_sender.partial()
    load_killed_after_its_commit(sites, monkeypatch)
    assert len(list_waiting(sites.spool)) == 1
    found = receiver_status(sites.settings, sites.catalog, sites.clock())
    assert (found.count("waiting"), found.count("applied")) == (0, 2)
    assert found.lag.because == "that was the last window, all is well"
    assert view_ledger(sites.settings).unapplied == ()
    assert acknowledge_by_hand(sites.settings, sites.clock)
    checkpoint = Checkpoint.read(sites.spool, signing_keys=())
    assert checkpoint is not None
    assert checkpoint.waiting == 0
    there = sender_status(media_sender.settings, sites.clock())
    assert (there.count("waiting"), there.count("not acknowledged")) == (0, 0)
    assert len(sites.load().loaded) == 1, "the next load renames and reports it"
    assert list_waiting(sites.spool) == []


def status(environment: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, ["status", *words], env=environment)


def counts(result: Result) -> dict[str, int]:
    return {row["state"]: row["count"] for row in json.loads(result.stdout)["archives"]}


@pytest.mark.long
def test_both_sides_tell_the_same(deployment: Deployment) -> None:
    sender, receiver = deployment.sender_environment(), deployment.receiver_environment()
    deployment.succeed("complete_dump")
    before = status(sender, "--json")
    assert json.loads(before.stdout)["data_until"] is None
    assert (before.exit_code, status(receiver).exit_code) == (1, 1), "no complete is applied"
    assert counts(before) == {
        "sent": 1, "not acknowledged": 0, "waiting": 1, "parked": 0, "quarantined": 0
    }  # fmt: skip
    deployment.succeed("complete_loaddata")
    here, there = status(sender, "--json"), status(receiver, "--json")
    assert (here.exit_code, there.exit_code) == (0, 0), here.output + there.output
    assert json.loads(here.stdout)["data_until"] == json.loads(there.stdout)["data_until"]
    assert counts(there) == {
        "waiting": 0, "applied": 1, "superseded": 0, "parked": 0, "quarantined": 0,
        "quarantined, replaced": 0,
    }  # fmt: skip
    assert "min behind, because" in status(receiver).stdout


@pytest.mark.long
def test_full_disk_of_the_scratch_folder_does_not_hide_the_state(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.succeed("complete_dump")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(receiver_view, "write_atomically", full)
    monkeypatch.setattr(receiver_view, "remember_receipts", full)
    deployment.succeed("complete_loaddata")
    shown = status(deployment.sender_environment(), "--json")
    assert shown.exit_code == 0, shown.output
    assert counts(shown)["not acknowledged"] == 0


@pytest.mark.long
def test_parked_archive_is_told_with_its_reason_on_both_sides(deployment: Deployment) -> None:
    execute(deployment.receiver_url, "ALTER TABLE app_child DROP amount")
    deployment.succeed("complete_dump")
    deployment.run("complete_loaddata")
    for environment in (deployment.sender_environment(), deployment.receiver_environment()):
        shown = status(environment, "--json")
        assert shown.exit_code == 1
        assert counts(shown)["parked"] == 1
        assert "app_child.amount" in json.loads(shown.stdout)["because"]


@pytest.mark.long
def test_rows_that_ddl_changed_at_the_receiver_are_not_well_on_either_side(
    deployment: Deployment,
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(
        deployment.receiver_url,
        "ALTER TABLE app_child DROP COLUMN picture",
        "ALTER TABLE app_child ADD COLUMN picture text DEFAULT ''",
    )
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    for environment in (deployment.sender_environment(), deployment.receiver_environment()):
        shown = status(environment, "--json")
        said = json.loads(shown.stdout)
        assert (shown.exit_code, said["tables_unverified"]) == (1, ["app_child"])
        assert "launch `complete_dump` there" in said["because"]
    settings = load_receiver_settings(deployment.receiver_environment())
    site = ReceiverSite(settings, load_catalog(settings.catalog), lambda: datetime.now(UTC))
    with dg.DagsterInstance.ephemeral() as instance:
        result = check_lag(site, instance).result
        assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
        deployment.succeed("complete_dump")
        deployment.succeed("complete_loaddata")
        assert check_lag(site, instance).result.passed
    for environment in (deployment.sender_environment(), deployment.receiver_environment()):
        assert status(environment).exit_code == 0


@pytest.mark.long
def test_with_the_link_down_the_sender_remembers_what_it_saw_last(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    settings = load_sender_settings(deployment.sender_environment())
    seen = observe_receiver(settings, utc_now)
    assert seen.checkpoint is not None
    assert seen.checkpoint.watermark is not None
    assert (len(seen.receipts), seen.waiting) == (1, frozenset())
    deployment.sender_changes["AR_SYNC_REMOTE_PORT"] = "1"
    deployment.sftp.known_hosts.write_text(
        deployment.sftp.known_hosts.read_text()
        + deployment.sftp.known_hosts.read_text().replace(f":{deployment.sftp.port}", ":1")
    )
    down = observe_receiver(load_sender_settings(deployment.sender_environment()), utc_now)
    assert (down.checkpoint, down.waiting) == (seen.checkpoint, None)
    shown = status(deployment.sender_environment())
    assert shown.exit_code == 1
    assert "cannot be reached" in shown.stdout


@pytest.mark.long
def test_archive_of_which_nothing_is_heard_fails_a_check(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    deployment.succeed("partial_dump")
    journal = deployment.folder / "scratch" / "ar_sync_sent.json"
    content = json.loads(journal.read_text())
    content["archives"][-1]["sent_at"] = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    journal.write_text(json.dumps(content))
    shown = status(deployment.sender_environment(), "--json")
    assert (shown.exit_code, counts(shown)["not acknowledged"]) == (1, 1)
    late = "1 archive is not acknowledged"
    assert f"{late}." in status(deployment.sender_environment()).stdout
    report_load_at_work(load_receiver_settings(deployment.receiver_environment()), utc_now)
    works = status(deployment.sender_environment()).stdout
    assert f"{late} while the receiver says that a load is at work." in " ".join(works.split())
    deployment.succeed("partial_loaddata")
    assert counts(status(deployment.sender_environment(), "--json"))["not acknowledged"] == 0


@pytest.mark.long
def test_all_is_well_is_said_only_where_it_is(media_sender: MediaSender) -> None:
    """Also where AR_SYNC_ACKNOWLEDGE_WITHIN is shorter than a window needs to be applied."""
    first = media_sender.complete()
    media_sender.sites.load()
    short = {"acknowledge_within": 1, "partial_interval": 1}
    settings = media_sender.settings.model_copy(update=short)
    for seconds in range(110, 190, 10):
        found = sender_status(settings, first.snapshot_at + timedelta(seconds=seconds))
        assert ("all is well" in found.lag.because) <= found.ok, (seconds, found)


@pytest.mark.long
def test_data_that_is_too_old_is_not_well(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    environment = deployment.receiver_environment()
    assert status(environment).exit_code == 0
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=5)):
        shown = status(environment)
    assert shown.exit_code == 1
    assert "5 h behind, because no newer archive has arrived" in shown.stdout


@pytest.mark.long
def test_damaged_archive_that_a_later_one_made_good_is_history(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    (damaged,) = (deployment.spool / "complete").iterdir()
    os.truncate(damaged, 5000)
    deployment.run("complete_loaddata")
    environment = deployment.receiver_environment()
    assert (status(environment, "--json").exit_code, counts(status(environment, "--json"))) == (
        1,
        {
            "waiting": 0, "applied": 0, "superseded": 0, "parked": 0, "quarantined": 1,
            "quarantined, replaced": 0,
        },
    )  # fmt: skip
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    # The alert sensor, which is not running here, ends the incident of the failed load.
    alerts = open_alerts(load_receiver_settings(environment), lambda: datetime.now(UTC))
    for one in alerts.store.open_incidents():
        alerts.store.close(one.number, alerts.clock())
    shown = status(environment, "--json")
    assert (shown.exit_code, counts(shown)["quarantined"]) == (0, 0)
    assert counts(shown)["quarantined, replaced"] == 1


def test_errors_in_the_settings_are_named(deployment: Deployment) -> None:
    environment = deployment.receiver_environment() | {"AR_SYNC_TIME": "1"}
    shown = status(environment)
    assert shown.exit_code == 2
    assert "AR_SYNC_TIME" in shown.stderr


def test_sender_knows_of_tables_that_it_does_not_send(media_sender: MediaSender) -> None:
    sites = media_sender.sites
    sites.at_receiver(
        "CREATE TABLE app_old (id integer PRIMARY KEY)", "INSERT INTO app_old VALUES (1)"
    )
    media_sender.complete()
    sites.load()
    found = sender_status(media_sender.settings, sites.clock())
    assert (found.ok, found.unsent) == (False, ("app_old",))
    assert "does not send app_old" in found.lag.because
    # Also after a report that is no load's.
    damaged = sites.spool / "quarantine" / ArchiveName(ArchiveKind.PARTIAL, NOON).applied
    damaged.write_bytes(b"")
    acknowledge_by_hand(sites.settings, sites.clock)
    assert sender_status(media_sender.settings, sites.clock()).unsent == ("app_old",)
    sites.at_receiver("DROP TABLE app_old")
    media_sender.partial()
    sites.load()
    assert sender_status(media_sender.settings, sites.clock()).unsent == ()


def test_sender_counts_every_parked_archive_also_without_a_reason(
    media_sender: MediaSender,
) -> None:
    sites = media_sender.sites
    media_sender.complete()
    sites.load()
    names = [ArchiveName(ArchiveKind.PARTIAL, NOON + n * FIVE).applied for n in range(25)]
    for name in names:
        (sites.spool / "parked" / name).write_bytes(b"")
    assert acknowledge_by_hand(sites.settings, sites.clock)
    here = receiver_status(sites.settings, sites.catalog, sites.clock())
    there = sender_status(media_sender.settings, sites.clock())
    assert (here.count("parked"), there.count("parked")) == (25, 25)
    assert f"no reason is written beside {names[0]} (and 24 more)" in here.lag.because
    unknown = f"{names[0]}: it is parked for a reason that is not known (and 24 more)"
    assert unknown in there.lag.because
    assert explain_lag(NOON, NOON, FIVE, Backlog(parked=["X waits"], more_parked=2)).because == (
        "X waits (and 2 more)"
    )
    # Of another sender are all that are listed.
    assert explain_lag(NOON, NOON, FIVE, Backlog(more_parked=2)).because.startswith(
        "2 archives are parked that the receiver's report does not list; "
    )


def test_without_any_report_the_sender_does_not_say_that_the_receiver_holds_nothing(
    media_sender: MediaSender,
) -> None:
    """The scratch folder is new, and the link is down or the report is not believed."""
    sites = media_sender.sites
    empty = str(sender_status(media_sender.settings, sites.clock()).lag)
    assert empty == "The receiver holds no data yet, because no complete archive has been applied."
    media_sender.complete()
    sites.load()
    for file in media_sender.scratch.glob("ar_sync_*"):
        file.unlink()
    down = media_sender.settings.model_copy(update={"remote_port": 1})
    found = sender_status(down, sites.clock())
    assert (found.ok, found.lag.data_until) == (False, None)
    unknown = "It is not known what the receiver holds, because no report of it could be read, and"
    assert str(found.lag) == f"{unknown} the link is down."
    (sites.spool / "receipts" / "position.json").write_text("{}")
    refused = str(sender_status(media_sender.settings, sites.clock()).lag)
    assert refused == f"{unknown} the receiver's report is not believed."
