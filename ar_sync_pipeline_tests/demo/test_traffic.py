from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.demo.equality import compare_media, prove_equal_tables
from ar_sync_pipeline.demo.pictures import make_pictures
from ar_sync_pipeline.demo.traffic import BurstSummary, Traffic
from ar_sync_pipeline.sync.load.delete_guard import Deletion, suspicious
from ar_sync_pipeline_tests.demo.test_city import NOW
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory

LATER = NOW + timedelta(minutes=5)


def _two_bursts(url: str, media: Path) -> list[BurstSummary]:
    with psycopg.connect(url, autocommit=True) as connection:
        make_pictures(connection, media)
        traffic = Traffic(connection, media, seed=7)
        return [traffic.burst(LATER), traffic.burst(LATER + timedelta(minutes=1))]


@pytest.fixture
def other_city_db(database_factory: DatabaseFactory, city_template: str) -> str:
    return database_factory(city_template)


@pytest.mark.long
def test_same_seed_and_instants_give_the_same_traffic(
    city_db: str, other_city_db: str, tmp_path: Path
) -> None:
    first = _two_bursts(city_db, tmp_path / "a")
    assert _two_bursts(other_city_db, tmp_path / "b") == first
    assert all(each.equal for each in prove_equal_tables(city_db, other_city_db))
    media = compare_media(tmp_path / "a", tmp_path / "b")
    assert media.equal
    assert media.extra == ()


def test_two_bursts_bring_different_rows(city_db: str, tmp_path: Path) -> None:
    first, second = _two_bursts(city_db, tmp_path)
    assert not set(first.new_pictures) & set(second.new_pictures)
    assert first.inserted["busv2"] == second.inserted["busv2"] == 3


@pytest.mark.long
def test_summary_counts_what_the_database_shows(
    city_db: str, city_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(city_db, autocommit=True) as connection:
        make_pictures(connection, tmp_path)
        done = Traffic(connection, tmp_path, seed=7).burst(LATER)
    for each in prove_equal_tables(city_url, city_db):
        table = each.table.removeprefix("AndroidRequests_")
        assert each.extra_rows == done.inserted.get(table, 0)
        assert each.missing_rows == done.deleted.get(table, 0)
        # A row changed by two statements, or changed and then deleted, is one difference or none.
        assert 0 <= done.updated.get(table, 0) - each.changed_rows <= 3


def test_events_change_with_and_without_a_new_time(
    city_db: str, city_url: str, tmp_path: Path
) -> None:
    _two_bursts(city_db, tmp_path)
    table = "AndroidRequests_eventforbusv2"
    untimed = f'SELECT id, "timeStamp" FROM "{table}" WHERE id <= 5000 ORDER BY id'.encode()
    with psycopg.connect(city_db) as after, psycopg.connect(city_url) as before:
        moved = set(after.execute(untimed)) - set(before.execute(untimed))
    changed = prove_equal_tables(city_url, city_db, [table])[0].changed_rows
    assert 0 < len(moved) < changed


@pytest.mark.long
def test_pictures_come_and_change(city_db: str, tmp_path: Path) -> None:
    with psycopg.connect(city_db, autocommit=True) as connection:
        for folder in ("before", "after"):
            make_pictures(connection, tmp_path / folder)
        done = Traffic(connection, tmp_path / "after", seed=7).burst(LATER)
    media = compare_media(tmp_path / "before", tmp_path / "after")
    assert media.extra == done.new_pictures
    assert len(done.new_pictures) == 4
    assert media.changed == done.changed_pictures
    assert len(done.changed_pictures) == 1


@pytest.mark.long
def test_without_deletions_no_row_goes(city_db: str, city_url: str, tmp_path: Path) -> None:
    with psycopg.connect(city_db, autocommit=True) as connection:
        done = Traffic(connection, tmp_path, seed=7).burst(LATER, deletions=False)
    assert done.deleted == {}
    assert all(each.missing_rows == 0 for each in prove_equal_tables(city_url, city_db))


@pytest.mark.long
def test_half_an_hour_without_a_complete_is_not_stopped_by_the_delete_guard(
    city_db: str, tmp_path: Path
) -> None:
    with psycopg.connect(city_db, autocommit=True) as connection:
        make_pictures(connection, tmp_path)
        traffic = Traffic(connection, tmp_path, seed=7)
        done = [traffic.burst(LATER + timedelta(seconds=20 * number)) for number in range(6)]
        held = {
            table: connection.execute(
                f'SELECT count(*) FROM "AndroidRequests_{table}"'.encode()
            ).fetchone()
            for table in done[0].deleted
        }
    assert len(held) == 4
    for minutes in range(2, 31, 2):
        deletions = [
            # The receiver keeps what is deleted until the next complete.
            Deletion(
                table,
                count[0] + minutes // 2 * sum(burst.inserted[table] for burst in done),
                minutes // 2 * sum(burst.deleted[table] for burst in done),
                emptied=False,
            )
            for table, count in held.items()
            if count is not None
        ]
        assert suspicious(deletions, 5) == ()
