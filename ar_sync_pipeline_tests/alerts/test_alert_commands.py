"""``ar-sync incidents`` and ``ar-sync alert-test``, and what no message ever shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings
from ar_sync_pipeline.sync.watch.alerting import incidents_file, open_alerts
from ar_sync_pipeline_tests.alerts.problems import problem
from ar_sync_pipeline_tests.fix_alerts import Mailbox, WebServer

TOKEN = "T0k3n-that-nobody-sees"
KEY, OLD_KEY = "2b7e151628aed2a6abf7158809cf4f3c", "603deb1015ca71be2b73aef0857d7781"


@pytest.fixture
def environ(tmp_path: Path, mailbox: Mailbox, web: WebServer) -> dict[str, str]:
    for name in ("media", "spool"):
        (tmp_path / name).mkdir()
    return {
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://viz:hunter2-long@127.0.0.1:1/viz",
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "media"),
        "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
        "AR_SYNC_STATE_FLDR": str(tmp_path / "state"),
        "AR_SYNC_ADMINS": "ops@example.org",
        "AR_SYNC_EMAIL_HOST": "127.0.0.1",
        "AR_SYNC_EMAIL_PORT": str(mailbox.port),
        "AR_SYNC_WEBHOOK_URL": f"{web.url}/{TOKEN}",
    }


def call(environ: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, words, env=environ)


def settings(environ: dict[str, str]) -> ReceiverSettings:
    return load_receiver_settings(environ)


def test_test_message_goes_through_every_channel(
    environ: dict[str, str], mailbox: Mailbox, web: WebServer
) -> None:
    shown = call(environ, "alert-test")
    assert shown.exit_code == 0, shown.output
    assert "sent to ops@example.org" in shown.stdout
    assert TOKEN not in shown.output
    assert mailbox.subjects == ["[ar_sync receiver] Test"]
    (post,) = web.posts
    assert list(post) == ["format", "event", "side", "host", "text"]
    assert not incidents_file(settings(environ)).exists()


@pytest.mark.parametrize("words", [["incidents"], ["incidents", "--close", "1"], ["metrics"]])
def test_commands_that_read_make_no_file_of_incidents(
    environ: dict[str, str], words: list[str]
) -> None:
    """Root would own it, or another account's home would have it, and the service would not."""
    path = incidents_file(settings(environ))
    shown = call(environ, *words)
    assert not path.parent.exists()
    if words == ["incidents"]:
        assert shown.exit_code == 0
        assert f"No incident is open: none is recorded: {path} does not exist" in shown.stdout
        asked = json.loads(call(environ, "incidents", "--json").stdout)
        assert str(path) in asked["note"]
    elif words == ["metrics"]:
        assert "ar_sync_open_incidents{" not in shown.stdout


def test_incident_that_is_not_open_is_an_object_too(environ: dict[str, str]) -> None:
    open_alerts(settings(environ), lambda: datetime.now(UTC)).store.remind(datetime.now(UTC))
    shown = call(environ, "incidents", "--json", "--close", "99")
    assert shown.exit_code == 2
    found = json.loads(shown.stdout)
    assert (found["ok"], found["code"]) == (False, "invalid-call")
    assert "no open incident has the number 99" in found["problem"]


def test_test_message_says_what_does_not_get_through(environ: dict[str, str]) -> None:
    down = environ | {"AR_SYNC_EMAIL_PORT": str(free_port())}
    shown = call(down, "alert-test", "--json")
    assert shown.exit_code == 1
    mail, webhook = json.loads(shown.stdout)["channels"]
    assert "cannot be reached" in mail["problem"]
    assert webhook["sent"]


def test_test_message_names_the_administrator_who_did_not_get_it(
    environ: dict[str, str], mailbox: Mailbox
) -> None:
    mailbox.refused["boss@example.org"] = "550 no such user"
    shown = call(environ | {"AR_SYNC_ADMINS": "ops@example.org,boss@example.org"}, "alert-test")
    assert shown.exit_code == 1
    assert "refuses boss@example.org (550)" in shown.stdout
    assert mailbox.recipients == [["ops@example.org"]]


def test_test_message_that_is_redirected_is_not_sent(
    environ: dict[str, str], web: WebServer
) -> None:
    web.redirects[f"/{TOKEN}"] = (301, "/login")
    shown = call(environ, "alert-test")
    assert shown.exit_code == 1
    assert "the webhook answered 301" in shown.stdout


def test_with_nothing_configured_the_test_fails(environ: dict[str, str]) -> None:
    shown = call(environ | {"AR_SYNC_ADMINS": "", "AR_SYNC_WEBHOOK_URL": ""}, "alert-test")
    assert shown.exit_code == 1
    assert "AR_SYNC_ADMINS" in shown.stdout


def test_open_incidents_and_unsent_messages_are_shown_without_any_server(
    environ: dict[str, str],
) -> None:
    assert call(environ, "incidents").exit_code == 0
    alerts = open_alerts(settings(environ), lambda: datetime.now(UTC))
    alerts.record(problem(0))
    shown = call(environ, "incidents", "--json")
    assert shown.exit_code == 1
    found = json.loads(shown.stdout)
    assert [one["problem"] for one in found["incidents"]] == ["nobody answers at viz:22"]
    assert [(one["channel"], one["attempts"]) for one in found["unsent"]] == [
        ("mail", 0), ("webhook", 0)
    ]  # fmt: skip
    text = call(environ, "incidents").stdout
    assert "the connection to" in text
    assert "Not sent yet (mail, opened, incident 1)" in text


def test_incident_is_closed_by_its_number(environ: dict[str, str]) -> None:
    open_alerts(settings(environ), lambda: datetime.now(UTC)).record(problem(0))
    assert call(environ, "incidents", "--close", "7").exit_code == 2
    shown = call(environ, "incidents", "--close", "1")
    assert shown.exit_code == 0
    assert "No incident is open." in shown.stdout


def test_manual_shows_every_key_of_the_commands(environ: dict[str, str]) -> None:
    open_alerts(settings(environ), lambda: datetime.now(UTC)).record(problem(0))
    manual = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
    for command in ("incidents", "alert-test"):
        found = json.loads(call(environ, command, "--json").stdout)
        section = manual.partition(f"## `ar-sync {command} --json`")[2]
        shown = json.loads(section.partition("```json\n")[2].partition("```")[0])
        assert shape(found) == shape(shown)


def shape(value: object) -> object:
    """The keys of an answer, and of the first entry of each list."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case [dict() as first, *_]:
            return shape(first)
        case _:
            return None


def test_sides_never_share_a_store(environ: dict[str, str]) -> None:
    assert incidents_file(settings(environ)).parent.name == "receiver"


def test_no_message_shows_a_secret_from_an_error(
    environ: dict[str, str], mailbox: Mailbox, web: WebServer
) -> None:
    secret = {
        "AR_SYNC_EMAIL_HOST_PASSWORD": "mail-password",
        "AR_SYNC_SIGNING_KEY": KEY,
        "AR_SYNC_OLD_SIGNING_KEY": OLD_KEY,
        "AR_SYNC_OLD_SIGNING_KEY_UNTIL": "2999-12-31",
    }
    alerts = open_alerts(settings(environ | secret), lambda: datetime.now(UTC))
    told = (
        f"no login at postgresql://viz:hunter2-long@db, https://x:other-pw@host, {web.url}/{TOKEN},"
        f" mail-password, {KEY}, {OLD_KEY}, hunter2-long, https://x:an@other-pw@host \udcff"
    )
    alerts.record(problem(0, sentence=told))
    assert alerts.send(seconds=10).problems == []
    sent = mailbox.raw[0].decode() + json.dumps(web.posts) + call(environ, "incidents").stdout
    stored = incidents_file(settings(environ)).read_bytes().decode("utf-8", "replace")
    for hidden in ("hunter2", "other-pw", TOKEN, "mail-password", KEY, OLD_KEY):
        assert hidden not in sent
        assert hidden not in stored
    assert "no login at postgresql" in sent
