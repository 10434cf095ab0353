"""The side of an environment: set explicitly, or inferred from all variables together."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.settings.side import SideError, infer_side
from ar_sync_pipeline_tests.fix_rights import permissions_count

SENDER = {
    "AR_SYNC_SENDER_DATABASE_URL": "postgresql://db/x",
    "AR_SYNC_SENDER_MEDIA_FLDR": "/media",
    "AR_SYNC_TMP_BKP_FLDR": "/scratch",
    "AR_SYNC_REMOTE_HOST": "viz.example.org",
    "AR_SYNC_REMOTE_USER": "ar_sync",
    "AR_SYNC_KNOWN_HOSTS": "/etc/known_hosts",
    "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
}
RECEIVER = {
    "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://db/x",
    "AR_SYNC_RECEIVER_MEDIA_FLDR": "/media",
    "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
}


def renamed(environment: dict[str, str], **names: str) -> dict[str, str]:
    return {names.get(name, name): value for name, value in environment.items()}


@pytest.mark.parametrize(
    ("environment", "side"),
    [
        (SENDER, "sender"),
        (RECEIVER, "receiver"),
        (
            renamed(RECEIVER, AR_SYNC_RECEIVER_DATABASE_URL="AR_SYNC_RECIEVER_DATABASE_URL"),
            "receiver",
        ),
        (renamed(RECEIVER, AR_SYNC_RECEIVER_DATABASE_URL="AR_SYNC_DATABASE_URL"), "receiver"),
        (renamed(RECEIVER, AR_SYNC_RECEIVER_MEDIA_FLDR="AR_SYNC_MEDIA_FOLDER"), "receiver"),
        (renamed(SENDER, AR_SYNC_SENDER_DATABASE_URL="AR_SYNC_SENDER_DATABSE_URL"), "sender"),
        ({"AR_SYNC_RECEIVR_DATABASE_URL": "x", "AR_SYNC_TIME": "15"}, "receiver"),
        (RECEIVER | {"AR_SYNC_KNOWN_HOSTS": "/etc/known_hosts"}, "receiver"),
        (
            renamed(RECEIVER, AR_SYNC_RECEIVER_DATABASE_URL="AR_SYNC_RECIEVER_DATABASE_URL")
            | {"AR_SYNC_KNOWN_HOSTS": "/etc/known_hosts"},
            "receiver",
        ),
        (SENDER | {"AR_SYNC_MAX_LAG": "30"}, "sender"),
        (SENDER | RECEIVER | {"AR_SYNC_SIDE": "receiver"}, "receiver"),
        (SENDER | {"AR_SYNC_RECEIVER_DATABASE_URL": " "}, "sender"),
    ],
)
def test_all_variables_together_say_the_side(environment: dict[str, str], side: str) -> None:
    assert infer_side(environment) == side


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no setting of the sender or the receiver"),
        ({"AR_SYNC_TIME": "15", "AR_SYNC_DATABASE_URL": "x"}, "no setting of the sender or"),
        (SENDER | RECEIVER, "those of the sender .* and the receiver .*: add --side sender or"),
        (
            {"AR_SYNC_KNOWN_HOSTS": "/x", "AR_SYNC_MAX_LAG": "30"},
            r"sender \(AR_SYNC_KNOWN_HOSTS\) and the receiver \(AR_SYNC_MAX_LAG\)",
        ),
        (RECEIVER | {"AR_SYNC_SIDE": "receivr"}, "AR_SYNC_SIDE=receivr is no side: set it to"),
    ],
)
def test_what_is_unclear_is_one_message_that_says_what_to_set(
    environment: dict[str, str], message: str
) -> None:
    with pytest.raises(SideError, match=message):
        infer_side(environment)


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, environment: dict[str, str], *words: str
) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(main, words, env=environment)


@pytest.mark.parametrize("command", ["check", "status", "incidents", "alert-test"])
def test_commands_of_either_side_agree_on_the_side(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    misspelt = renamed(RECEIVER, AR_SYNC_RECEIVER_DATABASE_URL="AR_SYNC_RECIEVER_DATABASE_URL")
    shown = run(monkeypatch, tmp_path, misspelt, command)
    assert shown.exit_code == 2
    assert "settings of the receiver" in shown.stderr
    assert "did you mean AR_SYNC_RECEIVER_DATABASE_URL?" in shown.stderr
    assert "AR_SYNC_SENDER" not in shown.stderr
    unclear = run(monkeypatch, tmp_path, SENDER | RECEIVER, command)
    assert (unclear.exit_code, unclear.stderr.count("\n")) == (2, 1)
    assert "AR_SYNC_SIDE" in unclear.stderr
    wrong = SENDER | RECEIVER | {"AR_SYNC_TIME": "soon"}
    said = run(monkeypatch, tmp_path, wrong, command, "--side", "receiver")
    assert "settings of the receiver" in said.stderr


def test_folder_that_may_not_be_entered_is_named_as_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("AR_SYNC_SIDE=receiver\n")
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0)
    with permissions_count():
        shown = CliRunner().invoke(main, ["status"], env={})
    tmp_path.chmod(0o700)
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path}/.env cannot be read (Permission denied): run the command" in shown.stderr


def test_side_may_stand_in_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = (SENDER | RECEIVER | {"AR_SYNC_SIDE": "receiver"}).items()
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines))
    assert "settings of the receiver" in run(monkeypatch, tmp_path, {}, "status").stderr


@pytest.mark.parametrize("words", [("plan", "x"), ("allow", "x"), ("retention",)])
def test_receivers_command_at_the_sender_says_where_it_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    shown = run(monkeypatch, tmp_path, SENDER, *words)
    assert (shown.exit_code, shown.stderr.count("\n")) == (2, 1)
    assert f"`ar-sync {words[0]}` works at the receiver" in shown.stderr
