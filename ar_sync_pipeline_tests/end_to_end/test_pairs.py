"""Several pairs of servers on one Dagster instance: nothing of one is used for another."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.alerts.store import NumberedIncident
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.operations import boundary
from ar_sync_pipeline.operations.asset_keys import archive_key
from ar_sync_pipeline.operations.preflight_check import CHECK
from ar_sync_pipeline.settings.model import SettingsError, load_sender_settings
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_quarantined
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline.sync.dump.scratch_owner import OWNER_FILE
from ar_sync_pipeline.sync.errors import ScratchOfAnotherError
from ar_sync_pipeline.sync.watch.alerting import open_alerts
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute, rows

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
_CLOSED = "postgresql://nobody@127.0.0.1:1/nowhere"
WHOLE_WAY = ("complete_dump", "complete_loaddata", "partial_dump", "partial_loaddata")


def now() -> datetime:
    return datetime.now(UTC)


def keys_of(definitions: dg.Definitions) -> set[str]:
    graph = definitions.get_repository_def().asset_graph
    return {key.to_user_string() for key in graph.get_all_asset_keys()}


def names_of(definitions: dg.Definitions) -> set[str]:
    """Return all other names by which an instance, or a job over all assets, finds something."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    found = {str(graph.get(key).group_name) for key in graph.get_all_asset_keys()}
    for job in repository.get_all_jobs():
        found |= {node.name for node in job.nodes}
        found |= {pool for node in job.nodes for pool in node.definition.pools}
        found |= {job.name} - {"__ASSET_JOB"}
    found |= {schedule.name for schedule in repository.schedule_defs}
    return found | {sensor.name for sensor in repository.sensor_defs}


@pytest.mark.parametrize("side", ["sender", "receiver"])
def test_every_name_of_a_pair_is_the_plain_one_behind_a_prefix(
    deployment: Deployment, side: str
) -> None:
    make = getattr(deployment, f"{side}_definitions")
    keys, names = keys_of(make()), names_of(make())
    deployment.pair = "lima"
    assert keys_of(make()) == {f"lima/{key}" for key in keys}
    # Dagster derives some names from keys itself.
    assert {name.replace("__", "_") for name in names_of(make())} == {
        f"lima_{n.replace('__', '_')}" for n in names
    }


@pytest.mark.long
def test_nothing_is_recorded_under_a_name_without_the_pair(three_pairs: list[Deployment]) -> None:
    for pair in three_pairs[:2]:
        for job in WHOLE_WAY:
            pair.succeed(job)
            execute(pair.sender_url, "UPDATE app_child SET amount = 7, changed = now()")
        assert len(rows(pair.receiver_url, CHILDREN)) == 300
    with dg.DagsterInstance.from_config(str(three_pairs[0].home)) as instance:
        folders = {key.path[0] for key in instance.all_asset_keys()}
        sides = {run.tags["ar_sync/side"] for run in instance.get_runs()}
    assert folders == {"santiago", "lima"}
    assert sides == {f"{pair}_{side}" for pair in folders for side in ("sender", "receiver")}


@pytest.mark.long
def test_work_and_windows_of_one_pair_are_not_those_of_another(
    three_pairs: list[Deployment],
) -> None:
    santiago, lima, _ = three_pairs
    santiago.succeed("partial_dump")
    with dg.DagsterInstance.from_config(str(lima.home)) as instance:
        create_run_for_test(
            instance, job_name="santiago_partial_dump", status=dg.DagsterRunStatus.STARTED
        )
        create_run_for_test(
            instance,
            job_name="__ASSET_JOB",
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset({archive_key(ArchiveKind.PARTIAL, santiago.names)}),
        )
        asked = {}
        for pair in (santiago, lima):
            name = pair.names.name("partial_dump_schedule")
            schedule = pair.sender_definitions().resolve_schedule_def(name)
            with dg.build_schedule_context(instance, now()) as context:
                (asked[pair.pair],) = [schedule(context)]
    assert isinstance(asked["santiago"], dg.SkipReason)
    assert isinstance(asked["lima"], dg.RunRequest)


@pytest.mark.long
def test_outage_of_one_pair_is_an_incident_of_its_own_side_only(
    three_pairs: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    santiago, lima, _ = three_pairs
    santiago.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = _CLOSED
    assert not santiago.run("partial_dump").succeeded
    lima.succeed("partial_dump")
    for pair in (santiago, lima):
        tick(pair, "sender_alerts")
    assert [one.incident.latest.title for one in incidents(santiago)] == ["the sender's database"]
    assert incidents(lima) == []
    # Another pair's success closes no incident.
    lima.succeed("partial_dump")
    tick(santiago, "sender_alerts")
    assert len(incidents(santiago)) == 1


@pytest.mark.long
def test_failure_in_a_run_by_hand_over_two_pairs_is_an_incident_of_one_of_them(
    three_pairs: list[Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "RETRY_DELAY_SECONDS", 0)
    santiago, lima, _ = three_pairs
    lima.sender_changes["AR_SYNC_SENDER_DATABASE_URL"] = _CLOSED
    run_completes_by_hand(santiago, lima)
    for pair in (santiago, lima):
        tick(pair, "sender_alerts")
    assert [one.incident.latest.title for one in incidents(lima)] == ["the sender's database"]
    assert incidents(santiago) == []


def run_completes_by_hand(*pairs: Deployment) -> None:
    """Dump a complete of each pair in one run without a job, as the UI does in one location."""
    together = dg.Definitions.merge(*(pair.sender_definitions() for pair in pairs))
    keys = together.resolve_asset_graph().materializable_asset_keys
    with dg.DagsterInstance.from_config(str(pairs[0].home)) as instance:
        together.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[key for key in keys if key.path[1] == "complete"],
            raise_on_error=False,
        )


@pytest.mark.long
def test_archive_of_another_pair_is_quarantined_and_the_preflight_says_so(
    deployment: Deployment,
) -> None:
    deployment.pair = "lima"
    deployment.succeed("complete_dump")
    deployment.pair = "bogota"
    assert "lima in the archive that waits" in problems(deployment, "receiver")
    outcome = deployment.run("complete_loaddata")
    assert "is of the pair lima, and this receiver is of the pair bogota" in outcome.failures[0]
    (archive,) = list_quarantined(deployment.spool)
    reason = read_reason(archive.path)
    assert reason is not None
    assert reason.error == "other-pair"
    deployment.pair = "lima"
    assert "AR_SYNC_PAIR is lima here and bogota at the receiver" in problems(deployment, "sender")


@pytest.mark.long
def test_pair_that_gets_its_name_later_keeps_what_was_applied(deployment: Deployment) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    deployment.pair = "lima"
    execute(deployment.sender_url, "UPDATE app_child SET amount = 9, changed = now() WHERE id = 3")
    deployment.succeed("partial_dump")
    deployment.succeed("partial_loaddata")
    assert rows(deployment.receiver_url, CHILDREN) == rows(deployment.sender_url, CHILDREN)


@pytest.mark.parametrize(
    "name", ["two words", "a-b", "1st", "a__b", "_a", "a/b", "ñ", "sender", "a" * 41]
)
def test_name_that_dagster_cannot_have_before_others_is_refused(
    deployment: Deployment, name: str
) -> None:
    deployment.pair = name
    with pytest.raises(SettingsError, match="AR_SYNC_PAIR"):
        load_sender_settings(deployment.sender_environment())


def test_two_code_locations_with_the_same_keys_fail_a_check_that_names_both(
    deployment: Deployment,
) -> None:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        processes = {
            name: deployment.receiver_definitions().resolve_sensor_def("receiver_preflight")
            for name in ("city_a", "city_b")
        }
        for _ in range(2):
            found = {name: look(instance, name, one) for name, one in processes.items()}
        restarted = deployment.receiver_definitions().resolve_sensor_def("receiver_preflight")
        alone = look(instance, "renamed", restarted)
    for evaluation in found.values():
        assert not evaluation.passed
        for word in ("city_a", "city_b", "AR_SYNC_PAIR"):
            assert word in str(evaluation.description) + str(evaluation.metadata["findings"].value)
    assert alone.passed


def look(
    instance: dg.DagsterInstance, location: str, sensor: dg.SensorDefinition
) -> dg.AssetCheckEvaluation:
    """Tick the preflight sensor of a code location, in a new process."""
    context = dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        instance=instance,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        repository_name="__repository__",
        code_location_origin=RegisteredCodeLocationOrigin(location),
    )
    answer = sensor(context)
    assert isinstance(answer, dg.SensorResult)
    evaluations = [e for e in answer.asset_events if isinstance(e, dg.AssetCheckEvaluation)]
    (event,) = (one for one in evaluations if one.check_name == CHECK)
    return event


@pytest.mark.long
def test_scratch_folder_of_another_receiver_is_refused(three_pairs: list[Deployment]) -> None:
    santiago, lima, _ = three_pairs
    santiago.succeed("complete_dump")
    shared = {"AR_SYNC_TMP_BKP_FLDR": santiago.sender_environment()["AR_SYNC_TMP_BKP_FLDR"]}
    lima.sender_changes |= shared
    outcome = lima.run("partial_dump")
    assert "holds the journal of the receiver sftp://" in outcome.failures[0]
    assert OWNER_FILE in outcome.failures[0]
    assert list_of_archives(lima) == []
    settings = load_sender_settings(lima.sender_environment())
    with pytest.raises(ScratchOfAnotherError):
        observe_receiver(settings, utc_now)
    santiago.succeed("partial_dump")


def list_of_archives(pair: Deployment) -> list[str]:
    return [path.name for path in pair.spool.glob("*/NEW_*")]


def problems(pair: Deployment, side: str) -> str:
    definitions = getattr(pair, f"{side}_definitions")()
    sensor = definitions.resolve_sensor_def(pair.names.name(f"{side}_preflight"))
    with dg.DagsterInstance.from_config(str(pair.home)) as instance:
        return str(look(instance, side, sensor).metadata["findings"].value)


def incidents(pair: Deployment) -> list[NumberedIncident]:
    settings = load_sender_settings(pair.sender_environment())
    return list(open_alerts(settings, now).store.open_incidents())


def tick(pair: Deployment, sensor: str) -> None:
    found = pair.sender_definitions().resolve_sensor_def(pair.names.name(sensor))
    with dg.DagsterInstance.from_config(str(pair.home)) as instance:
        found(dg.build_sensor_context(instance))
