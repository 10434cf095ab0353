from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.postgres.scratch import Scratch

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def workbench(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Yield the URL of the database in which every test has a schema."""
    yield postgres_server.create_database("workbench")
    postgres_server.drop_database("workbench")


@pytest.fixture(scope="session")
def second_workbench(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    yield postgres_server.create_database("second_workbench")
    postgres_server.drop_database("second_workbench")


@pytest.fixture(scope="session")
def connection(workbench: str) -> Iterator[Connection]:
    """Yield a connection with which no test writes."""
    with connect(workbench, application="test") as connection:
        yield connection


@pytest.fixture
def make_scratch() -> Iterator[Callable[[str], Scratch]]:
    with ExitStack() as stack:

        def make(url: str) -> Scratch:
            schema = f"scratch_{next(_NUMBERS)}"
            execute(url, f"CREATE SCHEMA {schema}")
            stack.callback(execute, url, f"DROP SCHEMA {schema} CASCADE")
            connection = stack.enter_context(connect(url, application="test"))
            return Scratch(url, schema, connection)

        yield make


@pytest.fixture
def scratch(workbench: str, make_scratch: Callable[[str], Scratch]) -> Scratch:
    """Return an empty schema in the shared database."""
    return make_scratch(workbench)
