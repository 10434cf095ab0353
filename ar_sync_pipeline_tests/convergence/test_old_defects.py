"""Defects of the old system that concern convergence; each test repeats the situation here."""

from __future__ import annotations

import signal
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_quarantined, list_waiting
from ar_sync_pipeline_tests.fix_sites import (
    CHILDREN,
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)


def test_d1_child_processes_that_end_do_not_end_a_load(filled: TwoSites) -> None:
    filled.complete()
    signals: list[int] = []
    earlier = signal.signal(signal.SIGCHLD, lambda number, _frame: signals.append(number))
    try:
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(filled.load)
            while not loading.done():
                subprocess.run(["true"], check=True)
            assert loading.result().refused == ()
    finally:
        signal.signal(signal.SIGCHLD, earlier)
    assert signals
    assert equal(filled)


def test_d11_archive_waits_when_the_database_is_absent_and_is_loaded_when_it_is_back(
    filled: TwoSites,
) -> None:
    path = filled.complete()
    there = filled.receiver
    filled.receiver = there.rpartition("/")[0] + "/absent"
    with pytest.raises(DatabaseRefusedError):
        filled.load()
    assert path.exists()
    filled.receiver = there
    filled.load()
    assert equal(filled)


def test_d12_damaged_archive_changes_neither_rows_nor_pictures(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    (filled.sender_media / "a.jpeg").write_bytes(b"picture" * 1000)
    filled.at_sender("UPDATE app_child SET amount = 1, picture = 'a.jpeg' WHERE id = 1")
    path = filled.complete()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 3000])
    filled.load()
    assert list(filled.receiver_media.iterdir()) == []
    assert not equal(filled)
    assert len(list_quarantined(filled.spool)) == 1


def test_d20_microseconds_are_replicated(filled: TwoSites) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender("UPDATE app_child SET changed = '2017-05-14 03:59:59.999999+00' WHERE id = 1")
    filled.partial(recent_window(), since=base)
    filled.load()
    query = "SELECT extract(microseconds FROM changed) FROM app_child WHERE id = 1"
    assert rows(filled.receiver, query) == [(59999999,)]


def test_d22_column_that_the_receiver_lacks_parks_the_archive_until_it_is_there(
    filled: TwoSites,
) -> None:
    filled.at_sender(
        "ALTER TABLE app_child ADD user_id integer", "UPDATE app_child SET user_id = id"
    )
    filled.complete()
    report = filled.admit()
    assert report.names == ()
    assert "app_child.user_id" in str(report.parked[0])
    filled.at_receiver("ALTER TABLE app_child ADD user_id integer")
    filled.load()
    assert equal(filled, "SELECT id, user_id FROM app_child ORDER BY id")


@pytest.mark.long
def test_d31_rows_from_before_the_window_and_deletions_arrive(filled: TwoSites) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(
        "INSERT INTO app_child (parent_id, changed) VALUES (1, now() - interval '90 days')",
        "UPDATE app_child SET amount = 8 WHERE id = 8",
        "DELETE FROM app_child WHERE id = 9",
    )
    filled.partial(recent_window(), since=base)
    filled.load()
    missing = "SELECT * FROM app_child WHERE id <> 9 ORDER BY id"
    assert equal(filled, missing)
    filled.complete()
    filled.load()
    assert equal(filled)


def test_d33_all_rows_of_a_partial_are_of_one_instant(filled: TwoSites) -> None:
    """Parent and child change together while the dump reads; both versions or none arrive."""
    base = watermark_of(filled.complete())
    filled.load()
    with psycopg.connect(filled.sender) as writer:
        writer.execute("UPDATE app_parent SET label = 'both' WHERE id = 1")
        writer.execute("UPDATE app_child SET amount = -1, changed = now() WHERE parent_id = 1")
        path = filled.partial(recent_window(), since=base)
    assert sum(table.row_count for table in verify_archive(path, signing_keys=()).tables) == 0
    filled.partial(recent_window(), since=watermark_of(path))
    filled.load()
    assert equal(filled, PARENTS)
    assert equal(filled, CHILDREN)


class TestD37NamesAtTheEndOfDaylightSaving:
    ZONE = ZoneInfo("America/Santiago")

    def test_the_hour_that_comes_twice_gives_names_in_order(self) -> None:
        start = datetime(2017, 5, 13, 22, 30, tzinfo=self.ZONE).astimezone(UTC)
        instants = [start + timedelta(minutes=15 * n) for n in range(12)]
        local = [f"{i.astimezone(self.ZONE):%H:%M}" for i in instants]
        assert len(set(local)) < len(local)
        names = [ArchiveName(ArchiveKind.PARTIAL, instant) for instant in instants]
        assert sorted(name.applied for name in names) == [name.applied for name in names]
        assert [ArchiveName.parse(name.waiting) for name in names] == names

    def test_two_dumps_of_one_second_have_two_names(self, filled: TwoSites) -> None:
        instant = datetime(2026, 11, 23, 12, tzinfo=UTC)
        filled.clock = lambda: instant
        first = filled.complete()
        filled.clock = lambda: instant + timedelta(microseconds=1)
        assert first != filled.complete()
        assert len(list_waiting(filled.spool)) == 2


def test_d35_migrations_of_the_sender_are_named_and_never_copied(filled: TwoSites) -> None:
    """The receiver has migrations of its own, between which a file of the sender's would land."""
    filled.catalog = filled.catalog.model_copy(update={"django_app": "small"})
    applied = "CREATE TABLE django_migrations (app text, name text)"
    add = "INSERT INTO django_migrations VALUES ('small', '{}')"
    filled.at_sender(applied, add.format("0034"), add.format("0035"))
    filled.at_receiver(applied, add.format("0034"), add.format("0900"))
    path = filled.complete()
    with tarfile.open(path) as archive:
        assert [name for name in archive.getnames() if "migration" in name] == []
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    assert "the sender has migration 0035, the receiver has not" in reason.reason
    filled.at_receiver(add.format("0035"))
    filled.load()
    assert equal(filled)
    query = "SELECT name FROM django_migrations ORDER BY name"
    assert rows(filled.receiver, query) == [("0034",), ("0035",), ("0900",)]


@pytest.mark.long
def test_d39_a_backlog_is_loaded_in_one_run(filled: TwoSites) -> None:
    mark = watermark_of(filled.complete())
    for number in range(1, 13):
        filled.at_sender(f"UPDATE app_child SET amount = -{number} WHERE id <= {number}")
        mark = watermark_of(filled.partial(recent_window(), since=mark))
    report = filled.load()
    assert len(report.loaded) == 13
    assert report.chain is not None
    assert report.chain.until == mark.snapshot_at
    assert equal(filled)
    assert list_waiting(filled.spool) == []


def test_d9_rows_that_an_event_needs_are_found_by_the_databases_own_foreign_keys(
    small_sites: TwoSites,
) -> None:
    """To any depth, and through a cycle."""
    tables = (
        "CREATE TABLE app_a (id integer PRIMARY KEY, b_id integer)",
        "CREATE TABLE app_b (id integer PRIMARY KEY, c_id integer)",
        (
            "CREATE TABLE app_c (id integer PRIMARY KEY, a_id integer, parent_id integer"
            " REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED)"
        ),
        "ALTER TABLE app_a ADD FOREIGN KEY (b_id) REFERENCES app_b DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE app_b ADD FOREIGN KEY (c_id) REFERENCES app_c DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE app_c ADD FOREIGN KEY (a_id) REFERENCES app_a DEFERRABLE INITIALLY DEFERRED",
        "ALTER TABLE app_child ADD a_id integer REFERENCES app_a",
    )
    small_sites.at_sender(*tables)
    small_sites.at_receiver(*tables)
    small_sites.at_sender(
        "INSERT INTO app_parent (id, code) SELECT n, 'c' || n FROM generate_series(1, 9) n",
        "BEGIN; INSERT INTO app_a SELECT n, n FROM generate_series(1, 9) n;"
        " INSERT INTO app_b SELECT n, n FROM generate_series(1, 9) n;"
        " INSERT INTO app_c SELECT n, 1 + n % 9, n FROM generate_series(1, 9) n; COMMIT",
        "INSERT INTO app_child (parent_id, a_id, changed) VALUES (9, 4, now())",
    )
    # Without a watermark only the child is chosen; all other rows are those that it refers to.
    path = small_sites.partial(recent_window())
    sent = {table.name: table.row_count for table in verify_archive(path, signing_keys=()).tables}
    assert sent == {"app_child": 1, "app_a": 9, "app_b": 9, "app_c": 9, "app_parent": 9}
    small_sites.load()
    assert equal(small_sites, "SELECT * FROM app_c ORDER BY id")


def test_window_of_a_range_of_missed_windows_is_one_archive(filled: TwoSites) -> None:
    end = datetime.now(UTC) + timedelta(minutes=1)
    filled.at_sender("UPDATE app_child SET changed = now() - interval '5 hours' WHERE id <= 20")
    path = filled.partial(Window(start=end - timedelta(hours=6), end=end))
    assert {t.name: t.row_count for t in verify_archive(path, signing_keys=()).tables}[
        "app_child"
    ] == 20
