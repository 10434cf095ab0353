"""The list of archives that are not applied, and the command that shows more about each."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
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


def test_list_says_of_a_parked_archive_what_the_status_says(filled: TwoSites) -> None:
    filled.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
    filled.complete()
    filled.admit()
    filled.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    status = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert "fits the receiver now" in status.lag.because
    (listed,) = view_ledger(filled.settings, status.parked).unapplied
    assert (listed.state, listed.reason) == ("parked", status.parked[0].problem)
    assert listed.remedy.startswith("no action is needed")
    (written,) = view_ledger(filled.settings).unapplied
    assert "lacks column" in written.reason
    assert listed.since == written.since


def test_archive_that_a_restored_database_does_not_know_waits_in_the_list_too(
    filled: TwoSites,
) -> None:
    name = filled.complete().name.removeprefix("NEW_")
    filled.load()
    filled.at_receiver("DELETE FROM ar_sync.applied_archive")
    status = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert status.count("waiting") == 1
    (listed,) = view_ledger(filled.settings).unapplied
    assert (listed.name, listed.state, listed.command) == (name, "waiting", f"ar-sync plan {name}")
