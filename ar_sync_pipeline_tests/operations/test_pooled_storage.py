"""Storage in PostgreSQL over kept connections: few of them, and none that is broken or shared."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import psycopg
import pytest
from dagster._config import process_config
from dagster._core.test_utils import create_run_for_test
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import Engine, event

from ar_sync_pipeline.operations.pooled_storage import PooledPostgresStorage
from ar_sync_pipeline_tests.fix_dagster import Deployment
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.operations.test_cheap_ticks import context, statements

ROOT = Path(__file__).parents[2]
_END_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def url(
    database_factory: DatabaseFactory, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Make an empty storage, and a DAGSTER_HOME with the project's own file."""
    made = database_factory()
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", made)
    shutil.copy(ROOT / "dagster.postgres.yaml", deployment.home / "dagster.yaml")
    return made


@pytest.fixture
def home(url: str, deployment: Deployment) -> str:
    """Return the folder of an instance whose tables exist, as this process knows."""
    with dg.DagsterInstance.from_config(str(deployment.home)) as instance:
        assert isinstance(
            instance.event_log_storage, type(DagsterPostgresStorage(url).event_log_storage)
        )
        assert instance.get_runs_count() == 0
        assert instance.all_instigator_state() == []
    return str(deployment.home)


@contextmanager
def connections() -> Iterator[list[object]]:
    """Return all connections that SQLAlchemy opens."""
    found: list[object] = []

    def note(connection: object, _record: object) -> None:
        found.append(connection)

    event.listen(Engine, "connect", note)
    try:
        yield found
    finally:
        event.remove(Engine, "connect", note)


def test_instances_of_a_process_use_the_same_connection(home: str) -> None:
    with connections() as opened:
        for _ in range(3):
            with dg.DagsterInstance.from_config(home) as instance:
                run = create_run_for_test(instance)
                instance.report_runless_asset_event(dg.AssetMaterialization("a"))
                assert instance.get_run_by_id(run.run_id)
                assert instance.all_instigator_state() == []
    assert len(opened) <= 1


def test_tick_asks_neither_for_tables_nor_for_indexes(home: str, deployment: Deployment) -> None:
    sensor = deployment.receiver_definitions().resolve_sensor_def("receiver_alerts")
    with dg.DagsterInstance.from_config(home) as instance:
        sensor(context(instance, "receiver"))
    with dg.DagsterInstance.from_config(home) as instance, statements() as asked:
        sensor(context(instance, "receiver"))
        instance.purge_ticks("origin", "selector", before=0.0)
        instance.get_ticks("origin", "selector")
    assert asked
    assert [one for one in asked if "secondary_indexes" in one or "relkind" in one] == []


@pytest.mark.long
def test_restart_of_the_server_is_no_error(home: str, url: str) -> None:
    with dg.DagsterInstance.from_config(home) as instance:
        assert instance.get_runs_count() == 0
        time.sleep(1.1)
        with psycopg.connect(url) as connection:
            assert connection.execute(_END_ALL).fetchone() != (0,)
        assert instance.get_runs_count() == 0


def test_forked_process_leaves_the_connections_of_its_parent_alone(home: str) -> None:
    with dg.DagsterInstance.from_config(home) as instance:
        assert instance.get_runs_count() == 0
        with connections() as opened:
            child = os.fork()
            if child == 0:
                os._exit(0 if instance.get_runs_count() == 0 and len(opened) == 1 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert instance.get_runs_count() == 0
            assert opened == []


@pytest.mark.long
def test_each_storage_of_a_process_has_its_tables(
    home: str, database_factory: DatabaseFactory
) -> None:
    del home
    storages = [PooledPostgresStorage(database_factory()) for _ in range(2)]
    for storage in storages:
        assert storage.run_storage.get_runs_count() == 0
        assert storage.schedule_storage.all_instigator_state() == []


def test_settings_are_those_of_dagster_postgres(home: str, url: str) -> None:
    parts = urlsplit(url)
    account = {
        "username": parts.username,
        "hostname": parts.hostname,
        "port": parts.port,
        "db_name": parts.path.removeprefix("/"),
    }
    config = process_config(
        PooledPostgresStorage.config_type(), {"postgres_db": {**account, "password": "any"}}
    )
    assert config.success, config.errors
    storage = PooledPostgresStorage.from_config_value(None, config.value)
    with dg.DagsterInstance.from_config(home) as instance:
        run = create_run_for_test(instance)
    assert storage.run_storage.has_run(run.run_id)
