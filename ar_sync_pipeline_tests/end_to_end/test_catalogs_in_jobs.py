"""Catalogs of any form in the real jobs: only patterns, tables of any name."""

from __future__ import annotations

import dagster as dg
import pytest

from ar_sync_pipeline.operations.asset_keys import (
    referenced_rows_key,
    unlisted_receiver_key,
    unlisted_snapshot_key,
)
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline_tests.fix_dagster import Deployment, dagster_command
from ar_sync_pipeline_tests.fix_sites import execute, rows

PATTERNS_ONLY = 'name = "small"\ntables = ["app_*"]\nreceiver_tables = ["app_note"]\n'
ODD_NAMES = (
    "in/out 5%",
    "In/Out 5%",
    "in%2Fout 5%25",
    'ñandú\'s "día"',
    "🚌" * 15,
    "/" * 63,
    "..",
    "referenced_rows",
    "a[1]",
    "x.y",
    "select",
)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def latest(deployment: Deployment, key: dg.AssetKey) -> dict[str, object]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        event = instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.asset_materialization is not None
        return {name: v.value for name, v in event.asset_materialization.metadata.items()}


@pytest.fixture
def patterns_only(deployment: Deployment) -> Deployment:
    (deployment.folder / "catalog.toml").write_text(PATTERNS_ONLY)
    execute(deployment.receiver_url, "ALTER TABLE app_parent DROP seen, DROP transformed")
    return deployment


def children(deployment: Deployment) -> list[list[tuple[object, ...]]]:
    query = "SELECT id, parent_id, amount, picture FROM app_child ORDER BY id"
    return [rows(url, query) for url in (deployment.sender_url, deployment.receiver_url)]


@pytest.mark.long
def test_catalog_of_patterns_only_runs_all_four_jobs(patterns_only: Deployment) -> None:
    patterns_only.succeed("complete_dump")
    patterns_only.succeed("complete_loaddata")
    sent, received = children(patterns_only)
    assert len(sent) == 300
    assert sent == received
    dumped = latest(patterns_only, unlisted_snapshot_key(ALONE))
    assert (dumped["dagster/row_count"], dumped["tables"]) == (320, 2)
    assert "| app_child | 300 |" in str(dumped["rows_by_table"])
    loaded = latest(patterns_only, unlisted_receiver_key(ALONE))
    assert (loaded["rows_added"], loaded["tables"]) == (320, 2)
    execute(patterns_only.sender_url, "UPDATE app_child SET amount = -1 WHERE id = 4")
    patterns_only.succeed("partial_dump")
    patterns_only.succeed("partial_loaddata")
    sent, received = children(patterns_only)
    assert sent == received
    assert "app_child" in str(latest(patterns_only, referenced_rows_key(ALONE))["rows_by_table"])
    assert latest(patterns_only, unlisted_receiver_key(ALONE))["rows_changed"] == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_catalog_of_patterns_only_runs_from_the_command_line(
    patterns_only: Deployment, kind: str
) -> None:
    for side, job in (("sender", f"{kind}_dump"), ("receiver", f"{kind}_loaddata")):
        environment = (
            patterns_only.sender_environment()
            if side == "sender"
            else patterns_only.receiver_environment()
        )
        done = dagster_command(
            "dagster", "job", "execute", "-m", f"ar_sync_pipeline.{side}", "-j", job,
            environment=environment, home=patterns_only.home,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_catalog_of_patterns_only_shows_one_asset_for_its_tables(
    patterns_only: Deployment,
) -> None:
    for definitions, expected in (
        (
            patterns_only.sender_definitions(),
            {unlisted_snapshot_key(ALONE), referenced_rows_key(ALONE)},
        ),
        (patterns_only.receiver_definitions(), {unlisted_receiver_key(ALONE)}),
    ):
        keys = definitions.resolve_asset_graph().get_all_asset_keys()
        assert {key for key in keys if "tables" in key.path} == expected


def test_catalog_that_names_a_table_has_no_asset_for_the_others(deployment: Deployment) -> None:
    for definitions in (deployment.sender_definitions(), deployment.receiver_definitions()):
        keys = definitions.resolve_asset_graph().get_all_asset_keys()
        assert not {unlisted_snapshot_key(ALONE), unlisted_receiver_key(ALONE)} & set(keys)


@pytest.mark.long
@pytest.mark.parametrize("listed", [True, False])
def test_tables_of_any_name_pass_through_all_four_jobs(
    deployment: Deployment, listed: bool
) -> None:
    sections = [name if "." not in name[1:] else f"public.{name}" for name in ODD_NAMES]
    catalog = 'name = "odd"\ntables = ["*"]\nexclude = ["app_*"]\n'
    if listed:
        for name in sections:
            escaped = name.replace('"', '\\"')
            catalog += f'[table."{escaped}"]\nchanged_at = "at"\n'
    (deployment.folder / "catalog.toml").write_text(catalog)
    for name in ODD_NAMES:
        statement = f'CREATE TABLE {quoted(name)} ("i d" int PRIMARY KEY, at timestamptz, v text)'
        for url in (deployment.sender_url, deployment.receiver_url):
            execute(url, statement)
        execute(
            deployment.sender_url,
            f"INSERT INTO {quoted(name)} SELECT n, now(), 'v' FROM generate_series(1, 5) n",
        )
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert all(count(deployment, name) == 5 for name in ODD_NAMES)
    for name in ODD_NAMES:
        execute(deployment.sender_url, f"INSERT INTO {quoted(name)} VALUES (6, now())")
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert all(count(deployment, name) == 6 for name in ODD_NAMES)


def count(deployment: Deployment, name: str) -> object:
    return rows(deployment.receiver_url, f"SELECT count(*) FROM {quoted(name)}")[0][0]
