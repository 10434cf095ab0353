"""Every command is listed without being imported, and has a help text."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click import Command, Context
from click.testing import CliRunner

from ar_sync_pipeline.alerts.incidents import Problem
from ar_sync_pipeline.cli import demo_command, main
from ar_sync_pipeline.cli.environment import operator_environment
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.settings.model import load_receiver_settings
from ar_sync_pipeline.sync.watch.alerting import open_alerts

Called = subprocess.CompletedProcess[bytes]
CONTEXT = Context(main)
NAMES = main.list_commands(CONTEXT)


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the variables of a receiver of which nothing but the folders can be used."""
    monkeypatch.chdir(tmp_path)
    for folder in ("spool", "media"):
        (tmp_path / folder).mkdir()
    return {
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(tmp_path / "media"),
        "AR_SYNC_REMOTE_BKP_FLDR": str(tmp_path / "spool"),
        "AR_SYNC_STATE_FLDR": str(tmp_path / "state"),
        "AR_SYNC_ADMINS": "ops@example.org",
        "AR_SYNC_EMAIL_HOST": "127.0.0.1",
        "AR_SYNC_EMAIL_PORT": "1",
    }


@pytest.mark.parametrize("name", NAMES)
def test_command_of_the_list_is_there_and_documents_its_exit_codes(name: str) -> None:
    command = main.get_command(CONTEXT, name)
    assert isinstance(command, Command)
    assert command.name == name
    shown = CliRunner().invoke(main, [name, "--help"])
    assert shown.exit_code == 0
    assert "Exit codes: 0" in " ".join(shown.output.split()) or name == "catalog"


def test_unknown_command_is_a_usage_error() -> None:
    shown = CliRunner().invoke(main, ["nothing"])
    assert shown.exit_code == 2
    assert "No such command 'nothing'" in shown.output


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--json", "--nonsense"],
        ["init", "--json", "nobody"],
        ["init", "sender", "--json", "--no-input", "--set", "WITHOUT_VALUE"],
        ["import-settings", "--json"],
        ["catalog", "draft", "--json", "more"],
        ["inspect", "--json"],
    ],
)
def test_invalid_call_with_json_is_an_object_on_stdout(words: list[str]) -> None:
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 2
    found = json.loads(shown.stdout)
    assert set(found) == {"ok", "code", "problem", "remedy"}
    assert (found["ok"], found["code"]) == (False, "invalid-call")
    assert "Usage: " in shown.stderr
    quiet = CliRunner().invoke(main, [word for word in words if word != "--json"])
    assert (quiet.exit_code, quiet.stdout) == (2, "")


@pytest.mark.parametrize("command", [["init", "sender", "--no-input"], ["import-settings"]])
def test_folder_that_cannot_be_written_is_an_object_too(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text("")
    words = [*command, "--json", "--folder", str(file / "below")]
    if command[0] == "import-settings":
        words += ["--sender", str(file)]
    shown = CliRunner().invoke(main, words, env={"AR_SYNC_SIDE": ""})
    assert shown.exit_code in {1, 2}
    assert json.loads(shown.stdout)["ok"] is False


def test_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys\nfrom ar_sync_pipeline.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m.startswith(('ar_sync_pipeline.s', 'paramiko'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    for name in NAMES:
        assert f"\n  {name} " in shown.stdout


def called(*words: str, folder: Path, stdout: int = subprocess.PIPE, **environ: str) -> Called:
    """Run the program itself, as a shell does."""
    code = "from ar_sync_pipeline.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | environ,
        check=False,
    )


def test_redirected_sql_is_utf8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["línea", "日本"]\n', "utf-8")
    shown = called(
        *("grants", "sender", "--catalog", "c.toml"),
        folder=tmp_path,
        PYTHONIOENCODING="iso-8859-1",
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    sql = shown.stdout.decode()
    assert "línea" in sql
    assert "日本" in sql


@pytest.mark.parametrize("words", [["grants", "sender"], ["grants", "sender", "--json"]])
def test_output_to_a_full_disk_is_one_message(tmp_path: Path, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        shown = called(*words, folder=tmp_path, stdout=full.fileno())
    assert shown.returncode == 2
    assert shown.stderr.decode().startswith("Error: a disk of this machine is full")
    assert shown.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", [["grants", "sender"], ["grants", "sender", "--json"]])
def test_reader_that_ends_first_is_not_a_finding(tmp_path: Path, words: list[str]) -> None:
    """As with ``ar-sync plan | head``, where 1 would say that the archive would be rejected."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        shown = called(*words, folder=tmp_path, stdout=writing)
    finally:
        os.close(writing)
    assert (shown.returncode, shown.stderr) == (141, b"")


@pytest.mark.parametrize("words", [["status"], ["status", "--json"]])
def test_deleted_folder_is_one_message(tmp_path: Path, words: list[str]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code = f"import os; os.rmdir({str(folder)!r})\nfrom ar_sync_pipeline.cli import main; main()"
    shown = subprocess.run(
        [sys.executable, "-P", "-c", code, *words],
        capture_output=True,
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert shown.returncode == 2
    assert shown.stderr.decode().startswith("Error: the current folder was deleted: change to")
    assert "--json" not in words or json.loads(shown.stdout)["code"] == "folder-deleted"


@pytest.mark.parametrize("words", [["compare"], ["compare", "--json"]])
def test_ctrl_c_has_not_the_exit_code_of_a_finding(tmp_path: Path, words: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"
        code = (
            "import signal; signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
            "from ar_sync_pipeline.cli import main\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.5); main()"
        )
        shown = subprocess.run(
            [sys.executable, "-P", "-c", code, *words],
            capture_output=True,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "AR_SYNC_SENDER_DATABASE_URL": url,
                "AR_SYNC_RECEIVER_DATABASE_URL": url,
            },
            check=False,
        )
    assert shown.returncode == 130
    assert shown.stderr.decode().startswith("Error: the command was interrupted")
    assert "--json" not in words or json.loads(shown.stdout)["code"] == "call-interrupted"


@pytest.mark.parametrize("command", [["catalog", "draft"], ["catalog", "check"], ["status"]])
def test_url_with_a_byte_that_is_no_text_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = {"AR_SYNC_SENDER_DATABASE_URL": "postgresql://u:\udcff@h/d"}
    shown = CliRunner().invoke(main, command, env=url)
    assert shown.exit_code == 2
    assert "libpq" in shown.stderr


def test_what_a_command_does_not_use_need_not_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unused = {
        "AR_SYNC_SENDER_MEDIA_FLDR": "/nowhere",
        "AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://%zz",
    }
    assert CliRunner().invoke(main, ["grants", "sender"], env=unused).exit_code == 0
    unused = {"AR_SYNC_SENDER_MEDIA_FLDR": "/nowhere", "AR_SYNC_CATALOG": "~typo/c.toml"}
    (tmp_path / "c.toml").write_text('name = "x"\ntables = ["t"]\n')
    away = {"AR_SYNC_RECEIVER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"}
    checked = CliRunner().invoke(main, ["catalog", "check", "c.toml"], env=unused | away)
    assert "cannot be reached" in checked.stdout
    drafted = CliRunner().invoke(
        main,
        ["catalog", "draft"],
        env=unused | {"AR_SYNC_SENDER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d"},
    )
    assert "AR_SYNC_SENDER_MEDIA_FLDR=/nowhere is no folder" in drafted.stderr


@pytest.mark.parametrize("gone", ["spool", "media"])
def test_disk_that_is_not_mounted_does_not_hide_incidents_and_figures(
    receiver: dict[str, str], tmp_path: Path, gone: str
) -> None:
    settings = load_receiver_settings(receiver)
    gone_folder = Problem(
        "spool", "check", "1", utc_now(), "the spool", "check", "The spool is gone", "mount it"
    )
    open_alerts(settings, utc_now).record(gone_folder)
    (tmp_path / gone).rmdir()
    shown = CliRunner().invoke(main, ["incidents"], env=receiver)
    assert shown.exit_code == 1
    assert "cause: The spool is gone" in shown.stdout
    tried = CliRunner().invoke(main, ["alert-test"], env=receiver)
    assert tried.exit_code == 1
    assert "127.0.0.1" in tried.stdout
    measured = CliRunner().invoke(main, ["metrics"], env=receiver)
    assert measured.exit_code == 1
    assert 'ar_sync_readable{side="receiver"} 0\n' in measured.stdout
    assert 'ar_sync_open_incidents{side="receiver"} 1\n' in measured.stdout
    assert f"{tmp_path / gone}: does not exist: mount or make the folder" in measured.stderr
    checked = CliRunner().invoke(main, ["check"], env=receiver)
    assert "warning: no alert can be mailed" in checked.stdout
    assert "mail was not examined" not in checked.stdout


def test_private_key_that_is_gone_does_not_hide_incidents(tmp_path: Path) -> None:
    environment = {
        "AR_SYNC_SENDER_DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "AR_SYNC_SENDER_MEDIA_FLDR": "/nowhere",
        "AR_SYNC_TMP_BKP_FLDR": "/nowhere",
        "AR_SYNC_REMOTE_HOST": "127.0.0.1",
        "AR_SYNC_REMOTE_USER": "u",
        "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
        "AR_SYNC_PRIVATE_KEY": "/nowhere/key",
        "AR_SYNC_KNOWN_HOSTS": "/nowhere/hosts",
        "AR_SYNC_STATE_FLDR": str(tmp_path / "state"),
    }
    shown = CliRunner().invoke(main, ["incidents"], env=environment)
    assert (shown.exit_code, shown.stderr) == (0, "")


@pytest.mark.parametrize(
    "wrong", [{"AR_SYNC_STATE_FOLDER": "/state"}, {"AR_SYNC_STATE_FLDR": "state"}]
)
def test_incidents_of_another_file_are_not_shown(
    receiver: dict[str, str], wrong: dict[str, str]
) -> None:
    shown = CliRunner().invoke(main, ["incidents"], env=receiver | wrong)
    assert shown.exit_code == 2
    assert wrong.keys() <= {word.partition("=")[0].strip(":") for word in shown.stderr.split()}


@pytest.mark.parametrize(
    ("content", "line"),
    [("AR_SYNC_TIME=15\nA=Operaci\u00f3n\n".encode("latin-1"), 2), ("A=1".encode("utf-16"), 1)],
)
def test_settings_file_of_another_encoding_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, line: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(content)
    shown = CliRunner().invoke(main, ["status"])
    assert shown.exit_code == 2
    assert f"(line {line} is not text in UTF-8): save the file as UTF-8" in shown.stderr


def test_folder_in_place_of_the_settings_file_is_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").mkdir()
    shown = CliRunner().invoke(main, ["status"])
    assert shown.exit_code == 2
    assert "(Is a directory): remove the folder" in shown.stderr


@pytest.mark.parametrize("junk", ["this is junk", "A='open"])
def test_line_that_is_no_variable_is_named_once(
    receiver: dict[str, str], tmp_path: Path, junk: str
) -> None:
    (tmp_path / ".env").write_text(f"B=1\n{junk}\n")
    shown = CliRunner().invoke(main, ["check"], env=receiver)
    said = f"line 2 of {tmp_path / '.env'} is no NAME=VALUE and is ignored: correct or remove it"
    assert shown.stderr.count("line 2") == 1
    assert f"warning: {said}\n" in shown.stderr
    assert f"warning: {said}" in shown.stdout
    assert "python-dotenv" not in shown.output
    assert "systemd reads" not in shown.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", ""],
        ["plan", ""],
        ["compare", ""],
        ["import-settings", ""],
        ["catalog", "check", ""],
        ["grants", "sender", "--catalog", ""],
        ["metrics", "--output", ""],
        ["init", "sender", "--folder", ""],
        ["demo", "--folder", ""],
    ],
)
def test_empty_path_is_not_the_current_folder(words: list[str]) -> None:
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 2
    assert "it is empty, such as by a shell variable that is not set" in shown.stderr


def test_other_programs_variables_of_the_settings_file_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "PGPASSFILE=/of/the/file\nSSL_CERT_FILE=/of/the/file\nAR_SYNC_SIDE=sender\n"
    )
    # Both are restored after the test.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGPASSFILE", "")
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("SSL_CERT_FILE", "/of/the/shell")
    monkeypatch.delenv("AR_SYNC_SIDE", raising=False)
    found = operator_environment()
    assert os.environ["PGPASSFILE"] == found["PGPASSFILE"] == "/of/the/file"
    assert os.environ["SSL_CERT_FILE"] == found["SSL_CERT_FILE"] == "/of/the/shell"
    assert "AR_SYNC_SIDE" not in os.environ


def test_demo_refuses_a_folder_and_a_port_that_cannot_be(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["demo", "--folder", "/proc/xx"])
    assert shown.exit_code == 2
    assert "/proc/xx cannot be made, read or written (No such file or directory)" in shown.stderr
    (tmp_path / "thesis.txt").touch()
    assert CliRunner().invoke(main, ["demo", "--folder", str(tmp_path)]).exit_code == 2
    shown = CliRunner().invoke(main, ["demo", "--ui", "--port", "99999"])
    assert shown.exit_code == 2
    assert "99999 is not in the range" in shown.stderr


def test_demo_with_a_port_in_use_makes_no_folder_and_says_which_command_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = str(used.getsockname()[1])
        shown = CliRunner().invoke(main, ["demo", "--ui", "--port", port])
    assert shown.exit_code == 1
    assert "ar-sync demo --ui --port 3100" in shown.stderr
    assert "Both servers' files" not in shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_demo_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_command, "find_spec", lambda name: None if name == "PIL" else name)
    shown = CliRunner().invoke(main, ["demo"])
    assert shown.exit_code == 2
    assert "not installed (PIL): pip install 'ar-sync-pipeline[demo]'" in shown.output
