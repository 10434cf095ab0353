"""Pairs as Dagster components: each YAML is one pair and side, all in one code location."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml  # type: ignore[import-untyped]
from dagster.components.core.component_tree import ComponentTreeException

from ar_sync_pipeline.operations.runs.local_runs import LocalRuns
from ar_sync_pipeline_tests.fix_dagster import Deployment, dagster_command
from ar_sync_pipeline_tests.fix_sites import rows

_PYPROJECT = """
[project]
name = "cities"
version = "0"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "cities"
"""
_PAGE = Path(__file__).parents[2] / "docs" / "many_pairs.md"
_SECRET = {"sender": "sender_database_url", "receiver": "receiver_database_url"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty Dagster project."""
    folder = tmp_path / "project"
    (folder / "cities" / "defs").mkdir(parents=True)
    for package in ("cities", "cities/defs"):
        (folder / package / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(_PYPROJECT)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cities"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def attributes(environment: Mapping[str, str], side: str, pair: str) -> dict[str, Any]:
    """Return the settings of an environment as YAML, the database by the name of a variable."""
    settings = {name.removeprefix("AR_SYNC_").lower(): value for name, value in environment.items()}
    del settings[_SECRET[side]]
    return {"settings": settings, "secrets": {_SECRET[side]: f"{pair.upper()}_DATABASE"}}


def write(project: Path, pair: str, side: str, content: dict[str, Any]) -> None:
    file = project / "cities" / "defs" / pair / "defs.yaml"
    file.parent.mkdir()
    kind = f"ar_sync_pipeline.{side.capitalize()}Component"
    file.write_text(yaml.safe_dump({"type": kind, "attributes": content}))


def load(project: Path) -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=project)


def cause_of(error: BaseException) -> BaseException:
    """Return the root cause, which Dagster shows below the place in the YAML that failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_three_cities_in_one_code_location(
    three_pairs: list[Deployment], project: Path, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in three_pairs:
        environment = getattr(pair, f"{side}_environment")()
        monkeypatch.setenv(
            f"{pair.pair.upper()}_DATABASE", environment[f"AR_SYNC_{_SECRET[side].upper()}"]
        )
        write(project, pair.pair, side, attributes(environment, side, pair.pair))
        if side == "receiver":
            pair.succeed("complete_dump")
    made = load(project)
    job = {"sender": "complete_dump", "receiver": "complete_loaddata"}[side]
    with LocalRuns(three_pairs[0].home) as runs:
        for pair in three_pairs:
            outcome = runs.run(made, pair.names.name(job))
            assert outcome.succeeded, outcome.failures
            if side == "sender":
                assert len(list(pair.spool.glob("complete/NEW_*"))) == 1
            else:
                query = "SELECT count(*) FROM app_child"
                assert rows(pair.receiver_url, query) == rows(pair.sender_url, query)
    folders = {key.path[0] for key in made.resolve_asset_graph().get_all_asset_keys()}
    assert folders == {pair.pair for pair in three_pairs}


def test_errors_in_the_yaml_are_all_named_and_no_secret_is_written_down(
    deployment: Deployment, project: Path
) -> None:
    content = attributes(deployment.sender_environment(), "sender", "lima")
    content["settings"] |= {"signing_key": "0123456789abcdef" * 4}
    write(project, "lima", "sender", content)
    with pytest.raises(ComponentTreeException) as caught:
        load(project)
    told = str(cause_of(caught.value))
    assert "settings.signing_key: is a secret" in told
    assert "secrets.sender_database_url: the environment has no variable LIMA_DATABASE" in told
    assert "0123456789abcdef" not in told
    assert "Correct the component's YAML or the variables that its secrets name" in told


def test_wrong_value_in_the_yaml_names_no_file_of_a_side(
    deployment: Deployment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = deployment.sender_environment()
    monkeypatch.setenv("LIMA_DATABASE", environment["AR_SYNC_SENDER_DATABASE_URL"])
    content = attributes(environment | {"AR_SYNC_TIME": "soon"}, "sender", "lima")
    write(project, "lima", "sender", content)
    with pytest.raises(ComponentTreeException) as caught:
        load(project)
    told = str(cause_of(caught.value))
    assert "AR_SYNC_TIME=soon: is not a whole number" in told
    assert "Correct the component's YAML" in told


def test_executor_that_would_spread_steps_is_refused_beside_a_component(
    deployment: Deployment, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = deployment.sender_environment()
    monkeypatch.setenv("LIMA_DATABASE", environment["AR_SYNC_SENDER_DATABASE_URL"])
    write(project, "lima", "sender", attributes(environment, "sender", "lima"))
    (project / "cities" / "defs" / "executor.py").write_text(
        "import dagster as dg\ndefs = dg.Definitions(executor=dg.multiprocess_executor)\n"
    )
    with pytest.raises(ComponentTreeException) as caught:
        load(project)
    assert "both have an executor" in str(cause_of(caught.value))


@pytest.mark.long
def test_dg_knows_both_and_scaffolds_what_a_side_cannot_do_without(project: Path) -> None:
    def dg_command(*words: str) -> str:
        done = dagster_command("dg", *words, environment={}, home=project)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    listed = json.loads(dg_command("list", "components", "--package", "ar_sync_pipeline", "--json"))
    assert {item["key"] for item in listed["items"]} == {
        "ar_sync_pipeline.ReceiverComponent",
        "ar_sync_pipeline.SenderComponent",
    }
    dg_command("scaffold", "defs", "ar_sync_pipeline.ReceiverComponent", "bogota")
    made = yaml.safe_load((project / "cities/defs/bogota/defs.yaml").read_text())
    assert made["type"] == "ar_sync_pipeline.ReceiverComponent"
    assert made["attributes"]["settings"]["pair"] == "bogota"
    assert "remote_bkp_fldr" in made["attributes"]["settings"]
    secrets = made["attributes"]["secrets"]
    assert secrets["receiver_database_url"] == "BOGOTA_RECEIVER_DATABASE_URL"
    dg_command("scaffold", "defs", "ar_sync_pipeline.ReceiverComponent", "lima")
    other = yaml.safe_load((project / "cities/defs/lima/defs.yaml").read_text())
    shared = made["attributes"]["settings"].items() & other["attributes"]["settings"].items()
    assert not {name for name, _ in shared if name.endswith("_fldr")}


@pytest.mark.long
def test_project_of_the_page_loads_both_pairs(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = _PAGE.read_text()
    folder = tmp_path / "senders"
    (folder / "senders" / "defs").mkdir(parents=True)
    for fence, file in (("toml", "pyproject.toml"), ("python", "senders/definitions.py")):
        (found,) = re.findall(
            rf"^```{fence}\n# {re.escape(file)}\n(.*?)^```", page, re.MULTILINE | re.DOTALL
        )
        (folder / file).write_text(found)
    environment = deployment.sender_environment()
    for pair in ("santiago", "lima"):
        made = folder / "senders" / "defs" / pair / "defs.yaml"
        made.parent.mkdir()
        content = attributes(environment, "sender", pair)
        content["settings"]["pair"] = pair
        kind = "ar_sync_pipeline.SenderComponent"
        made.write_text(yaml.safe_dump({"type": kind, "attributes": content}))
    url = environment["AR_SYNC_SENDER_DATABASE_URL"]
    databases = {"SANTIAGO_DATABASE": url, "LIMA_DATABASE": url}
    monkeypatch.chdir(folder)
    checked = dagster_command("dg", "check", "defs", environment=databases, home=folder)
    assert checked.returncode == 0, checked.stderr + checked.stdout
