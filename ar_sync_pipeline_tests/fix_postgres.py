"""One real PostgreSQL server for the test session; a fresh database is a copy of a template."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.postgres_binaries import wheel_postgres_binaries
from ar_sync_pipeline.demo.schema import create_receiver_schema, create_sender_schema
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.open_sessions import close_sessions

SAMPLE_VARIABLE = "AR_SYNC_SAMPLE"
_REPOSITORY = Path(__file__).resolve().parents[1]
_SERVER_FOLDER = re.compile(r"ar-sync-tests-([0-9]+)")
_NUMBERS = count(1)
_MEMORY = Path("/dev/shm")  # noqa: S108  a folder in memory is what is meant
_ENOUGH_BYTES = 4 << 30
_NEWEST_MAJOR = 18


class DatabaseFactory(Protocol):
    """Creates databases that are dropped when the test ends."""

    def __call__(self, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` if given, and return its URL."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The server of the session. Databases belong to tests: use ``database_factory``."""
    parent = _fast_folder()
    _remove_servers_of_killed_sessions(parent)
    settings = {"max_prepared_transactions": "5"}
    server = EmbeddedPostgres(parent / f"ar-sync-tests-{os.getpid()}", settings=settings)
    try:
        with server:
            yield server
    finally:
        server.destroy()


@pytest.fixture(scope="session")
def postgres_18(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of PostgreSQL 18, from the wheel, beside the session's."""
    binaries = wheel_postgres_binaries()
    if binaries is None or binaries.major < _NEWEST_MAJOR:
        skip_unless_in_ci(f"the Python wheel with PostgreSQL {_NEWEST_MAJOR} is not installed")
    server = EmbeddedPostgres(tmp_path_factory.mktemp("newest") / "cluster", binaries=binaries)
    try:
        with server:
            yield server
    finally:
        server.destroy()


@pytest.fixture
def database_factory(postgres_server: EmbeddedPostgres) -> Iterator[DatabaseFactory]:
    made: dict[str, str] = {}

    def create(template: str | None = None) -> str:
        name = f"test_{next(_NUMBERS)}"
        url = postgres_server.create_database(name, template)
        made[name] = url
        return url

    yield create
    for name, url in made.items():
        close_sessions(url)
        postgres_server.drop_database(name)


@pytest.fixture
def empty_database(database_factory: DatabaseFactory) -> str:
    """URL of a database without any table."""
    return database_factory()


@pytest.fixture(scope="session")
def sender_template(postgres_server: EmbeddedPostgres) -> str:
    """Name of the template with the sender's empty tables."""
    return _template(postgres_server, "template_sender", _with_connection(create_sender_schema))


@pytest.fixture(scope="session")
def receiver_template(postgres_server: EmbeddedPostgres) -> str:
    """Name of the template with the receiver's empty tables."""
    return _template(postgres_server, "template_receiver", _with_connection(create_receiver_schema))


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """The folder of sample data, which is not in the repository; skip the test if it is missing."""
    chosen = os.environ.get(SAMPLE_VARIABLE)
    folder = Path(chosen) if chosen else _REPOSITORY.parent / "shared" / "sample"
    if not folder.is_dir():
        pytest.skip(f"no sample data in {folder}: set {SAMPLE_VARIABLE} to its folder")
    return folder


@pytest.fixture(scope="session")
def sample_a_template(postgres_server: EmbeddedPostgres, sample_folder: Path) -> str:
    """Name of the template with sample stage A."""
    return _sample_template(postgres_server, sample_folder / "sender_data_A.sql.gz")


@pytest.fixture(scope="session")
def sample_b_template(postgres_server: EmbeddedPostgres, sample_folder: Path) -> str:
    """Name of the template with sample stage B, some hours after A."""
    return _sample_template(postgres_server, sample_folder / "sender_data_B.sql.gz")


@pytest.fixture
def sender_db(database_factory: DatabaseFactory, sender_template: str) -> str:
    """URL of a fresh sender database: schema, no rows."""
    return database_factory(sender_template)


@pytest.fixture
def receiver_db(database_factory: DatabaseFactory, receiver_template: str) -> str:
    """URL of a fresh receiver database: schema, no rows."""
    return database_factory(receiver_template)


@pytest.fixture
def sample_sender_a(database_factory: DatabaseFactory, sample_a_template: str) -> str:
    """URL of a fresh copy of the sample sender at stage A."""
    return database_factory(sample_a_template)


@pytest.fixture
def sample_sender_b(database_factory: DatabaseFactory, sample_b_template: str) -> str:
    """URL of a fresh copy of the sample sender at stage B."""
    return database_factory(sample_b_template)


def _fast_folder() -> Path:
    """Return a folder in memory if it has enough space.

    Creating a database there takes a third of the time.
    """
    if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _template(server: EmbeddedPostgres, name: str, fill: Callable[[str], None]) -> str:
    url = server.create_database(name)
    fill(url)
    with psycopg.connect(url, autocommit=True) as connection:
        # Copies have statistics, like a database in use.
        connection.execute("VACUUM (ANALYZE, FREEZE)")
    return name


def _with_connection(
    create: Callable[[psycopg.Connection[tuple[object, ...]]], None],
) -> Callable[[str], None]:
    def fill(url: str) -> None:
        with psycopg.connect(url) as connection:
            create(connection)

    return fill


def _sample_template(server: EmbeddedPostgres, dump: Path) -> str:
    def fill(url: str) -> None:
        psql = server.binaries.program("psql")
        loaded = subprocess.run(
            [psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", url],
            input=gzip.decompress(dump.read_bytes()),
            capture_output=True,
            check=False,
        )
        assert loaded.returncode == 0, loaded.stderr.decode()

    name = dump.name.partition(".")[0].lower()
    return _template(server, f"template_{name}", fill)


def _remove_servers_of_killed_sessions(parent: Path) -> None:
    for folder in parent.iterdir():
        match = _SERVER_FOLDER.fullmatch(folder.name)
        if match and not _is_alive(int(match[1])):
            EmbeddedPostgres(folder).destroy()


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
