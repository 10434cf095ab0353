"""Archives of windows without a change are loaded in a tick, with all that a run verifies."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.operations.asset_keys import (
    admitted_key,
    applied_archives_key,
    archive_key,
    postprocessed_key,
)
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.empty_windows import load_empty_windows
from ar_sync_pipeline.receiver.postprocess_builtin import BuiltinPostprocessor
from ar_sync_pipeline_tests.fix_dagster import Deployment, is_shown
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.receiver.sites import PostprocessedSites

LEDGER, ADMITTED = applied_archives_key(ALONE), admitted_key(ALONE)
# Half a minute before Dagster does.
ENDS_A_TICK = 30
APPLIED = "SELECT name FROM ar_sync.applied_archive WHERE NOT superseded ORDER BY snapshot_at"


@dataclass
class Receiver:
    """A receiver with a complete, and a sender that sends one partial more."""

    deployment: Deployment
    instance: dg.DagsterInstance

    def tick(self) -> dg.SensorResult | dg.RunRequest | dg.SkipReason:
        """Evaluate the sensor of partials, and record its events as the daemon does."""
        sensor = self.deployment.receiver_definitions().resolve_sensor_def("new_partial_archives")
        with dg.build_sensor_context(self.instance) as context:
            answer = sensor(context)
        assert isinstance(answer, dg.SensorResult | dg.RunRequest | dg.SkipReason)
        if isinstance(answer, dg.SensorResult):
            for event in answer.asset_events:
                self.instance.report_runless_asset_event(event)
        return answer

    def partial(self) -> Path:
        """Send a partial; return its file."""
        self.deployment.succeed("partial_dump")
        (path,) = (self.deployment.spool / "partial").glob("NEW_*")
        return path

    def applied(self) -> list[str]:
        return [str(name) for (name,) in rows(self.deployment.receiver_url, APPLIED)]

    def evaluations(self) -> dict[str, dg.AssetCheckEvaluation]:
        """Return the newest evaluation of each check of a load; each is shown in the UI."""
        graph = self.deployment.receiver_definitions().resolve_asset_graph()
        keys = [k for k in graph.asset_check_keys if k.asset_key in (LEDGER, ADMITTED)]
        found = {}
        for key in keys:
            record = self.instance.get_latest_asset_check_evaluation_record(key)
            if key.name != "preflight":
                assert record is not None, key
                assert is_shown(self.instance, key), key
                assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
                found[key.name] = record.evaluation
        return found


@pytest.fixture
def receiver(deployment: Deployment) -> Iterator[Receiver]:
    deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "none"
    # Before the time that partials look back, whatever window they are for.
    execute(deployment.sender_url, "UPDATE app_child SET changed = now() - interval '2 hours'")
    long_ago = time.time() - 7200
    os.utime(deployment.folder / "sender_media" / "bus.jpeg", (long_ago, long_ago))
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Receiver(deployment, instance)


@pytest.fixture
def quiet(receiver: Receiver) -> Receiver:
    """No row has changed since the receiver's newest archive."""
    receiver.partial()
    receiver.deployment.succeed("partial_loaddata")
    return receiver


@pytest.mark.long
def test_an_empty_archive_is_applied_without_a_run_and_the_data_is_newer(quiet: Receiver) -> None:
    path, runs = quiet.partial(), quiet.instance.get_runs_count()
    assert isinstance(quiet.tick(), dg.SensorResult)
    assert quiet.instance.get_runs_count() == runs
    assert quiet.applied()[-1] == path.name.removeprefix("NEW_")
    assert not path.exists()
    assert path.with_name(path.name.removeprefix("NEW_")).exists()
    event = quiet.instance.get_latest_materialization_event(LEDGER)
    assert event is not None
    assert event.asset_materialization is not None
    shown = {name: one.value for name, one in event.asset_materialization.metadata.items()}
    assert (shown["archives_applied"], shown["rows_added"], shown["gaps"]) == (1, 0, 0)
    assert path.name.removeprefix("NEW_") in str(shown["applied"])


@pytest.mark.long
def test_every_check_is_shown_and_passes_after_each_empty_archive(quiet: Receiver) -> None:
    for _ in range(2):
        quiet.partial()
        assert isinstance(quiet.tick(), dg.SensorResult)
        found = quiet.evaluations()
        assert {name for name, one in found.items() if not one.passed} == set()
        assert {"up_to_date", "no_holes", "archives_sound", "free_space"} <= found.keys()


@pytest.mark.long
def test_drift_that_a_complete_repaired_stays_shown(quiet: Receiver) -> None:
    deployment = quiet.deployment
    deployment.sender_changes["AR_SYNC_COMPLETE_CARRIES"] = "everything"
    execute(deployment.receiver_url, "UPDATE app_child SET amount = -1 WHERE id < 9")
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    for _ in range(2):
        quiet.partial()
        assert isinstance(quiet.tick(), dg.SensorResult)
        found = quiet.evaluations()["no_drift"]
        assert not found.passed
        assert " UTC has repaired 8 rows of app_child that differed" in str(found.description)


@pytest.mark.long
def test_the_window_names_the_ledger_in_which_its_archive_was_applied(quiet: Receiver) -> None:
    quiet.partial()
    quiet.tick()
    key = archive_key(ArchiveKind.PARTIAL, ALONE)
    (newest, *_) = quiet.instance.fetch_observations(key, limit=5).records
    assert newest.asset_observation is not None
    assert newest.asset_observation.metadata["applied_by"].value == LEDGER
    assert newest.partition_key is not None


@pytest.mark.long
def test_the_events_do_not_grow_with_findings_that_stay(quiet: Receiver) -> None:
    counts = []
    for _ in range(3):
        quiet.partial()
        answer = quiet.tick()
        assert isinstance(answer, dg.SensorResult)
        evaluated = [e for e in answer.asset_events if isinstance(e, dg.AssetCheckEvaluation)]
        counts.append(len(evaluated))
    assert counts[0] > 5
    assert counts[2] <= 3


@pytest.mark.long
def test_nothing_is_unsynced_after_an_empty_archive(quiet: Receiver) -> None:
    quiet.partial()
    quiet.tick()
    graph = quiet.deployment.receiver_definitions().resolve_asset_graph()
    context = LoadingContextForTest(quiet.instance)
    resolver = CachingStaleStatusResolver(quiet.instance, graph, context)
    statuses = {key: resolver.get_status(key) for key in graph.materializable_asset_keys}
    assert {key for key, status in statuses.items() if status is StaleStatus.STALE} == set()


@pytest.mark.long
def test_an_archive_with_a_row_or_a_file_is_loaded_by_a_run(receiver: Receiver) -> None:
    execute(receiver.deployment.sender_url, "UPDATE app_child SET amount = 7, changed = now()")
    receiver.partial()
    assert isinstance(receiver.tick(), dg.RunRequest)
    receiver.deployment.succeed("partial_loaddata")
    picture = receiver.deployment.folder / "sender_media" / "bus.jpeg"
    picture.write_bytes(b"another picture")
    receiver.partial()
    assert isinstance(receiver.tick(), dg.RunRequest)


@pytest.mark.long
@pytest.mark.parametrize("harm", ["cut", "one byte", "another sender"])
def test_a_damaged_empty_archive_is_for_a_run_and_nothing_is_recorded(
    quiet: Receiver, harm: str
) -> None:
    if harm == "another sender":
        quiet.deployment.sender_changes["AR_SYNC_SENDER_NAME"] = "somebody"
    path, before = quiet.partial(), quiet.applied()
    data = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(data[:-2000])
    elif harm == "one byte":
        data[data.index(b'"window"') + 1] ^= 1
        path.write_bytes(data)
    assert isinstance(quiet.tick(), dg.RunRequest)
    assert quiet.applied() == before


@pytest.mark.long
def test_an_unsigned_empty_archive_is_not_applied(quiet: Receiver) -> None:
    quiet.deployment.receiver_changes["AR_SYNC_SIGNING_KEY"] = secrets.token_hex(32)
    quiet.partial()
    before = quiet.applied()
    assert isinstance(quiet.tick(), dg.RunRequest)
    assert quiet.applied() == before


@pytest.mark.long
def test_after_a_failed_load_a_run_is_needed_to_end_its_incident(quiet: Receiver) -> None:
    path = quiet.partial()
    path.write_bytes(path.read_bytes()[:-2000])
    assert not quiet.deployment.run("partial_loaddata").succeeded
    quiet.partial()
    assert isinstance(quiet.tick(), dg.RunRequest)
    quiet.deployment.succeed("partial_loaddata")
    quiet.partial()
    assert isinstance(quiet.tick(), dg.SensorResult)


@pytest.mark.long
def test_a_command_as_transform_runs_after_every_load(quiet: Receiver) -> None:
    quiet.deployment.receiver_changes["AR_SYNC_TRANSFORM"] = "command:true"
    quiet.partial()
    assert isinstance(quiet.tick(), dg.RunRequest)


@pytest.mark.long
def test_an_older_archive_that_comes_late_is_for_a_run(quiet: Receiver) -> None:
    late = quiet.partial()
    aside = quiet.deployment.folder / late.name
    late.rename(aside)
    quiet.partial()
    assert isinstance(quiet.tick(), dg.SensorResult)
    aside.rename(late)
    assert isinstance(quiet.tick(), dg.RunRequest)


@pytest.mark.long
def test_a_table_that_a_person_locks_is_for_a_run_which_has_time_to_name_the_person(
    quiet: Receiver,
) -> None:
    """Dagster ends a tick after a minute, and shows no more than that."""
    quiet.partial()
    for table in ("app_child", "ar_sync.applied_archive"):
        with psycopg.connect(quiet.deployment.receiver_url) as other:
            other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            begun = time.monotonic()
            assert isinstance(quiet.tick(), dg.RunRequest)
            assert time.monotonic() - begun < ENDS_A_TICK
    assert isinstance(quiet.tick(), dg.SensorResult)


def test_a_locked_table_of_the_transform_keeps_no_tick_waiting(sites: PostprocessedSites) -> None:
    site = sites.site()
    with (
        psycopg.connect(sites.two.receiver) as other,
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(instance) as context,
    ):
        other.execute('LOCK TABLE "AndroidRequests_eventforbusstop"')
        begun = time.monotonic()
        assert load_empty_windows(context, site, BuiltinPostprocessor(site, 60)) is None
        assert time.monotonic() - begun < ENDS_A_TICK


@pytest.mark.long
def test_the_transform_has_no_asset_to_materialize_without_one(quiet: Receiver) -> None:
    quiet.partial()
    answer = quiet.tick()
    assert isinstance(answer, dg.SensorResult)
    assert {e.asset_key for e in answer.asset_events} == {
        LEDGER, ADMITTED, archive_key(ArchiveKind.PARTIAL, ALONE),
    }  # fmt: skip
    assert postprocessed_key(ALONE) not in {e.asset_key for e in answer.asset_events}
