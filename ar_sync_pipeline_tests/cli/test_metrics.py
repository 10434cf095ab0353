"""`ar-sync metrics`: figures that Prometheus can read, equal to those of `status`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dagster_shared.yaml_utils import load_yaml_from_path
from prometheus_client.openmetrics.parser import text_string_to_metric_families as as_open_metrics
from prometheus_client.parser import text_string_to_metric_families as as_older_format

from ar_sync_pipeline.cli import main
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "ar_sync.rules.yml"
_NAME = re.compile(r"\bar_sync_\w+")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def run(environment: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, [*words], env=environment)


def samples(text: str) -> Samples:
    """Return every sample without the labels of its side, parsed by Prometheus' own client."""
    found: Samples = {}
    for family in as_open_metrics(text):  # type: ignore[no-untyped-call]
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "side"}
            key = (sample.name, frozenset(labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def one(found: Samples, name: str, **labels: str) -> float:
    return found[(f"ar_sync_{name}", frozenset(labels.items()))]


@pytest.fixture
def synced(deployment: Deployment) -> Deployment:
    """A pair whose receiver has a complete and a partial; another archive waits."""
    for job in ("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata"):
        deployment.succeed(job)
    execute(deployment.sender_url, "UPDATE app_child SET amount = 7, changed = now() WHERE id = 3")
    deployment.succeed("partial_dump")
    return deployment


@pytest.mark.long
@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_figures_are_those_of_status_and_incidents(synced: Deployment, side: str) -> None:
    environment = getattr(synced, f"{side}_environment")()
    told = json.loads(run(environment, "status", "--json").stdout)
    open_incidents = json.loads(run(environment, "incidents", "--json").stdout)["incidents"]
    result = run(environment, "metrics")
    assert result.exit_code == 0, result.stderr
    found = samples(result.stdout)
    assert one(found, "ok") == told["ok"]
    assert one(found, "link_up") == told["link_is_up"]
    assert one(found, "lag_seconds") == pytest.approx(60 * told["minutes_behind"], abs=30)
    for row in told["archives"]:
        assert one(found, "archives", state=row["state"]) == row["count"]
    states = [labels for name, labels in found if name == "ar_sync_archives"]
    assert len(states) == len(told["archives"])
    assert one(found, "open_incidents") == len(open_incidents)
    for kind in ("complete", "partial"):
        since = one(found, "metrics_timestamp_seconds") - one(
            found, "last_success_timestamp_seconds", kind=kind
        )
        assert 0 < since < 600
        assert 0 < one(found, "last_duration_seconds", kind=kind) < 600
        assert one(found, "last_archive_size_bytes", kind=kind) > 1000
    folders = {"sender": {"scratch"}, "receiver": {"spool", "media"}}[side]
    for folder in folders:
        assert 0 <= one(found, "free_ratio", folder=folder) <= 1


@pytest.mark.long
def test_older_format_of_the_textfile_collector_reads_the_same(synced: Deployment) -> None:
    text = run(synced.receiver_environment(), "metrics").stdout
    older = {sample.name: sample.value for f in as_older_format(text) for sample in f.samples}
    assert older == {name: value for (name, _), value in samples(text).items()}


def test_pair_is_a_label_and_the_file_is_replaced_as_a_whole(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.pair = "lima"
    file = tmp_path / "lima.prom"
    file.write_text("old")
    result = run(deployment.receiver_environment(), "metrics", "--output", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert 'ar_sync_ok{side="receiver",pair="lima"} 0\n' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert one(samples(file.read_text()), "archives", state="waiting", pair="lima") == 0
    result = run(deployment.receiver_environment(), "metrics", "--output", "/nowhere/a.prom")
    assert result.exit_code == 2
    assert "/nowhere/a.prom cannot be written" in result.stderr


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000])
def test_file_is_readable_for_the_collector_before_it_has_its_name(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    rename = os.rename

    def renamed(name: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append(os.stat(name, dir_fd=src_dir_fd).st_mode & 0o777)
        rename(name, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", renamed)
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "a.prom", b"figures", 0o644)
    finally:
        os.umask(before)
    assert seen == [0o644]


def test_database_that_cannot_be_asked_is_a_figure(deployment: Deployment) -> None:
    deployment.receiver_changes["AR_SYNC_RECEIVER_DATABASE_URL"] = "postgresql://127.0.0.1:1/none"
    result = run(deployment.receiver_environment(), "metrics")
    found = samples(result.stdout)
    assert one(found, "readable") == 0
    assert ("ar_sync_lag_seconds", frozenset[tuple[str, str]]()) not in found
    assert one(found, "free_ratio", folder="spool") > 0
    assert result.exit_code == 1
    assert "127.0.0.1" in result.stderr


@pytest.mark.long
def test_rules_ask_for_figures_that_exist(synced: Deployment) -> None:
    made = {name for name, _ in samples(run(synced.receiver_environment(), "metrics").stdout)}
    rules = load_yaml_from_path(str(RULES))
    assert isinstance(rules, dict)
    (group,) = rules["groups"]
    for rule in group["rules"]:
        asked = set(_NAME.findall(rule["expr"]))
        assert asked
        assert asked <= made, rule["alert"]
        assert rule["annotations"]["summary"]


@pytest.mark.long
def test_manual_lists_every_figure(synced: Deployment) -> None:
    made = {name for name, _ in samples(run(synced.receiver_environment(), "metrics").stdout)}
    manual = (ROOT / "docs" / "commands.md").read_text("utf-8")
    section = manual.partition("## `ar-sync metrics`")[2].partition("\n## ")[0]
    assert {name for name in _NAME.findall(section) if name != "ar_sync_pipeline"} == made
