"""Dumps by a role that has rights on single columns: the same locks, without ``LOCK TABLE``."""

from __future__ import annotations

from dataclasses import replace
from threading import Event, Thread

import psycopg
import pytest

from ar_sync_pipeline.export.snapshot import take_snapshot
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError, LockWaitError
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts


@pytest.fixture
def reader(source: Source) -> Source:
    """Return a sender's role that may not read column ``secret`` of ``t_a``."""
    role = f"reader of {source.url.rpartition('/')[2]}"
    source.run(
        "CREATE TABLE t_a (id int PRIMARY KEY, v text, secret text)",
        "INSERT INTO t_a SELECT n, n, n FROM generate_series(1, 10) n",
        "CREATE TABLE t_b (id int PRIMARY KEY, a_id int REFERENCES t_a)",
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT (id, v, xmin) ON t_a TO "{role}"',
        f'GRANT SELECT ON t_b TO "{role}"',
    )
    user = role.replace(" ", "%20")
    url = source.url.replace("//postgres@", f"//{user}@")
    return replace(source, url=url, catalog=catalog(table={"t_a": {"exclude": ["secret"]}}))


def test_complete_and_partial_need_no_right_on_the_excluded_column(
    source: Source, reader: Source
) -> None:
    first = reader.complete()
    assert row_counts(first) == {"t_a": 10, "t_b": 0}
    source.run("UPDATE t_a SET v = 'x' WHERE id = 3", "INSERT INTO t_b VALUES (1, 5)")
    assert row_counts(reader.partial(first.watermark)) == {"t_a": 2, "t_b": 1}


@pytest.mark.long
def test_table_that_another_session_has_locked_is_named(source: Source, reader: Source) -> None:
    with (
        source.session("LOCK TABLE t_a IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(LockWaitError, match="t_a"),
    ):
        reader.complete()


def test_truncate_right_before_the_snapshot_is_seen_by_it(
    source: Source, reader: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query takes its snapshot before it has its lock: an old one would silently find no row."""
    begun, held = Event(), list[bool]()

    def truncate() -> None:
        begun.wait(10)
        with psycopg.connect(source.url, autocommit=True) as session:
            session.execute("TRUNCATE t_a CASCADE")

    def meanwhile(*arguments: object, **named: object) -> object:
        begun.set()
        thread.join(0.3)
        held.append(thread.is_alive())
        return take_snapshot(*arguments, **named)  # type: ignore[arg-type]

    thread = Thread(target=truncate)
    thread.start()
    monkeypatch.setattr("ar_sync_pipeline.export.dump_session.take_snapshot", meanwhile)
    dump = reader.complete()
    thread.join()
    # Production goes first: the dump gives its locks back, and starts again.
    assert held == [True, False]
    assert row_counts(dump) == {"t_a": 0, "t_b": 0}


def test_right_on_a_new_column_is_asked_for(source: Source, reader: Source) -> None:
    source.run("ALTER TABLE t_a ADD later int")
    with pytest.raises(DatabaseRefusedError, match="column later of t_a") as refused:
        reader.complete()
    statement = refused.value.remedy.partition(", or run")[0]
    assert statement.startswith('GRANT SELECT ("later") ON "public"."t_a" TO "reader of ')
    source.run(statement)
    assert row_counts(reader.complete())["t_a"] == 10


def test_statement_for_an_odd_name_can_be_run(source: Source) -> None:
    role = f"Odd {source.url.rpartition('/')[2]}"
    source.run(
        'CREATE TABLE "t_Client" (id int PRIMARY KEY, "VipNote" text, secret text)',
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT SELECT (id, xmin) ON "t_Client" TO "{role}"',
    )
    user = role.replace(" ", "%20")
    url = source.url.replace("//postgres@", f"//{user}@")
    by_columns = catalog(table={"t_Client": {"exclude": ["secret"]}})
    for rules in (by_columns, catalog()):
        reader = replace(source, url=url, catalog=rules)
        with pytest.raises(DatabaseRefusedError) as refused:
            reader.complete()
        source.run(refused.value.remedy.partition(", or run")[0])
        assert row_counts(reader.complete()) == {"t_Client": 0}
