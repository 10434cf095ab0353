"""The ledger keeps the rows that a load, a replay and retention need, and counts the others."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.postgres.ledger import read_ledger, read_summarized, summarize_ledger
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger
from ar_sync_pipeline.sync.load.applied_chain import chain_in
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import (
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)

LINES = "SELECT name FROM ar_sync.applied_archive ORDER BY name"
START = datetime(2026, 1, 1, tzinfo=UTC)
_A_DAY = """
INSERT INTO ar_sync.applied_archive (archive_id, name, kind, snapshot_at, covers_from, watermark,
    sender, superseded, applied_at, plan)
SELECT gen_random_uuid(), 'backup_' || kind || '_' || at, kind, at,
    CASE kind WHEN 'partial' THEN at - interval '5 minutes' END,
    '{"system_identifier": "7", "timeline": 1, "snapshot": "9:9:", "lsn": 9}', '{}', false,
    at + interval '1 minute', jsonb_build_array(jsonb_build_object('table', repeat('x', 600)))
  FROM generate_series(0, 288) n,
       LATERAL (SELECT CASE n WHEN 0 THEN 'complete' ELSE 'partial' END AS kind,
                       %(day)s::timestamptz + n * interval '5 minutes' AS at) line
"""


def days(clock_days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=clock_days)


def test_line_of_a_clock_that_was_ahead_goes_when_its_archive_is_superseded(
    empty_database: str,
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        ensure_ledger(connection)
        connection.execute(_A_DAY, {"day": START})
        last = "WHERE snapshot_at = (SELECT max(snapshot_at) FROM ar_sync.applied_archive)"
        connection.execute(
            "UPDATE ar_sync.applied_archive SET superseded = true,"
            f" snapshot_at = snapshot_at + interval '10 years' {last}"
        )
        present = [
            str(rows(empty_database, f"SELECT name FROM ar_sync.applied_archive {last}")[0][0])
        ]
        later = START + timedelta(days=9)
        assert summarize_ledger(connection, present=present, applied_before=later) == 0
        assert summarize_ledger(connection, present=[], applied_before=later) == 1
        assert read_summarized(connection, superseded=True) == 1


@pytest.mark.long
def test_superseded_archive_of_two_clocks_that_were_ahead_goes_after_its_lifetime(
    filled: TwoSites,
) -> None:
    filled.clock = lambda: days(3650)
    ahead = filled.complete()
    assert filled.load().loaded
    filled.at_receiver("UPDATE ar_sync.applied_archive SET superseded = true")
    filled.clock = lambda: days(0)
    filled.complete()
    assert filled.load().loaded
    name = ahead.name.removeprefix("NEW_")
    for age in (2, 20):
        assert (ahead.parent / name).exists()
        filled.clock = lambda age=age: days(age)  # type: ignore[misc]
        filled.complete()
        filled.load()
    assert not (ahead.parent / name).exists()
    filled.load()
    assert (name,) not in rows(filled.receiver, LINES)


class TestAYear:
    @pytest.mark.long
    def test_ledger_of_a_year_is_no_longer_than_that_of_nine_days(
        self, empty_database: str
    ) -> None:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            ensure_ledger(connection)
            longest = 0
            for number in range(365):
                day = START + timedelta(days=number)
                connection.execute(_A_DAY, {"day": day})
                end = day + timedelta(days=1)
                summarize_ledger(connection, present=[], applied_before=end - timedelta(days=8))
                longest = max(longest, len(read_ledger(connection)))
            assert longest <= 9 * 289
            kept = read_ledger(connection)
            assert len(kept) + read_summarized(connection, superseded=False) == 365 * 289
            (summary,) = connection.execute("SELECT count(*) FROM ar_sync.archive_summary")
            assert summary == (2,)
        chain = chain_in(kept)
        assert chain is not None
        assert (chain.until, chain.gaps) == (START + timedelta(days=365), ())

    def test_without_a_later_complete_no_line_goes(self, empty_database: str) -> None:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            ensure_ledger(connection)
            connection.execute(_A_DAY, {"day": START})
            much_later = START + timedelta(days=300)
            assert summarize_ledger(connection, present=[], applied_before=much_later) == 0

    def test_line_of_an_archive_that_is_still_in_the_spool_stays(self, empty_database: str) -> None:
        with psycopg.connect(empty_database, autocommit=True) as connection:
            ensure_ledger(connection)
            for number in range(2):
                connection.execute(_A_DAY, {"day": START + timedelta(days=number)})
            present = [line.name for line in read_ledger(connection)[3:5]]
            much_later = START + timedelta(days=300)
            gone = summarize_ledger(connection, present=present, applied_before=much_later)
            # All of the first day, except those two and the last one, which has the time of the
            # complete.
            assert gone == 289 - 2 - 1
            assert set(present) <= {line.name for line in read_ledger(connection)}


def _history(sites: TwoSites, kept: Path) -> list[str]:
    """Load a complete and a partial that are later neither in the spool nor in the ledger."""
    kept.mkdir()
    old = sites.complete()
    shutil.copy(old, kept)
    point = watermark_of(old)
    sites.load()
    sites.at_sender("UPDATE app_child SET amount = 77 WHERE id = 1")
    partial = sites.partial(recent_window(), since=point)
    shutil.copy(partial, kept)
    sites.load()
    for age in (10, 20):
        sites.clock = lambda age=age: days(age)  # type: ignore[misc]
        sites.at_sender(f"UPDATE app_child SET amount = {age} WHERE id = 1")
        sites.complete()
        sites.load()
    return [old.name, partial.name]


class TestRepeatedArchive:
    @pytest.mark.long
    def test_without_its_line_is_superseded_and_not_loaded(
        self, filled: TwoSites, tmp_path: Path
    ) -> None:
        old = _history(filled, tmp_path / "kept")
        known = {name for (name,) in rows(filled.receiver, LINES)}
        assert not known & {name.removeprefix("NEW_") for name in old}
        for name in old:
            folder = "complete" if "complete" in name else "partial"
            shutil.copy(tmp_path / "kept" / name, filled.spool / folder)
        filled.at_receiver("CREATE TABLE seen AS SELECT xmin::text AS version, * FROM app_child")
        report = filled.load()
        assert sorted(report.superseded) == sorted(n.removeprefix("NEW_") for n in old)
        assert (report.loaded, report.refused) == ((), ())
        assert equal(filled)
        now = rows(filled.receiver, "SELECT xmin::text, * FROM app_child ORDER BY id")
        assert now == rows(filled.receiver, "SELECT * FROM seen ORDER BY id")

    @pytest.mark.long
    def test_behind_a_late_partial_is_still_superseded(
        self, filled: TwoSites, tmp_path: Path
    ) -> None:
        old = _history(filled, tmp_path / "kept")
        for name in old:
            folder = "complete" if "complete" in name else "partial"
            shutil.copy(tmp_path / "kept" / name, filled.spool / folder)
        filled.clock = lambda: days(20.01)
        filled.at_sender("UPDATE app_child SET amount = 5 WHERE id = 1")
        newest = max((filled.spool / "complete").iterdir(), key=lambda path: path.name[-28:])
        filled.partial(recent_window(), since=watermark_of(newest))
        report = filled.load()
        assert len(report.loaded) == 1
        assert len(report.superseded) == 2
        assert equal(filled)


@pytest.mark.long
def test_database_restored_to_a_shortened_ledger_gets_its_later_archives_again(
    filled: TwoSites, tmp_path: Path
) -> None:
    _history(filled, tmp_path / "kept")
    filled.at_receiver(
        "CREATE SCHEMA kept",
        "CREATE TABLE kept.child AS TABLE app_child",
        "CREATE TABLE kept.ledger AS TABLE ar_sync.applied_archive",
    )
    filled.clock = lambda: days(21)
    filled.at_sender("UPDATE app_child SET amount = 6 WHERE id = 1")
    filled.complete()
    filled.load()
    filled.at_receiver(
        "BEGIN; DELETE FROM app_child; INSERT INTO app_child TABLE kept.child;"
        " DELETE FROM ar_sync.applied_archive;"
        " INSERT INTO ar_sync.applied_archive TABLE kept.ledger; COMMIT"
    )
    assert not equal(filled)
    report = filled.load()
    assert len(report.loaded) == 1
    assert equal(filled)


def test_status_counts_archives_whose_lines_are_gone(filled: TwoSites, tmp_path: Path) -> None:
    _history(filled, tmp_path / "kept")
    found = receiver_status(filled.settings, filled.catalog, days(20))
    counts = {each.state: each.count for each in found.archives}
    assert counts["applied"] == 4
