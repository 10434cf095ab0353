"""The ledger shows which run applied what, what is not applied and why, and the approvals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.operations.asset_keys import admitted_key, applied_archives_key, archive_key
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.postgres.approved_archives import allow
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.receiver.site import ReceiverSite
from ar_sync_pipeline.receiver.up_to_date_check import check_lag
from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.load.allow import allow_archive
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown
from ar_sync_pipeline_tests.fix_sites import execute

LEDGER, PARTIAL = applied_archives_key(ALONE), archive_key(ArchiveKind.PARTIAL, ALONE)


class Seen:
    """What the instance of a deployment has recorded for an asset."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance

    @property
    def settings(self) -> ReceiverSettings:
        return load_receiver_settings(self.deployment.receiver_environment())

    def figures(self) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(LEDGER)
        assert event is not None
        assert event.asset_materialization is not None
        return values(event.asset_materialization)

    def observations(self, key: dg.AssetKey) -> list[dg.AssetObservation]:
        """Return the observations, newest first."""
        records = self.instance.fetch_observations(key, limit=100).records
        return [r.asset_observation for r in records if r.asset_observation]


def values(event: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, Any]:
    return {name: value.value for name, value in event.metadata.items()}


@pytest.fixture
def seen(deployment: Deployment) -> Iterator[Seen]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Seen(deployment, instance)


@pytest.fixture
def guarded(deployment: Deployment) -> str:
    """Return the name of a complete that the delete guard parks."""
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "DELETE FROM app_child")
    deployment.succeed("complete_dump")
    assert not deployment.run("complete_loaddata").succeeded
    (archive,) = list_parked(deployment.spool)
    return archive.name.applied


@pytest.mark.long
def test_each_window_names_the_run_that_applied_its_archive_and_the_run_names_the_window(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    deployment.succeed("partial_dump")
    (record,) = seen.instance.fetch_materializations(PARTIAL, limit=5).records
    load = deployment.succeed("partial_loaddata")

    (observation,) = seen.observations(PARTIAL)
    assert observation.partition == record.partition_key
    assert values(observation)["applied_by"] == load.run_id
    assert record.asset_materialization is not None
    name = record.asset_materialization.metadata["archive"].value
    assert values(observation)["archive"] == name
    applied = seen.figures()["applied"]
    assert f"partition={record.partition_key}" in applied
    assert f"`{name}`" in applied
    assert len(seen.observations(archive_key(ArchiveKind.COMPLETE, ALONE))) == 1


@pytest.mark.long
def test_a_guarded_archive_is_in_the_list_with_the_command_that_lets_it_through(
    guarded: str, seen: Seen
) -> None:
    shown = values(seen.observations(LEDGER)[0])
    assert shown["archives_not_applied"] == 1
    (line,) = shown["not_applied"].splitlines()
    assert f"`ar-sync allow {guarded}`" in line
    assert "**parked** since " in line
    assert "would be emptied" in line
    key = dg.AssetCheckKey(LEDGER, "archives_loaded")
    record = seen.instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert record.event is not None
    evaluation = record.event.get_dagster_event().asset_check_evaluation_data
    assert not evaluation.passed
    assert evaluation.metadata["runbook_page"].value == "delete_guard"
    site = ReceiverSite(
        seen.settings, load_catalog(seen.settings.catalog), lambda: datetime.now(UTC)
    )
    found = check_lag(site, seen.instance).result.metadata or {}
    assert found["archives_not_applied"].value == 1
    assert found["not_applied"].value == shown["not_applied"], "of the same minute in the check"


@pytest.mark.long
def test_the_load_of_an_allowed_archive_says_who_allowed_it_and_when(
    deployment: Deployment, guarded: str, seen: Seen
) -> None:
    at = datetime(2026, 11, 28, 14, 35, tzinfo=UTC)
    allow_archive(seen.settings, guarded, allowed_by="ana | <b>", clock=lambda: at)
    (waiting,) = view_ledger(seen.settings).unapplied
    assert (waiting.name, waiting.state) == (guarded, "waiting")
    assert waiting.reason == "allowed, waits for the next load"
    deployment.succeed("complete_loaddata")
    figures = seen.figures()
    assert figures["archives_not_applied"] == 0
    (line,) = figures["applied"].splitlines()
    assert "by ana \\| \\<b\\> at 2026-11-28 14:35 UTC" in line


@pytest.mark.long
def test_an_approval_that_was_interrupted_before_it_unparked_the_archive_is_loaded(
    deployment: Deployment, guarded: str, seen: Seen
) -> None:
    """A file with the archive's name and other bytes is not requested: no load would apply it."""
    sensor = deployment.receiver_definitions().resolve_sensor_def("new_complete_archives")
    (parked,) = list_parked(deployment.spool)
    with open_archive(parked.path) as reader:
        approved = reader.manifest_sha256

    def tick() -> object:
        return sensor(dg.build_sensor_context(seen.instance))

    def approve(sha256: str) -> None:
        with connect(seen.settings.database_url, application="allow") as connection:
            allow(connection, guarded, sha256, "ana", datetime.now(UTC))

    assert isinstance(tick(), dg.SkipReason)
    approve("f" * 64)
    assert isinstance(tick(), dg.SkipReason)
    approve(approved)
    request = tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags["ar_sync/archives"] == guarded
    deployment.succeed("complete_loaddata")
    assert isinstance(tick(), dg.SkipReason)
    assert list_parked(deployment.spool) == []


@pytest.mark.long
def test_a_damaged_archive_stays_in_the_list_as_replaced_once_another_has_come(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    (path,) = (deployment.spool / "complete").glob("NEW_*")
    path.write_bytes(path.read_bytes()[:-2000])
    assert not deployment.run("complete_loaddata").succeeded
    (lost,) = view_ledger(seen.settings).unapplied
    assert lost.state == "quarantined"
    (bad,) = (deployment.spool / "quarantine").glob("*.tar")
    assert lost.command == f"ar-sync verify {bad}"
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    (replaced,) = view_ledger(seen.settings).unapplied
    assert replaced.state == "quarantined, replaced"


@pytest.mark.long
def test_the_load_that_makes_a_damaged_archive_good_says_so_itself(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    deployment.succeed("partial_dump")
    (path,) = (deployment.spool / "partial").glob("NEW_*")
    path.write_bytes(path.read_bytes()[:-2000])
    assert not deployment.run("partial_loaddata").succeeded
    sound = dg.AssetCheckKey(admitted_key(ALONE), "archives_sound")
    record = seen.instance.get_latest_asset_check_evaluation_record(sound)
    assert record is not None
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
    assert not record.evaluation.passed
    assert "# An archive" in str(record.evaluation.metadata["runbook"].value)
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    record = seen.instance.get_latest_asset_check_evaluation_record(sound)
    assert record is not None
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
    assert record.evaluation.passed
    assert "runbook" not in record.evaluation.metadata
    assert is_shown(seen.instance, sound)


@pytest.mark.long
def test_no_metadata_is_the_path_of_a_pickle_or_a_no_that_reads_like_a_failure(
    deployment: Deployment, seen: Seen
) -> None:
    for job in ("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata"):
        deployment.succeed(job)
    shown = {
        (key.to_user_string(), name): value.value
        for key in seen.instance.all_asset_keys()
        for record in seen.instance.fetch_materializations(key, limit=5).records
        if record.asset_materialization
        for name, value in record.asset_materialization.metadata.items()
    }
    assert len(shown) > 50
    assert {where for where, value in shown.items() if value is False} == set()
    assert {where for where in shown if where[1] == "path"} == set()
    assert ("partial/archive", "lag_seconds") not in shown
    assert ("receiver/applied_archives", "lag_seconds") in shown
    assert not list(deployment.home.rglob("receiver/admitted_archives"))
