"""A watermark counts only in its own history (case S22)."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.export.history import comparable, has_traces
from ar_sync_pipeline.export.snapshot import fitting
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline_tests.export.source import Source
from ar_sync_pipeline_tests.fix_sites import rows

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def mark(snapshot: str = "10:20:", lsn: int | None = 5, **changes: object) -> Watermark:
    fields = {"system_identifier": "7", "timeline": 1, **changes}
    return Watermark.model_validate(
        {"snapshot_at": NOON, "snapshot": snapshot, "lsn": lsn, **fields}
    )


@pytest.mark.parametrize(
    ("since", "now", "counts"),
    [
        (mark(), mark("15:25:", 6), True),
        (mark(lsn=None), mark("15:25:", 6), True),
        (mark(), mark("15:25:", 4), False),
        (mark(), mark("5:15:", 6), False),
        (mark(), mark("15:25:", 6, timeline=2), False),
        (mark(), mark("15:25:", 6, system_identifier="8"), False),
        (mark(), mark(f"{2**31 + 10}:{2**31 + 10}:", 6), False),
    ],
)
def test_watermark_counts_in_one_history(since: Watermark, now: Watermark, *, counts: bool) -> None:
    assert comparable(since, now) == (since if counts else None)


def test_snapshot_of_thousands_of_writers_is_replaced_by_an_older_one_that_fits() -> None:
    running = ",".join(map(str, range(1000, 9000)))
    assert fitting("1000:9000:1000,2000") == "1000:9000:1000,2000"
    assert fitting(f"1000:9000:{running}") == "1000:1000:"


def test_each_snapshot_leaves_traces_that_its_history_knows(source: Source) -> None:
    source.run("CREATE TABLE t_a (id integer PRIMARY KEY)")
    first, second = source.complete().watermark, source.complete().watermark
    assert first.lsn is not None
    assert second.lsn is not None
    assert first.lsn <= second.lsn
    assert first.traces is not None
    outcomes = [trace[-1] for trace in first.traces.split(",")]
    assert (outcomes.count("c"), outcomes.count("a")) == (8, 8)
    other = first.model_copy(update={"traces": first.traces.translate(str.maketrans("ac", "ca"))})
    future = first.model_copy(update={"traces": "4000000000c"})
    with connect(source.url, application="test") as connection:
        assert has_traces(connection, first)
        assert has_traces(connection, second)
        assert not has_traces(connection, other)
        assert not has_traces(connection, future)


@pytest.mark.long
def test_cluster_put_back_from_a_cold_copy_is_noticed_although_it_has_overtaken(
    tmp_path: Path,
) -> None:
    server = EmbeddedPostgres(tmp_path / "server")
    folder = server.folder / "data"
    copy = server.folder / "copy"
    try:
        with server:
            source = Source(server.create_database("production"), tmp_path)
            source.run("CREATE TABLE t_a (id serial PRIMARY KEY, word text)")
            base = source.complete().watermark
        shutil.copytree(folder, copy)
        shutil.copystat(folder, copy)
        with server:
            source.url = server.url("production")
            source.run("INSERT INTO t_a (word) VALUES ('lost')")
            lost = source.partial(base).watermark
            assert source.partial(lost).since == lost
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        _give_away(folder, copy)
        with server:
            source.url = server.url("production")
            for n in range(60):
                source.run(f"INSERT INTO t_a (word) VALUES ('{n}')")
            ((reached,),) = rows(source.url, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
            assert int(str(reached)) > int(lost.snapshot.split(":")[1])
            with connect(source.url, application="test") as connection:
                assert not has_traces(connection, lost)
            assert source.partial(lost).since is None
            # The point before the copy still belongs to the history.
            assert source.partial(base).since == base
    finally:
        server.destroy()


def _give_away(folder: Path, like: Path) -> None:
    """Give the files to the server's account; a copy made by root has another owner."""
    owner = like.parent.stat()
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)
