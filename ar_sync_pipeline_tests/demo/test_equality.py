from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from rich.console import Console

from ar_sync_pipeline.demo.equality import TableComparison, compare_media, prove_equal_tables
from ar_sync_pipeline.demo.report import database_table, media_line
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory

EVENTS = "AndroidRequests_eventforbusv2"
BUSES = "AndroidRequests_busv2"


@pytest.fixture
def copied_db(database_factory: DatabaseFactory, city_template: str) -> str:
    return database_factory(city_template)


def _compare(sender: str, receiver: str, table: str, **rewritten: str) -> TableComparison:
    excluded = {table: list(rewritten.values())}
    (comparison,) = prove_equal_tables(sender, receiver, [table], transformed_in_place=excluded)
    return comparison


def _change(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


@pytest.mark.long
def test_copies_are_equal(city_url: str, copied_db: str) -> None:
    tables = prove_equal_tables(city_url, copied_db)
    assert len(tables) == 24
    assert all(each.equal and each.first_difference is None for each in tables)


@pytest.mark.parametrize(
    "change",
    [
        '"timeStamp" = "timeStamp" + interval \'1 microsecond\'',
        "\"brokenType\" = ''",
        '"eventConfirm" = "eventConfirm" + 1',
    ],
)
def test_the_smallest_change_of_one_row_is_found(
    city_url: str, copied_db: str, change: str
) -> None:
    _change(copied_db, f'UPDATE "{EVENTS}" SET {change} WHERE id = 1234')
    found = _compare(city_url, copied_db, EVENTS)
    assert (found.missing_rows, found.extra_rows, found.changed_rows) == (0, 0, 1)
    assert found.first_difference == "(1234)"
    assert not found.equal


def test_smallest_step_of_a_float_is_found(city_url: str, copied_db: str) -> None:
    table = "AndroidRequests_route"
    _change(copied_db, f'UPDATE "{table}" SET longitude = longitude + 2e-14 WHERE id = 5')
    assert _compare(city_url, copied_db, table).changed_rows == 1


def test_missing_and_extra_rows_are_distinguished(city_db: str, copied_db: str) -> None:
    table = "AndroidRequests_activetoken"
    _change(city_db, f'DELETE FROM "{table}" WHERE id IN (1, 40)')
    _change(copied_db, f'DELETE FROM "{table}" WHERE id IN (2, 3, 39)')
    found = _compare(city_db, copied_db, table)
    assert (found.sender_rows, found.receiver_rows) == (38, 37)
    assert (found.missing_rows, found.extra_rows, found.changed_rows) == (3, 2, 0)


def test_rewritten_columns_are_left_out_and_named(city_url: str, copied_db: str) -> None:
    _change(copied_db, f'UPDATE "{BUSES}" SET "registrationPlate" = \'AB CD 12\'')
    assert _compare(city_url, copied_db, BUSES).changed_rows > 500
    found = _compare(city_url, copied_db, BUSES, column="registrationPlate")
    assert found.equal
    assert found.columns == ("id", "uuid")
    assert found.excluded_columns == ("registrationPlate",)


def test_receiver_columns_do_not_count(city_url: str, copied_db: str) -> None:
    _change(copied_db, f'ALTER TABLE "{BUSES}" ADD COLUMN transformed boolean DEFAULT true')
    assert _compare(city_url, copied_db, BUSES).equal


def test_column_of_another_type_is_no_equality(city_url: str, copied_db: str) -> None:
    _change(copied_db, f'ALTER TABLE "{BUSES}" ALTER COLUMN uuid TYPE text')
    found = _compare(city_url, copied_db, BUSES)
    assert found.unlike_columns == ("uuid",)
    assert found.differing_rows == 0
    assert not found.equal


def test_table_that_the_receiver_lacks_is_all_missing(city_url: str, empty_database: str) -> None:
    found = _compare(city_url, empty_database, BUSES)
    assert (found.missing_rows, found.receiver_rows) == (600, 0)
    assert not found.equal


def test_session_settings_of_a_server_do_not_matter(city_url: str, copied_db: str) -> None:
    _change(
        copied_db,
        "ALTER ROLE postgres IN DATABASE "
        f"{copied_db.rpartition('/')[2]} SET TimeZone = 'Asia/Kolkata'",
    )
    assert _compare(city_url, copied_db, EVENTS).equal


def test_media_differ_by_content_not_by_time(tmp_path: Path) -> None:
    sender, receiver = tmp_path / "sender", tmp_path / "receiver"
    for folder, changed in ((sender, b"a"), (receiver, b"b")):
        (folder / "sub").mkdir(parents=True)
        (folder / "same.jpeg").write_bytes(b"same")
        (folder / "sub" / "ñ changed.jpeg").write_bytes(changed)
    (sender / "new.jpeg").write_bytes(b"new")
    (receiver / "own.jpeg").write_bytes(b"own")
    (sender / "notes.txt").write_bytes(b"")
    found = compare_media(sender, receiver, ["*.jpeg"])
    assert found.missing == ("new.jpeg",)
    assert found.changed == ("sub/ñ changed.jpeg",)
    assert found.extra == ("own.jpeg",)
    assert not found.equal


@pytest.mark.long
def test_report_names_the_table_and_the_row_that_differ(city_url: str, copied_db: str) -> None:
    _change(copied_db, f'UPDATE "{BUSES}" SET uuid = gen_random_uuid() WHERE id = 77')
    console = Console(width=160, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(database_table(prove_equal_tables(city_url, copied_db)))
    text = captured.get()
    assert "differs, first at (77)" in text
    assert text.count("equal") == 23
    assert "103,548" in text


def test_media_line_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "receiver").mkdir()
    (tmp_path / "sender").mkdir()
    (tmp_path / "sender" / "new.jpeg").write_bytes(b"12")
    line = media_line(compare_media(tmp_path / "sender", tmp_path / "receiver"))
    assert "1 missing" in line.plain
    assert line.plain.endswith("differs (new.jpeg)")
