from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
import shapely
from PIL import Image

from ar_sync_pipeline.demo.city import correct_city, fill_city
from ar_sync_pipeline.demo.equality import prove_equal_tables
from ar_sync_pipeline.demo.fake_data import EAST, NORTH, SOUTH, WEST
from ar_sync_pipeline.demo.pictures import make_pictures
from ar_sync_pipeline.demo.receiver_city import ZoneCounts, fill_receiver
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory

NOW = datetime(2026, 11, 24, 4, 5, 6, 123456, tzinfo=UTC)
REPORT_TIME = 'SELECT max("timeStamp"), min("timeStamp") FROM "AndroidRequests_report"'


def _rows(url: str, query: LiteralString) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_every_table_has_rows_and_all_together_about_100_000(city_url: str, sender_db: str) -> None:
    tables = prove_equal_tables(city_url, sender_db)
    assert len(tables) == 24
    assert all(each.sender_rows > 0 for each in tables)
    assert 95_000 < sum(each.sender_rows for each in tables) < 110_000


@pytest.mark.long
def test_same_seed_and_instant_give_the_same_city(
    city_url: str, database_factory: DatabaseFactory, sender_template: str
) -> None:
    again = database_factory(sender_template)
    with psycopg.connect(again) as connection:
        fill_city(connection, now=NOW)
    assert all(each.equal for each in prove_equal_tables(city_url, again))


@pytest.mark.long
def test_a_corrected_city_gives_a_receiver_nothing_to_warn_of(sender_db: str) -> None:
    with psycopg.connect(sender_db) as connection:
        fill_city(connection, now=NOW)
        correct_city(connection)
        count = connection.execute(
            'SELECT count("imageName"), count(*) FILTER (WHERE "imageName" LIKE %s),'
            ' count(*) FILTER (WHERE json_typeof("reportInfo"::json) <> %s)'
            ' FROM "AndroidRequests_report"',
            ["lost-%", "object"],
        ).fetchone()
    assert count is not None
    assert count[0] > 200
    assert count[1:] == (0, 0)


@pytest.mark.long
def test_another_seed_gives_another_city(city_url: str, sender_db: str) -> None:
    with psycopg.connect(sender_db) as connection:
        fill_city(connection, now=NOW, seed=2)
    plates = prove_equal_tables(city_url, sender_db, ["AndroidRequests_busv2"])
    assert plates[0].changed_rows == 600


def test_times_lie_in_the_thirty_days_before_now(city_url: str) -> None:
    ((newest, oldest),) = _rows(city_url, REPORT_TIME)
    assert isinstance(newest, datetime)
    assert isinstance(oldest, datetime)
    assert NOW - timedelta(days=30) <= oldest < newest <= NOW


def test_sequences_are_ahead_of_the_rows(city_url: str) -> None:
    for table in ("busstop", "token", "report"):
        with psycopg.connect(city_url) as connection:
            row = connection.execute(
                f"SELECT nextval('\"AndroidRequests_{table}_id_seq\"') > max(id)"
                f' FROM "AndroidRequests_{table}"'.encode()
            ).fetchone()
        assert row == (True,)


@pytest.mark.parametrize("text", ["\\N", "line one\nline two\r\nline three", "", "tab\there"])
def test_texts_that_break_careless_copying_are_among_the_messages(city_url: str, text: str) -> None:
    with psycopg.connect(city_url) as connection:
        found = connection.execute(
            'SELECT count(*) FROM "AndroidRequests_report" WHERE message = %s', [text]
        ).fetchone()
    assert found is not None
    assert found[0] > 10


def test_pictures_are_those_that_the_reports_name(city_url: str, tmp_path: Path) -> None:
    with psycopg.connect(city_url) as connection:
        made = make_pictures(connection, tmp_path / "media")
    files = {
        path.relative_to(tmp_path / "media").as_posix()
        for path in (tmp_path / "media").rglob("*")
        if path.is_file()
    }
    assert made == len(files) == 200
    assert "paradero ñuñoa 7.jpeg" in files
    assert sum(name.startswith("anteriores/") for name in files) == 40
    with Image.open(tmp_path / "media" / "paradero ñuñoa 7.jpeg") as picture:
        assert picture.format == "JPEG"


def test_receiver_gets_its_periods_and_zones_and_nothing_else(receiver_db: str) -> None:
    with psycopg.connect(receiver_db) as connection:
        assert fill_receiver(connection) == ZoneCounts(29, 48, 100)
    gaps = _rows(
        receiver_db,
        'SELECT day_type FROM "AndroidRequests_timeperiod" GROUP BY 1'
        " HAVING sum(end_time - initial_time + interval '1 second') <> interval '1 day'",
    )
    assert gaps == []
    assert _rows(receiver_db, 'SELECT count(*) FROM "AndroidRequests_report"') == [(0,)]


def test_zones_cover_the_city_without_overlap(receiver_db: str) -> None:
    with psycopg.connect(receiver_db) as connection:
        fill_receiver(connection)
    wkb = [
        row[0]
        for row in _rows(
            receiver_db, 'SELECT geom FROM "AndroidRequests_zonificationtransantiago" ORDER BY id'
        )
    ]
    zones = shapely.from_wkb(wkb)
    assert all(shapely.is_valid(zones))
    assert {shape.geom_type for shape in zones} == {"MultiPolygon"}
    city = shapely.box(WEST, SOUTH, EAST, NORTH)
    assert shapely.area(shapely.union_all(zones)) == pytest.approx(shapely.area(city))
    assert sum(shapely.area(zones)) == pytest.approx(shapely.area(city))
