"""Hooks and sensors on a real Dagster instance: each cause is reported once, by its own side."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.dependency import NodeHandle

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.operations.alerts.step_hooks import OF_FAILURE, OF_SUCCESS
from ar_sync_pipeline.operations.asset_keys import applied_archives_key
from ar_sync_pipeline.operations.check_history import shown_evaluation
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.transform.rejected_rows import (
    Rejection,
    Severity,
    prepare_rejected_rows,
    record_rejections,
)
from ar_sync_pipeline_tests.alerts.watched import Watched
from ar_sync_pipeline_tests.fix_alerts import Mailbox, WebServer, smtp_server
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown
from ar_sync_pipeline_tests.fix_sites import execute

NO_DRIFT = dg.AssetCheckKey(applied_archives_key(ALONE), "no_drift")


@pytest.fixture
def watched(deployment: Deployment, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    return Watched(deployment, mailbox)


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_hooks_are_on_every_step_of_every_job(watched: Watched, side: str) -> None:
    definitions = watched.definitions(side)
    jobs = [definitions.resolve_job_def(getattr(job, "name", "")) for job in definitions.jobs or ()]
    assert jobs
    for job in (*jobs, *definitions.resolve_all_job_defs()):
        for node in job.graph.nodes:
            hooks = job.get_all_hooks_for_handle(NodeHandle(node.name, None))
            assert {hook.name for hook in hooks} == {OF_FAILURE, OF_SUCCESS}, (job.name, node.name)


@pytest.mark.long
def test_receiver_that_cannot_be_reached_is_one_cause_for_all_jobs_of_the_sender(
    watched: Watched,
) -> None:
    keys = watched.deployment.sftp.known_hosts
    pinned = keys.read_text()
    keys.write_text("")
    assert not watched.run("partial_dump").succeeded
    # At once, by the hook.
    (subject,) = watched.subjects
    assert subject.startswith("[ar_sync sender] Failing: the connection to the receiver")
    for job in ("ssh_sftp_checker", "complete_dump", "partial_dump"):
        assert not watched.run(job).succeeded
        watched.tick_both()
    keys.write_text(pinned)
    assert len(watched.subjects) == 1
    assert watched.run("partial_dump").succeeded
    watched.tick_both()
    watched.tick_both()
    assert watched.subjects[1:] == ["[ar_sync sender] Recovered: the connection to the receiver"]
    assert "3 more times" in watched.text(1)
    assert "not seen to work since" in watched.text(1)
    assert "job complete_dump, step complete_tables" in watched.text(1)


@pytest.mark.long
def test_parked_archive_is_one_incident_of_the_receiver_until_it_is_loaded(
    watched: Watched,
) -> None:
    receiver = watched.deployment.receiver_url
    execute(receiver, "ALTER TABLE app_child DROP amount")
    assert watched.run("complete_dump").succeeded
    for _ in range(2):
        assert not watched.run("complete_loaddata").succeeded
        watched.tick_both()
    (subject,) = watched.subjects
    assert "Failing: check receiver/admitted_archives: archives_fit_schema" in subject
    assert "app_child.amount" in watched.text(0)
    assert "migrate the receiver" in watched.text(0)
    execute(receiver, "ALTER TABLE app_child ADD amount double precision")
    assert watched.run("complete_loaddata").succeeded
    watched.tick_both()
    assert [subject.split()[2] for subject in watched.subjects] == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_incident_ends_with_a_success_where_no_daemon_runs_the_sensors(watched: Watched) -> None:
    deployment = watched.deployment
    execute(deployment.receiver_url, "ALTER TABLE app_child DROP picture")
    assert watched.run("complete_dump").succeeded
    assert not watched.run("complete_loaddata").succeeded
    (opened,) = watched.subjects
    assert "Failing" in opened
    execute(deployment.receiver_url, "ALTER TABLE app_child ADD picture text")
    assert watched.run("complete_loaddata").succeeded
    _, ended = watched.subjects
    assert ended.startswith("[ar_sync receiver] Recovered: check receiver/admitted_archives")
    watched.tick_both()
    watched.tick_both()
    assert len(watched.subjects) == 2


@pytest.mark.long
def test_missing_media_file_is_one_incident_of_partials_and_completes_until_it_is_there(
    watched: Watched,
) -> None:
    def run(*jobs: str) -> None:
        for job in jobs:
            assert watched.run(job).succeeded, job
            watched.tick_both()

    run("complete_dump", "complete_loaddata")
    execute(
        watched.deployment.sender_url, "UPDATE app_child SET picture = 'lost.jpeg' WHERE id = 7"
    )
    run("partial_dump", "partial_loaddata", "partial_dump", "complete_dump", "partial_dump")
    (subject,) = watched.subjects
    assert "Failing: media files that cannot be sent" in subject
    (watched.deployment.folder / "sender_media" / "lost.jpeg").write_bytes(b"restored")
    run("partial_dump", "partial_dump")
    assert len(watched.subjects) == 2
    assert "media files that cannot be sent" in watched.subjects[1]


@pytest.mark.long
@pytest.mark.parametrize("rows_change", [True, False])
def test_drift_that_a_complete_repaired_stays_an_incident_until_a_later_complete(
    watched: Watched, *, rows_change: bool
) -> None:
    """Partials, with rows or without, say nothing about it, whoever loads them."""
    deployment = watched.deployment
    deployment.sender_changes["AR_SYNC_COMPLETE_CARRIES"] = "everything"

    def run(*jobs: str) -> None:
        for job in jobs:
            assert watched.run(job).succeeded, job
            watched.tick_both()

    run("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata")
    execute(deployment.receiver_url, "UPDATE app_child SET amount = -1 WHERE id < 9")
    run("complete_dump", "complete_loaddata")
    (subject,) = watched.subjects
    assert "no_drift: The complete of " in subject
    assert "UTC has repaired 8 rows of app_child that differed from" in watched.text(0)
    for number in range(3):
        if rows_change:
            execute(
                deployment.sender_url,
                f"UPDATE app_child SET amount = {number}, changed = now() WHERE id = 3",
            )
        run("partial_dump", "partial_loaddata")
        with watched.instance() as instance:
            assert is_shown(instance, NO_DRIFT)
            shown = shown_evaluation(instance, NO_DRIFT)
        assert shown is not None
        assert not shown.passed
        assert " UTC has repaired 8 rows of app_child that differed" in str(shown.description)
    (open_now,) = open_incidents(deployment.receiver_environment())
    assert open_now["count"] == 1, "partials do not repeat it"

    run("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata")
    assert [subject.split()[2] for subject in watched.subjects] == ["Failing:", "Recovered:"]


@pytest.mark.long
def test_step_is_one_cause_for_both_load_jobs_and_for_a_run_by_hand(watched: Watched) -> None:
    broken = watched.deployment.receiver_changes
    broken["AR_SYNC_TRANSFORM"] = "command:/bin/false"
    assert watched.run("complete_dump").succeeded
    for job in ("complete_loaddata", "partial_loaddata"):
        assert not watched.run(job).succeeded
        watched.tick("receiver")
    by_hand(watched)
    watched.tick_both()
    (subject,) = watched.subjects
    assert "job complete_loaddata, step receiver/postprocessed_rows" in subject
    assert "the transform command /bin/false ended with exit status 1" in watched.text(0)
    broken["AR_SYNC_TRANSFORM"] = "command:/bin/true"
    by_hand(watched)
    watched.tick_both()
    assert "Recovered" in watched.subjects[1]
    assert "2 more times" in watched.text(1)
    assert len(watched.subjects) == 2


@pytest.mark.long
def test_failed_transform_is_one_incident_with_the_rows_that_it_leaves_and_rejects(
    watched: Watched,
) -> None:
    """What it still finds after the transform works is an incident of its own."""
    watched.deployment.succeed("complete_dump")
    watched.deployment.succeed("complete_loaddata")
    with connect(watched.deployment.receiver_url, application="test") as connection:
        prepare_rejected_rows(connection)
        found = Rejection("7", "write", Severity.ERROR, "the database refuses the row's results")
        record_rejections(connection, "app_child", [], [found], now=utc_now())
    watched.forget()
    watched.deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "command:/bin/false"
    by_hand(watched)
    leave_rows_untransformed(watched)
    watched.tick("receiver")
    (subject,) = watched.subjects
    assert "step receiver/postprocessed_rows" in subject
    watched.deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "command:/bin/true"
    by_hand(watched)
    leave_rows_untransformed(watched)
    watched.tick("receiver")
    assert "Recovered" in watched.subjects[1]
    others = sorted(subject.split(": ")[2] for subject in watched.subjects[2:])
    assert others == ["no_rows_rejected", "rows_transformed_in_time"]


def leave_rows_untransformed(watched: Watched) -> None:
    key = dg.AssetKey(["receiver", "postprocessed_rows"])
    with watched.instance() as instance:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key, check_name="rows_transformed_in_time", passed=False, metadata={}
            )
        )


def by_hand(watched: Watched) -> None:
    """As the UI does, with Dagster's implicit job."""
    key = dg.AssetKey(["receiver", "postprocessed_rows"])
    job = watched.definitions("receiver").resolve_implicit_job_def_def_for_assets([key])
    assert job is not None
    with watched.instance() as instance:
        job.execute_in_process(instance=instance, asset_selection=[key], raise_on_error=False)


@pytest.mark.long
@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/nowhere", "postgresql://nobody@{}:{}/nowhere"]
)
def test_database_that_only_a_complete_did_not_reach_recovers_with_the_next_partial(
    watched: Watched, url: str
) -> None:
    """`ar-sync status` said for a day that the database cannot be reached."""
    watched.deployment.succeed("partial_dump")
    changes = watched.deployment.sender_changes
    here = urlsplit(watched.deployment.sender_url)
    changes["AR_SYNC_SENDER_DATABASE_URL"] = url.format(here.hostname, here.port)
    assert not watched.run("complete_dump").succeeded
    watched.tick_both()
    del changes["AR_SYNC_SENDER_DATABASE_URL"]
    assert watched.run("partial_dump").succeeded
    watched.tick_both()
    assert [one.split()[2] for one in watched.subjects] == ["Failing:", "Recovered:"]
    assert "not seen to work since: job complete_dump, step complete_tables;" in watched.text(1)


@pytest.mark.long
def test_login_that_a_partial_was_refused_recovers_with_the_next_complete(
    watched: Watched,
) -> None:
    """A right that only one of them lacks does not: whether it has that, only it can tell."""
    deployment = watched.deployment
    parts = urlsplit(deployment.sender_url)
    role = f"Poor sender of {parts.path[1:]}"
    execute(
        deployment.sender_url,
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"',
        f'REVOKE SELECT ON app_child FROM "{role}"',
    )
    changes = deployment.sender_changes
    for refused, ends in (
        (f"nobody@{parts.netloc.rpartition('@')[2]}/nowhere", True),
        (f"{role.replace(' ', '%20')}@{parts.netloc.rpartition('@')[2]}{parts.path}", False),
    ):
        changes["AR_SYNC_SENDER_DATABASE_URL"] = f"postgresql://{refused}"
        assert not watched.run("partial_dump").succeeded
        watched.tick_both()
        del changes["AR_SYNC_SENDER_DATABASE_URL"]
        assert watched.run("complete_dump").succeeded
        watched.tick_both()
        (opened, *recovered) = watched.subjects[-2:] if ends else watched.subjects[-1:]
        assert "Failing: the sender's database" in opened
        assert bool(recovered) is ends
    execute(deployment.sender_url, f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"')


@pytest.mark.long
def test_d34_run_is_none_the_worse_for_a_mail_server_that_is_down(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    with smtp_server(Mailbox()) as box:
        watched = Watched(deployment, box)
    deployment.sftp.known_hosts.write_text("")
    outcome = watched.run("partial_dump")
    assert ["known" in failure for failure in outcome.failures] == [True]
    assert "0 messages sent now, 1 waits" in watched.tick("sender")
    with smtp_server(box):
        watched.tick("sender")
        assert box.subjects == []  # the pause between attempts
        make_due(watched)
        assert "1 message sent now, 0 wait" in watched.tick("sender")
    assert len(box.subjects) == 1


def make_due(watched: Watched) -> None:
    """As if the pause had passed."""
    path = watched.deployment.folder / "state" / "sender" / "incidents.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE outbox SET due_at = 0")


def open_incidents(environment: dict[str, str]) -> list[Mapping[str, object]]:
    shown = CliRunner().invoke(main, ["incidents", "--json"], env=environment)
    found: list[Mapping[str, object]] = json.loads(shown.stdout)["incidents"]
    return found


@pytest.mark.long
def test_only_a_load_that_applied_an_archive_gives_a_sign_of_life(
    watched: Watched, web: WebServer
) -> None:
    watched.deployment.receiver_changes["AR_SYNC_HEARTBEAT_URL"] = f"{web.url}/alive"
    web.status = 500  # a monitor that is ill fails no load
    assert watched.run("complete_dump").succeeded
    assert watched.run("partial_loaddata").succeeded  # nothing for it
    assert web.calls == []
    for _ in range(2):
        assert watched.run("complete_loaddata").succeeded
        assert web.calls == [("GET", "/alive", b"")]
