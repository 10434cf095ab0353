"""The manual's example of a command's ``--json`` has exactly the keys that the command prints."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner, Result

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.operations.alerts.problem_areas import (
    MEDIA_REFERENCES,
    RECEIVER_AREAS,
    SENDER_AREAS,
)
from ar_sync_pipeline.receiver.load_checks import DIGESTS_CAUSE, GUARD_CAUSE
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.load.preview import Verdict
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline.sync.watch.preflight import _receiver_areas, _sender_areas
from ar_sync_pipeline_tests.alerts.problems import problem
from ar_sync_pipeline_tests.alerts.test_alert_commands import shape
from ar_sync_pipeline_tests.fix_sites import TwoSites

MANUAL = (Path(__file__).parents[2] / "docs" / "commands.md").read_text("utf-8")
CATALOG = """
name = "small"
tables = ["app_*"]
receiver_tables = ["app_note"]
[table.app_parent]
receiver_columns = ["seen", "transformed"]
reset_on_change = {transformed = false}
rewritten_by_transform = ["label"]
[table.app_child]
changed_at = "changed"
media_columns = ["picture"]
"""


@pytest.fixture
def guarded(filled: TwoSites) -> TwoSites:
    """Apply a complete, let the delete guard park the next one, and open an incident."""
    filled.environ["AR_SYNC_DELETE_GUARD"] = "5"
    filled.complete()
    filled.load()
    filled.at_sender("DELETE FROM app_child WHERE id > 1500")
    filled.complete()
    filled.load()
    open_alerts(filled.settings, lambda: datetime.now(UTC)).record(problem(0))
    return filled


def parked(sites: TwoSites) -> str:
    (archive,) = list_parked(sites.spool)
    return archive.name.applied


def run(sites: TwoSites, *words: str) -> Result:
    file = sites.folder / "catalog.toml"
    file.write_text(CATALOG)
    environ = {
        "AR_SYNC_CATALOG": str(file),
        "AR_SYNC_DELETE_GUARD": "5",
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(sites.spool),
        "AR_SYNC_STATE_FLDR": str(sites.folder / "state"),
        "AR_SYNC_TRANSFORM": "none",
    }
    return CliRunner().invoke(main, [*words, "--json"], env=environ)


def example(command: str) -> object:
    """The JSON of the section of a command."""
    heading = re.search(rf"^## `ar-sync {command}(?: --json)?`$", MANUAL, re.MULTILINE)
    assert heading is not None, command
    section = MANUAL[heading.end() :].partition("\n## ")[0]
    return json.loads(section.partition("```json\n")[2].partition("```")[0])


def test_keys_of_the_manual_are_those_of_the_commands(guarded: TwoSites) -> None:
    name = parked(guarded)
    calls = {
        "status": (),
        "plan": (name,),
        "inspect": (name,),
        "verify": (name,),
        "retention": ("--dry-run",),
        "compare": (name, "--catalog", str(guarded.folder / "catalog.toml")),
        "allow": (name,),
    }
    for command, words in calls.items():
        done = run(guarded, command, *words)
        assert done.stdout.startswith("{"), (command, done.output)
        assert shape(json.loads(done.stdout)) == shape(example(command)), command


def test_every_command_with_json_has_a_section() -> None:
    context = Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        if any("--json" in parameter.opts for parameter in command.params):
            assert re.search(rf"^## `ar-sync {name}\b", MANUAL, re.MULTILINE), name


def test_states_of_status_are_those_of_the_manual(guarded: TwoSites) -> None:
    section = MANUAL.partition("## `ar-sync status`\n")[2].partition("\n## ")[0]
    for archive in json.loads(run(guarded, "status").stdout)["archives"]:
        assert f"`{archive['state']}`" in section


def test_every_verdict_of_plan_is_in_the_manual() -> None:
    section = MANUAL.partition("## `ar-sync plan`\n")[2].partition("\n## ")[0]
    assert [verdict for verdict in Verdict if f"`{verdict}`" not in section] == []


def test_every_area_of_check_is_in_the_manual(filled: TwoSites) -> None:
    table = MANUAL.partition("| area | side | examined |")[2].partition("\n\n")[0]
    areas = {
        **_sender_areas(sender_settings(filled), filled.catalog, filled.clock, []),
        **_receiver_areas(filled.settings, filled.catalog, filled.clock),
    }
    assert len(areas) > 10
    assert [area for area in areas if f"\n| `{area}` |" not in table] == []


def sender_settings(sites: TwoSites) -> SenderSettings:
    key = sites.folder / "key"
    key.touch(mode=0o600)
    return load_sender_settings(
        {
            "AR_SYNC_KNOWN_HOSTS": str(key),
            "AR_SYNC_PRIVATE_KEY": str(key),
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            "AR_SYNC_REMOTE_HOST": "viz.example.org",
            "AR_SYNC_REMOTE_USER": "ar_sync_sender",
            "AR_SYNC_SENDER_DATABASE_URL": sites.sender,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(sites.sender_media),
            "AR_SYNC_TMP_BKP_FLDR": str(sites.folder / "scratch"),
        }
    )


def test_every_cause_of_an_incident_is_in_the_manual() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
    areas = (*SENDER_AREAS, *RECEIVER_AREAS, MEDIA_REFERENCES)
    assert [area.cause for area in areas if f"`{area.cause}`" not in page] == []
    assert [one for one in (GUARD_CAUSE, DIGESTS_CAUSE) if f"`{one}`" not in page] == []
