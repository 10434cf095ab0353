"""Every command is listed without being imported, and has a help text."""

from __future__ import annotations

import subprocess
import sys

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
