"""DDL that waits for no lock of a dump: the dump notices what it has read twice, and is retried."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock
from types import ModuleType
from typing import Any

import pytest

from ar_sync_pipeline.export import whole_tables
from ar_sync_pipeline.export.errors import TablesChangingError
from ar_sync_pipeline.sync.dump import table_manifests
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase
from ar_sync_pipeline_tests.background_threads import until_done
from ar_sync_pipeline_tests.export.source import Source, row_counts
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.waiting import until

TABLES = (
    "CREATE TABLE t_p (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE t_p1 PARTITION OF t_p FOR VALUES FROM (0) TO (10)",
    "INSERT INTO t_p VALUES (1, 'v')",
    "CREATE TABLE apart (id integer NOT NULL, v text)",
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "CREATE TYPE pair AS (n integer, m mood)",
    "CREATE TABLE t_a (id integer PRIMARY KEY, m mood, p pair)",
    "INSERT INTO t_a VALUES (1, 'a', '(1,b)')",
)
ATTACH = "ALTER TABLE t_p ATTACH PARTITION apart FOR VALUES FROM (10) TO (20)"
LABELS = (
    "ALTER TYPE mood RENAME VALUE 'a' TO 'x'; ALTER TYPE mood RENAME VALUE 'b' TO 'a';"
    " ALTER TYPE mood RENAME VALUE 'x' TO 'b'"
)
WRITERS = {"complete": whole_tables, "partial": table_manifests}


def before_writing(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, do: Callable[[], None], table: str
) -> None:
    """Run something once, between the count of the rows and their export."""
    real, lock, pending = module.write_chunk, Lock(), [do]

    def after_it(*args: Any, **options: Any) -> Any:
        with lock:
            if pending and args[2].name == table:
                pending.pop()()
        return real(*args, **options)

    monkeypatch.setattr(module, "write_chunk", after_it)


@pytest.mark.parametrize("kind", ["complete", "partial"])
@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([ATTACH], "partitions of t_p were changed"),
        ([LABELS], "types of columns of t_a were changed"),
        (["ALTER TYPE pair ADD ATTRIBUTE o integer"], "types of columns of t_a were changed"),
        (["ALTER TYPE mood ADD VALUE 'c'"], ""),
        ([ATTACH], ""),
        (["ANALYZE", "CREATE INDEX ON t_a (m)", "GRANT SELECT (m) ON t_a TO public"],
         ""),
    ],
    ids=["filled partition", "labels", "attribute", "new label", "empty partition", "no change"],
)  # fmt: skip
def test_rows_that_are_read_twice_in_two_ways_end_the_dump(
    source: Source, monkeypatch: pytest.MonkeyPatch, kind: str, statements: list[str], said: str
) -> None:
    """Its archive would contradict its own manifest, and the receiver quarantine it."""
    source.run(*TABLES)
    base = source.complete().watermark
    # Both tables come whole.
    source.run("ALTER TABLE t_p ADD w int DEFAULT 1", "ALTER TABLE t_a ADD w int DEFAULT 1",
               "ALTER TABLE apart ADD w int DEFAULT 1")  # fmt: skip
    attached = said.startswith("partitions")
    if attached:
        source.run("INSERT INTO apart VALUES (10, 'old')")
    before_writing(
        monkeypatch, WRITERS[kind], lambda: source.run(*statements), "t_p" if attached else "t_a"
    )

    def dump() -> dict[str, int]:
        return row_counts(source.complete() if kind == "complete" else source.partial(base))

    if said:
        with pytest.raises(TablesChangingError, match=said):
            dump()
    assert dump() == {"t_a": 1, "t_p": 1 + attached}


WAITS = """
SELECT 1 FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE t_u%'
"""


@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_dump_does_not_wait_for_ddl_that_waits_for_it(
    source: Source, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Only the limit of the wait ended that, and with it a dump that had read everything."""
    source.run(*TABLES, "CREATE UNLOGGED TABLE t_u (id integer PRIMARY KEY)")
    source.run("INSERT INTO t_u VALUES (1)")
    base = source.complete().watermark
    real, read = SenderDatabase.check_types, Event()

    def migrate(_: Event) -> None:
        assert read.wait(60)
        source.run("ALTER TABLE t_u ADD v integer")

    def while_it_waits(*args: Any) -> None:
        read.set()
        until(lambda: rows(source.url, WAITS), "the migration waits")
        real(*args)

    monkeypatch.setattr(SenderDatabase, "check_types", while_it_waits)
    with until_done(migrate):
        dump = source.complete() if kind == "complete" else source.partial(base)
    assert dump.seconds
    assert rows(source.url, "SELECT v FROM t_u") == [(None,)]


@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_types_of_tables_without_rows_in_the_dump_do_not_end_it(
    source: Source, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    source.run(*TABLES)
    if kind == "complete":
        source.run("DELETE FROM t_a")
    base = source.complete().watermark
    source.run("UPDATE t_p SET v = 'w'")
    before_writing(monkeypatch, WRITERS[kind], lambda: source.run(LABELS), "t_p")
    dump = source.complete() if kind == "complete" else source.partial(base)
    assert row_counts(dump).get("t_p") == 1
