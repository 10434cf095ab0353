"""Check results and figures of real dumps and loads in a real instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_sites import execute, rows

ADMITTED = dg.AssetKey(["receiver", "admitted_archives"])
LEDGER = dg.AssetKey(["receiver", "applied_archives"])
CHILD = dg.AssetKey(["receiver", "tables", "app_child"])
COUNT = "SELECT count(*) FROM app_child"


class Seen:
    """What the instance of a deployment has recorded."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance

    def check(self, asset: dg.AssetKey, name: str) -> dg.AssetCheckEvaluation:
        key = dg.AssetCheckKey(asset, name)
        record = self.instance.get_latest_asset_check_evaluation_record(key)
        assert record is not None, name
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation), record.status
        return record.evaluation

    def checks(self, asset: dg.AssetKey, name: str) -> list[dg.AssetCheckEvaluation]:
        """Return all evaluations that the logs of runs hold, the oldest first."""
        key, kind = dg.AssetCheckKey(asset, name), dg.DagsterEventType.ASSET_CHECK_EVALUATION
        logs = [self.instance.all_logs(r.run_id, of_type=kind) for r in self.instance.get_runs()]
        found = [
            entry.get_dagster_event().asset_check_evaluation_data
            for log in reversed(logs)
            for entry in log
        ]
        return [one for one in found if one.asset_check_key == key]

    def metadata(self, *path: str) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(path))
        assert event is not None, path
        assert event.asset_materialization is not None
        return {name: v.value for name, v in event.asset_materialization.metadata.items()}


@pytest.fixture
def seen(deployment: Deployment) -> Iterator[Seen]:
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        yield Seen(deployment, instance)


def damage(deployment: Deployment, kind: str) -> None:
    (path,) = (deployment.spool / kind).glob("NEW_*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def without_column(deployment: Deployment) -> Iterator[None]:
    execute(deployment.receiver_url, "ALTER TABLE app_child DROP amount")
    yield
    execute(deployment.receiver_url, "ALTER TABLE app_child ADD amount double precision")


@pytest.mark.long
def test_a_bad_archive_is_a_warning_that_keeps_no_good_one_from_being_loaded(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    damage(deployment, "complete")
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    assert rows(deployment.receiver_url, COUNT) == [(300,)]
    admission, sound = seen.checks(ADMITTED, "archives_sound")
    assert (admission.passed, admission.severity, admission.blocking) == (
        False, dg.AssetCheckSeverity.WARN, True,
    )  # fmt: skip
    assert "sha256" in str(admission.description)
    assert sound.passed, "the other archive of this load brought what it held"


@pytest.mark.long
def test_nothing_but_bad_archives_is_an_error_behind_which_nothing_runs(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    damage(deployment, "complete")
    assert not deployment.run("complete_loaddata").succeeded
    assert seen.check(ADMITTED, "archives_sound").severity is dg.AssetCheckSeverity.ERROR
    assert seen.instance.get_latest_materialization_event(LEDGER) is None

    deployment.succeed("partial_loaddata")
    still = seen.check(ADMITTED, "archives_sound")
    assert (still.passed, still.severity) == (False, dg.AssetCheckSeverity.WARN)


@pytest.mark.long
def test_a_parked_complete_fails_the_check_until_it_fits_whatever_is_loaded_meanwhile(
    deployment: Deployment, seen: Seen
) -> None:
    with without_column(deployment):
        deployment.succeed("complete_dump")
        assert not deployment.run("complete_loaddata").succeeded
        deployment.succeed("partial_loaddata")
        fits = seen.check(ADMITTED, "archives_fit_schema")
        assert not fits.passed
        assert "app_child.amount" in str(fits.description)
        assert "migrate the receiver" in str(fits.description)
    deployment.succeed("complete_loaddata")
    assert seen.check(ADMITTED, "archives_fit_schema").passed


@pytest.mark.long
def test_what_the_delete_guard_keeps_fails_the_check_until_a_later_load_has_it(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    execute(deployment.sender_url, "DELETE FROM app_child")
    deployment.succeed("complete_dump")
    assert not deployment.run("complete_loaddata").succeeded
    deployment.succeed("partial_loaddata")
    loaded = seen.check(LEDGER, "archives_loaded")
    assert (loaded.passed, loaded.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "ar-sync allow" in str(loaded.description)
    assert loaded.metadata["archives_not_applied"].value == 1


@pytest.mark.long
def test_rows_that_a_trigger_alters_fail_the_digests_and_nothing_is_changed(
    deployment: Deployment, seen: Seen
) -> None:
    execute(
        deployment.receiver_url,
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.amount := NEW.amount + 1; RETURN NEW; END $$",
        "CREATE TRIGGER meddle BEFORE INSERT ON app_child FOR EACH ROW EXECUTE FUNCTION meddle()",
        "ALTER TABLE app_child ENABLE ALWAYS TRIGGER meddle",
    )
    deployment.succeed("complete_dump")
    outcome = deployment.run("complete_loaddata")
    assert not outcome.succeeded
    equal = seen.check(LEDGER, "digests_equal")
    assert (equal.passed, equal.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "look for a trigger (meddle) or rule on app_child" in str(equal.description)
    assert rows(deployment.receiver_url, COUNT) == [(0,)]

    execute(deployment.receiver_url, "DROP TRIGGER meddle ON app_child")
    deployment.succeed("complete_loaddata")
    equal = seen.check(LEDGER, "digests_equal")
    assert equal.passed
    assert equal.metadata["chunks_compared"].value == 2


@pytest.mark.long
def test_a_dump_and_a_load_leave_figures_as_numbers_and_columns_with_whose_they_are(
    deployment: Deployment, seen: Seen
) -> None:
    deployment.succeed("complete_dump")
    deployment.succeed("complete_loaddata")
    shown = seen.metadata("receiver", "tables", "app_parent")
    assert shown["dagster/row_count"] == 20
    deployment.succeed("partial_dump")
    nothing = seen.metadata("partial", "tables", "app_child")
    assert nothing["dagster/partition_row_count"] == 0
    assert len(nothing["dagster/column_schema"].columns) == 5
    execute(
        deployment.sender_url,
        "UPDATE app_child SET changed = now() - interval '7 minutes', amount = 9 WHERE id < 4",
    )
    deployment.succeed("partial_dump")
    sent = seen.metadata("partial", "archive")
    assert sent["dagster/partition_row_count"] > 3
    assert 0 < sent["snapshot_age_seconds"] < 600
    assert sent["compression_ratio"] > 0
    assert "| child | 3 |" in sent["rows_by_table"].replace("app_", "")
    phases = {"snapshot", "selection", "tables", "media", "assemble", "upload"}
    assert {name for name in sent if name.startswith("seconds_")} == {
        f"seconds_{phase}" for phase in phases
    }
    total = sum(sent[f"seconds_{phase}"] for phase in phases)
    assert sent["seconds"] == pytest.approx(total, abs=0.01)
    quiet = seen.metadata("complete", "tables", "app_parent")
    assert (quiet["dagster/row_count"], quiet["size_bytes"] > 0) == (20, True)

    deployment.succeed("partial_loaddata")
    load = seen.metadata("receiver", "applied_archives")
    assert 0 < load["lag_seconds"] < 600
    assert (load["rows_added"], load["rows_changed"], load["rows_deleted"]) == (0, 3, 0)
    assert load["size_bytes"] > sent["size_bytes"], "of both partials"
    for phase in ("stage", "merge", "verify", "commit"):
        assert load[f"seconds_{phase}"] > 0
    assert load["rows_by_table"].splitlines()[2] == "| app_child | 0 | 3 | 0 |"
    columns = {c.name: c.description for c in shown["dagster/column_schema"].columns}
    assert columns["code"] is None
    assert columns["transformed"] == "Only the receiver has it."
