"""PgBouncer, with the settings of the example, between Dagster's storage and its processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import dagster as dg
import psycopg
import pytest
from dagster_postgres import PostgresRunStorage

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from benchmarks.pooler import pooler

ROOT = Path(__file__).parents[2]
CLIENTS = 60


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "storage", password="of the storage") as server:
        server.create_database("dagster")
        yield server


@pytest.fixture
def url(storage: EmbeddedPostgres) -> Iterator[str]:
    if not (shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")):
        skip_unless_in_ci("no pgbouncer is installed")
    with pooler(storage, "dagster") as through:
        yield through


@pytest.fixture
def instance(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """Open an instance with the project's own file; it makes the tables."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(ROOT / "dagster.postgres.yaml", home / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(home)) as made:
        yield made


@pytest.mark.long
def test_many_clients_share_the_connections_of_the_example(
    url: str, storage: EmbeddedPostgres, instance: dg.DagsterInstance
) -> None:
    assert instance.get_runs_count() == 0
    all_connected = Barrier(CLIENTS)

    def client() -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            all_connected.wait()
            row = connection.execute("SELECT count(*) FROM runs, pg_sleep(0.1)").fetchone()
            assert row is not None
            return int(row[0])

    with ThreadPoolExecutor(CLIENTS) as clients:
        found = [clients.submit(client) for _ in range(CLIENTS)]
        assert [one.result() for one in found] == [0] * CLIENTS
    with psycopg.connect(storage.url()) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'dagster'"
        ).fetchone()
    assert row is not None
    assert 1 <= row[0] <= 20


@pytest.mark.long
def test_time_limit_of_the_web_server_is_not_that_of_the_daemon(
    url: str, instance: dg.DagsterInstance
) -> None:
    web_server = PostgresRunStorage(url)
    web_server.optimize_for_webserver(statement_timeout=4321, pool_recycle=60, max_overflow=1)
    for _ in range(3):
        assert web_server.get_runs_count() == 0
        assert instance.get_runs_count() == 0
    for _ in range(20):
        with psycopg.connect(url, autocommit=True) as daemon:
            assert daemon.execute("SHOW statement_timeout").fetchone() == ("0",)
