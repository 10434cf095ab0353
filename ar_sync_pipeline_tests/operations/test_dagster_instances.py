"""The two instance files: SQLite by default, PostgreSQL as the alternative."""

from __future__ import annotations

import shutil
from pathlib import Path

import dagster as dg
import pytest
from dagster_postgres import PostgresEventLogStorage

from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import rows

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_sqlite_instance_records_a_run(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(deployment.home))
    shutil.copy(ROOT / "dagster.yaml", deployment.home / "dagster.yaml")
    outcome = deployment.succeed("complete_dump")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        run = instance.get_run_by_id(outcome.run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.SUCCESS
        assert instance.run_monitoring_enabled


@pytest.mark.long
def test_postgres_instance_records_a_run(
    deployment: Deployment,
    database_factory: DatabaseFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = database_factory()
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    shutil.copy(ROOT / "dagster.postgres.yaml", deployment.home / "dagster.yaml")
    outcome = deployment.succeed("complete_dump")
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert rows(url, "SELECT run_id, status FROM runs") == [(outcome.run_id, "SUCCESS")]


def test_both_files_differ_in_their_storage_only() -> None:
    sqlite, of_sqlite = (ROOT / "dagster.yaml").read_text().split("# Storage: ")
    postgres, of_postgres = (ROOT / "dagster.postgres.yaml").read_text().split("# Storage: ")
    assert sqlite.splitlines()[1:] == postgres.splitlines()[1:]
    assert "\nevent_log_storage:\n" in of_sqlite
    assert "\nstorage:\n  custom:\n" in of_postgres
