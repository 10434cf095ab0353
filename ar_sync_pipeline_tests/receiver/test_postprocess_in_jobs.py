"""The transform as the last step of the load jobs, alone, and in a receiver without a transform."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import postprocessed_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.definitions import receiver_definitions
from ar_sync_pipeline.transform.errors import NoBuiltinTransformError
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute
from ar_sync_pipeline_tests.receiver.sites import PostprocessedSites

REPORT = """INSERT INTO "AndroidRequests_report"
  (id, "timeStamp", message, "reportInfo", "phoneId")
  VALUES (99, now(), '', '{"bus": {"latitude": -33.4, "longitude": -70.6}}', gen_random_uuid())"""
RESULTS = {
    "rows_direction", "rows_half_hour", "rows_nearest_stops", "rows_plates", "rows_report_info",
    "rows_stop_points", "rows_time_period", "rows_zone",
}  # fmt: skip


@pytest.mark.long
def test_d8_it_runs_behind_a_complete_and_behind_a_partial_that_brings_one_table(
    sites: PostprocessedSites,
) -> None:
    sites.load_some_rows()
    execute(sites.two.receiver, 'DELETE FROM "AndroidRequests_report"')
    sites.two.complete()
    done = sites.run_job("complete_loaddata")
    assert done.succeeded
    assert sites.waiting() == 0
    assert done.metadata["rows_plates"] == 5
    assert done.metadata["rows_report_info"] == 5

    execute(sites.two.sender, REPORT)
    now = datetime.now(UTC)
    sites.two.partial(Window(start=now - timedelta(minutes=5), end=now + timedelta(minutes=1)))
    done = sites.run_job("partial_loaddata")
    assert done.succeeded
    assert done.metadata["rows_report_info"] == 1
    assert sites.waiting() == 0


@pytest.mark.long
def test_a_load_that_finds_nothing_new_takes_what_a_failed_transform_has_left(
    sites: PostprocessedSites,
) -> None:
    sites.load_some_rows()
    assert sites.waiting() == 10
    assert sites.run_job("partial_loaddata").succeeded
    assert sites.waiting() == 0


def test_it_can_be_materialized_alone_and_shows_rows_rejections_and_seconds(
    sites: PostprocessedSites,
) -> None:
    sites.load_some_rows()
    execute(
        sites.two.receiver,
        """UPDATE "AndroidRequests_report" SET "reportInfo" = '?' WHERE id < 3""",
    )
    sites.site("builtin:transapp")
    done = sites.materialize_alone()
    assert done.succeeded
    shown = done.metadata
    assert set(shown) >= RESULTS | {"seconds", "batches", "seconds_plates", "seconds_report_info"}
    assert (shown["rows_handled"], shown["rows_report_info"], shown["rejected_rows"]) == (10, 3, 2)
    assert shown["rows_nearest_stops"] == 0
    assert "| report info | error | the text is not JSON | 2 |" in shown["rejected_by_reason"]


def test_the_ledger_is_behind_all_tables_and_the_transform_behind_the_ledger(
    sites: PostprocessedSites,
) -> None:
    sites.site()
    graph = receiver_definitions(sites.two.settings).resolve_asset_graph()
    ledger = dg.AssetKey(["receiver", "applied_archives"])
    assert graph.get(postprocessed_key(ALONE)).parent_keys == {ledger}
    tables = {key for key in graph.get(ledger).parent_keys if "tables" in key.path}
    assert len(tables) == len(load_catalog().named_tables()) == 24


def test_without_a_transform_there_is_no_asset_and_no_sensor_for_it(
    small_sites: TwoSites,
) -> None:
    (small_sites.folder / "catalog.toml").write_text('name = "small"\ntables = ["app_*"]\n')
    small_sites.environ |= {"AR_SYNC_CATALOG": str(small_sites.folder / "catalog.toml")}
    definitions = receiver_definitions(small_sites.settings)
    assert postprocessed_key(ALONE) not in definitions.resolve_asset_graph().get_all_asset_keys()
    assert {sensor.name for sensor in definitions.sensors or ()} == {
        "data_age",
        "new_complete_archives",
        "new_partial_archives",
        "receiver_alerts",
        "receiver_preflight",
    }


def test_a_catalog_of_another_application_is_told_at_load_that_it_has_no_builtin_transform(
    small_sites: TwoSites,
) -> None:
    (small_sites.folder / "catalog.toml").write_text('name = "small"\ntables = ["app_*"]\n')
    small_sites.environ |= {
        "AR_SYNC_CATALOG": str(small_sites.folder / "catalog.toml"),
        "AR_SYNC_TRANSFORM": "builtin:transapp",
    }
    with pytest.raises(NoBuiltinTransformError, match="`small` has no built-in transform") as told:
        receiver_definitions(small_sites.settings)
    assert "set AR_SYNC_TRANSFORM to `none`, or to `command:<words>`" in told.value.remedy
    small_sites.environ["AR_SYNC_TRANSFORM"] = "command:true"
    definitions = receiver_definitions(small_sites.settings)
    assert postprocessed_key(ALONE) in definitions.resolve_asset_graph().get_all_asset_keys()


def test_a_catalog_that_leaves_no_changed_row_to_the_builtin_transform_is_told_what_to_add(
    sites: PostprocessedSites,
) -> None:
    file = sites.two.folder / "catalog.toml"
    receiver_tables = [*load_catalog().receiver_tables]
    file.write_text(
        f'name = "mine"\ntables = ["AndroidRequests_*"]\nreceiver_tables = {receiver_tables}\n'
    )
    sites.two.environ |= {"AR_SYNC_CATALOG": str(file), "AR_SYNC_TRANSFORM": "builtin:transapp"}
    with pytest.raises(NoBuiltinTransformError, match="whose results would stay old") as told:
        receiver_definitions(sites.two.settings)
    assert "[table.AndroidRequests_busv2] reset_on_change = { transformed = false }" in (
        told.value.problem
    )
    (file_to_copy,) = re.findall(r"/\S+[.]toml", told.value.remedy)
    assert load_catalog(Path(file_to_copy)) == load_catalog()
    sites.two.environ["AR_SYNC_TRANSFORM"] = "command:true"
    receiver_definitions(sites.two.settings)


SHOW_PAIR = """
import json, os, pathlib
names = [f"AR_SYNC_{name}" for name in ("PAIR", "RECEIVER_DATABASE_URL", "RECEIVER_MEDIA_FLDR")]
found = {name: os.environ.get(name) for name in names}
pathlib.Path(__file__).with_name("found.json").write_text(json.dumps(found))
"""


@pytest.mark.long
def test_a_command_gets_the_variables_of_its_own_pair(
    sites: PostprocessedSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.two.complete()
    sites.two.load()
    sites.two.environ["AR_SYNC_PAIR"] = "lima"
    # A code server of several pairs, with the variables of another one.
    monkeypatch.setenv("AR_SYNC_PAIR", "santiago")
    monkeypatch.setenv("AR_SYNC_RECEIVER_DATABASE_URL", "postgresql:///santiago")
    assert sites.command(SHOW_PAIR).succeeded
    assert json.loads((sites.two.folder / "found.json").read_text()) == {
        "AR_SYNC_PAIR": "lima",
        "AR_SYNC_RECEIVER_DATABASE_URL": sites.two.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(sites.two.settings.receiver_media_fldr),
    }
