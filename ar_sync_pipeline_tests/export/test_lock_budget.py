"""A dump leaves production a part of the server's lock table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.export.lock_budget import sessions_that_fit
from ar_sync_pipeline.export.source_tables import replicated_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DatabaseFailedError, DatabaseRefusedError
from ar_sync_pipeline.sync.watch.database_findings import check_sender
from ar_sync_pipeline_tests.export.source import Source, row_counts

pytestmark = pytest.mark.long
# 10 for each of 20 sessions.
SETTINGS = {"max_locks_per_transaction": "10", "max_connections": "20"}


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("locks") / "server", settings=SETTINGS)
    with server:
        yield server
    server.destroy()


@pytest.fixture
def crowded(small_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Source]:
    """A partitioned table without partitions: two locks, and two more with each partition."""
    source = Source(small_server.create_database("crowded"), tmp_path)
    source.run("CREATE TABLE t_p (id int PRIMARY KEY) PARTITION BY LIST (id)")
    yield source
    small_server.drop_database("crowded")


def partitions(source: Source, first: int, last: int) -> None:
    source.run(
        *(
            f"CREATE TABLE p_{n} PARTITION OF t_p FOR VALUES IN ({n})"
            for n in range(first, last + 1)
        )
    )


def sessions(source: Source) -> int:
    with connect(source.url, application="test") as connection:
        tables = replicated_tables(connection, source.catalog)
        return sessions_that_fit(connection, tables.values(), 2)


def test_dump_takes_one_session_where_two_would_take_half_of_the_locks(crowded: Source) -> None:
    partitions(crowded, 1, 24)
    assert sessions(crowded) == 2
    partitions(crowded, 25, 40)
    crowded.run("INSERT INTO t_p VALUES (1), (40)")
    assert sessions(crowded) == 1
    assert row_counts(crowded.complete()) == {"t_p": 2}


def test_dump_that_would_take_nearly_all_locks_is_refused_before_it_takes_any(
    crowded: Source,
) -> None:
    partitions(crowded, 1, 90)
    with pytest.raises(DatabaseRefusedError, match="182 of about 200 locks") as caught:
        crowded.complete()
    assert "set max_locks_per_transaction of that server to 19 (it is 10)" in caught.value.remedy
    assert any("182 of about" in str(one) for one in check_sender(crowded.url, crowded.catalog))


def test_server_s_hint_is_in_the_message(crowded: Source) -> None:
    statement = "; ".join(f"CREATE TEMP TABLE t{n} ()" for n in range(3_000))
    with (
        pytest.raises(DatabaseFailedError, match="out of shared memory") as caught,
        connect(crowded.url, application="test") as connection,
    ):
        connection.execute(statement.encode())
    assert "max_locks_per_transaction" in caught.value.remedy
