"""Every command is listed without being imported, and has a help text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click import Command, Context
from click.testing import CliRunner

from ar_sync_pipeline.cli import demo_command, main

CONTEXT = Context(main)
NAMES = main.list_commands(CONTEXT)


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


def test_demo_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_command, "find_spec", lambda name: None if name == "PIL" else name)
    shown = CliRunner().invoke(main, ["demo"])
    assert shown.exit_code == 2
    assert "not installed (PIL): pip install 'ar-sync-pipeline[demo]'" in shown.output
