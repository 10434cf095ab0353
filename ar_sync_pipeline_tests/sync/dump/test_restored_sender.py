"""A sender that was restored from a cold copy of its data folder (case S22).

System identifier and timeline are unchanged, and transaction ids and positions in the log are used
again, so they may have overtaken what the receiver has seen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, recent_window, rows, watermark_of

TABLE = "CREATE TABLE t_a (id integer PRIMARY KEY, v integer, changed timestamptz)"
ROWS = "SELECT id, v FROM t_a ORDER BY id"
CATALOG = Catalog.model_validate(
    {"name": "restored", "tables": ["t_*"], "table": {"t_a": {"changed_at": "changed"}}}
)
HOUR = timedelta(hours=1)
DAY_AGO = f"now() - interval '{timedelta(days=1).total_seconds()} s'"


class Restored:
    """A sender in a separate cluster, which can be restored from a cold copy."""

    def __init__(self, server: EmbeddedPostgres, receiver: str, folder: Path) -> None:
        self._server = server
        self._copy = server.folder / "copy"
        server.start()
        server.create_database("sender")
        self.sites = TwoSites(server.url("sender"), receiver, CATALOG, folder)
        execute(receiver, TABLE)
        self.sites.at_sender(
            TABLE, f"INSERT INTO t_a SELECT n, 0, {DAY_AGO} FROM generate_series(1, 100) n"
        )

    def copy(self) -> None:
        self._server.stop()
        self._replace(self._server.folder / "data", self._copy)
        self._start()

    def restore(self) -> None:
        self._server.stop()
        self._replace(self._copy, self._server.folder / "data")
        self._start()

    def transactions(self, first: int, count: int, value: int) -> None:
        """Run one transaction per row; the timestamps of the rows are a day old."""
        self.sites.at_sender(
            *(
                f"INSERT INTO t_a VALUES ({n}, {value}, {DAY_AGO})"
                f" ON CONFLICT (id) DO UPDATE SET v = {value}"
                for n in range(first, first + count)
            )
        )

    def _start(self) -> None:
        self._server.start()
        self.sites.sender = self._server.url("sender")

    @staticmethod
    def _replace(source: Path, target: Path) -> None:
        rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", source, target], check=True)


@pytest.fixture
def restored(
    tmp_path_factory: pytest.TempPathFactory, empty_database: str, tmp_path: Path
) -> Iterator[Restored]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("cold") / "cluster")
    try:
        yield Restored(server, empty_database, tmp_path)
    finally:
        server.destroy()


def _as_many_as_were_lost(sender: Restored) -> None:
    sender.transactions(first=95, count=6, value=2)


def _many_more(sender: Restored) -> None:
    sender.transactions(first=1, count=200, value=2)


@pytest.mark.long
@pytest.mark.parametrize("continues", [_as_many_as_were_lost, _many_more])
def test_gap_is_told_and_the_complete_repairs(
    restored: Restored, continues: Callable[[Restored], None]
) -> None:
    sites = restored.sites
    since = watermark_of(sites.complete())
    sites.load()
    restored.copy()
    for number in range(3):
        restored.transactions(first=98 + 2 * number, count=2, value=1)
        since = watermark_of(sites.partial(recent_window(), since=since))
        assert sites.load().refused == ()
    assert len(rows(sites.receiver, ROWS)) == 103
    restored.restore()
    continues(restored)
    partial = sites.partial(recent_window(), since=since)
    with open_archive(partial) as reader:
        assert reader.manifest.since is None
    report = sites.load()
    assert report.chain is not None
    (gap,) = report.chain.gaps
    assert "was restored from a backup" in str(gap)
    assert report.chain.until == since.snapshot_at
    sites.complete(since=since)
    report = sites.load()
    assert report.chain is not None
    assert report.chain.gaps == ()
    assert rows(sites.receiver, ROWS) == rows(sites.sender, ROWS)
    assert list_parked(sites.spool) == []


@pytest.mark.long
def test_archives_of_the_new_history_are_loaded_however_far_the_old_one_had_come(
    restored: Restored,
) -> None:
    """For a long time its ids and positions are lower than those of the archives before."""
    sites = restored.sites
    sites.clock = lambda: datetime.now(UTC) - HOUR
    since = watermark_of(sites.complete())
    sites.load()
    restored.copy()
    restored.transactions(first=98, count=200, value=1)
    window = Window(start=sites.clock() - HOUR, end=sites.clock())
    sites.partial(window, since=since)
    assert len(sites.load().loaded) == 1
    restored.restore()
    sites.clock = lambda: datetime.now(UTC)
    restored.transactions(first=95, count=2, value=2)
    complete = sites.complete(since=acknowledged_by(sites))
    assert len(sites.load().loaded) == 1
    for value in (3, 4):
        restored.transactions(first=96, count=2, value=value)
        partial = sites.partial(recent_window(), since=acknowledged_by(sites))
        assert [a.manifest.name.waiting for a in sites.load().loaded] == [partial.name]
        assert rows(sites.receiver, ROWS) == rows(sites.sender, ROWS)
    assert not complete.exists()


def acknowledged_by(sites: TwoSites) -> Watermark:
    checkpoint = Checkpoint.read(sites.spool, signing_keys=())
    assert checkpoint is not None
    assert checkpoint.watermark is not None
    return checkpoint.watermark


@pytest.mark.long
def test_operator_is_told_that_the_sender_was_restored(restored: Restored) -> None:
    sites = restored.sites
    sites.complete()
    sites.load()
    restored.copy()
    restored.transactions(first=98, count=20, value=1)
    sites.partial(recent_window(), since=acknowledged_by(sites))
    sites.load()
    restored.restore()
    sites.partial(recent_window(), since=acknowledged_by(sites))
    sites.load()
    said = str(receiver_status(sites.settings, sites.catalog, datetime.now(UTC)).lag)
    assert "the sender's database was restored, failed over or replaced" in said
    sites.complete(since=acknowledged_by(sites))
    sites.load()
    said = str(receiver_status(sites.settings, sites.catalog, datetime.now(UTC)).lag)
    assert "all is well" in said


@pytest.mark.long
def test_lost_history_that_arrives_late_takes_nobody_back_after_the_complete(
    restored: Restored,
) -> None:
    sites = restored.sites
    since = watermark_of(sites.complete())
    sites.load()
    restored.copy()
    restored.transactions(first=98, count=200, value=1)
    late = sites.partial(recent_window(), since=since)
    content = late.read_bytes()
    late.unlink()
    restored.restore()
    restored.transactions(first=95, count=2, value=2)
    sites.complete(since=since)
    sites.load()
    late.write_bytes(content)
    sites.load()
    assert rows(sites.receiver, ROWS) == rows(sites.sender, ROWS)
