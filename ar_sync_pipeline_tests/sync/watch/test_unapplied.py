"""The list of archives that are not applied, and the command that shows more about each."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_sites import TwoSites


@pytest.mark.parametrize("number", ["", ".2"])
def test_command_examines_the_quarantined_file_and_not_an_applied_one_of_its_name(
    filled: TwoSites, number: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = filled.complete().name.removeprefix("NEW_")
    filled.load()
    bad = filled.spool / "quarantine" / f"{name}{number}"
    shutil.copy(filled.spool / "complete" / name, bad)
    with bad.open("r+b") as file:
        file.truncate(bad.stat().st_size - 2000)
    (listed,) = view_ledger(filled.settings).unapplied
    monkeypatch.chdir(tmp_path)
    environment = {"AR_SYNC_REMOTE_BKP_FLDR": str(filled.spool)}
    program, *arguments = shlex.split(listed.command)
    assert program == "ar-sync"
    found = CliRunner().invoke(main, [*arguments, "--json"], env=environment)
    assert (found.exit_code, json.loads(found.stdout)["ok"]) == (1, False)
    # The name alone is the file that was applied.
    assert CliRunner().invoke(main, ["verify", name], env=environment).exit_code == 0
