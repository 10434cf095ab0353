"""Integer keys that are far apart do not make a chunk of each row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ar_sync_pipeline.archive.manifest import Chunk, Manifest
from ar_sync_pipeline.export.sparse_keys import is_split
from ar_sync_pipeline.export.table_export import chunk_whole_table
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.postgres.scratch import Scratch
from ar_sync_pipeline_tests.sync.fix_differential import assert_applied, load
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

LOWEST, HIGHEST = -(2**63), 2**63 - 1
FAR = "SELECT n * 1000000 FROM generate_series(1, {}) n"


@pytest.fixture
def scratch(empty_database: str) -> Iterator[Scratch]:
    with connect(empty_database, application="test") as connection:
        yield Scratch(empty_database, "public", connection)


@pytest.mark.parametrize(
    ("key", "keys", "split"),
    [
        ("int", "SELECT generate_series(1, 3000)", True),
        ("bigint", f"SELECT generate_series(1, 3000) UNION SELECT {HIGHEST}", True),
        ("bigint", f"VALUES ({LOWEST}), ({HIGHEST}), (0), (-1)", True),
        ("int", FAR.format(256), True),
        ("int", FAR.format(257), False),
        ("bigint", f"{FAR.format(300)} UNION VALUES ({LOWEST}), ({HIGHEST})", False),
        ("bigint", f"SELECT {LOWEST} + n::bigint * 1000000 FROM generate_series(0, 300) n", False),
        ("smallint", "SELECT generate_series(-300, 300)", True),
        ("int", "SELECT 1 WHERE false", True),
        ("text", "SELECT 'a'", False),
    ],
)
def test_tables_are_split_while_their_chunks_are_few(
    scratch: Scratch, key: str, keys: str, split: bool
) -> None:
    scratch.run(f"CREATE TABLE t (id {key} PRIMARY KEY)", f"INSERT INTO t {keys}")
    table = scratch.exported("t")
    assert is_split(scratch.connection, table) is split
    chunks = chunk_whole_table(scratch.connection, table)
    assert bool(chunks) is not keys.endswith("WHERE false")
    assert all((chunk.key_range is not None) is split for chunk in chunks)


def test_large_tables_may_have_more_chunks(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n * 65536, repeat('x', 1900) FROM generate_series(1, 10000) n",
    )
    assert not is_split(scratch.connection, scratch.exported("t"))
    scratch.run("DELETE FROM t WHERE id > 300 * 65536")
    assert is_split(scratch.connection, scratch.exported("t"))  # 300 chunks, and still 20 MB


def test_partitions_are_counted_together(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY HASH (id)",
        "CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        f"INSERT INTO t {FAR.format(256)}",
    )
    assert is_split(scratch.connection, scratch.exported("t"))
    scratch.run("INSERT INTO t VALUES (0)")
    assert not is_split(scratch.connection, scratch.exported("t"))


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    """Two equal servers with a table of events, whose keys are far apart."""
    for run in (media_sender.sites.at_sender, media_sender.sites.at_receiver):
        run("CREATE TABLE app_event (id bigint PRIMARY KEY, v int)")
    media_sender.sites.at_sender(f"INSERT INTO app_event {FAR.format(400)}")
    for _ in range(2):
        assert_applied(media_sender, media_sender.complete())
    return media_sender


def assert_same_events(pair: MediaSender) -> None:
    query = "SELECT * FROM app_event ORDER BY id"
    assert rows(pair.sites.sender, query) == rows(pair.sites.receiver, query)


def chunks_of(manifest: Manifest) -> tuple[Chunk, ...]:
    return next(table.chunks for table in manifest.tables if table.name == "app_event")


@pytest.mark.long
def test_completes_and_partials_of_such_a_table(pair: MediaSender) -> None:
    assert [c.carried for c in chunks_of(pair.complete())] == [False]
    load(pair)
    pair.sites.at_sender(
        "UPDATE app_event SET v = 1 WHERE id = 5000000", "DELETE FROM app_event WHERE id = 7000000"
    )
    changed = pair.complete()
    assert [(c.carried, c.is_change) for c in chunks_of(changed)] == [(True, False)]
    assert_applied(pair, changed)
    assert_same_events(pair)
    pair.sites.at_sender("UPDATE app_event SET v = 2 WHERE id = 6000000")
    pair.partial()
    load(pair)
    assert_same_events(pair)
    pair.sites.at_receiver("UPDATE app_event SET v = 3 WHERE id = 9000000")
    pair.complete()
    load(pair)
    assert_applied(pair, pair.complete())
    assert_same_events(pair)


@pytest.mark.long
def test_table_whose_keys_become_dense_and_sparse_again(pair: MediaSender) -> None:
    for statement in (
        "DELETE FROM app_event WHERE id > 200 * 1000000",
        f"INSERT INTO app_event {FAR.format(400)} ON CONFLICT DO NOTHING",
    ):
        pair.sites.at_sender(statement)
        assert_applied(pair, pair.complete())
        assert_same_events(pair)
