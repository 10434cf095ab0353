"""Every type of `changed_at`: exact outside clock changes, and never too few rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts

SANTIAGO = ZoneInfo("America/Santiago")
# On 5 April 2026 at 03:00 UTC the clocks of Santiago went back from 24:00 to 23:00; on
# 6 September at 04:00 UTC they went forward from 24:00 to 01:00.
BACK = datetime(2026, 4, 5, 3, tzinfo=UTC)
FORWARD = datetime(2026, 9, 6, 4, tzinfo=UTC)
FIVE = timedelta(minutes=5)


def select(source: Source, start: datetime, length: timedelta = FIVE) -> int:
    window = Window(start=start, end=start + length)
    return row_counts(source.partial(None, window)).get("t_a", 0)


@pytest.fixture
def local(source: Source) -> Source:
    """Insert a row for each minute of a day and a half around both changes, in local time."""
    source.run("CREATE TABLE t_a (id serial PRIMARY KEY, at timestamp, instant timestamptz)")
    for change in (BACK, FORWARD):
        source.run(
            "INSERT INTO t_a (at, instant) SELECT u AT TIME ZONE 'America/Santiago', u FROM"
            f" generate_series(timestamptz '{change - timedelta(hours=18)}',"
            f" timestamptz '{change + timedelta(hours=18)}', interval '1 minute') u"
        )
    source.catalog = catalog(
        table={"t_a": {"changed_at": "at", "changed_at_zone": "America/Santiago"}}
    )
    return source


@pytest.mark.parametrize("change", [BACK, FORWARD])
@pytest.mark.parametrize("minutes", [-600, -61, -5, 0, 30, 200])
def test_local_time_selects_exactly_what_was_written_in_the_interval(
    local: Source, change: datetime, minutes: int
) -> None:
    """In an hour that occurs twice, rows of both are chosen: they cannot be distinguished."""
    start = change + timedelta(minutes=minutes)
    read_in_interval = {clock(start + timedelta(minutes=n)) for n in range(5)}
    written = [clock(change + timedelta(minutes=n)) for n in range(-18 * 60, 18 * 60 + 1)]
    assert select(local, start) == sum(text in read_in_interval for text in written)


def clock(instant: datetime) -> str:
    """Return the local time of Santiago."""
    return f"{instant.astimezone(SANTIAGO):%F %R}"


@pytest.mark.parametrize("change", [BACK, FORWARD])
def test_interval_over_a_change_of_the_clocks_misses_no_row(
    local: Source, change: datetime
) -> None:
    start, length = change - timedelta(minutes=30), timedelta(hours=1)
    assert 60 <= select(local, start, length) <= 180


def test_date_selects_the_days_that_the_interval_touches(source: Source) -> None:
    source.run(
        "CREATE TABLE t_a (id serial PRIMARY KEY, at date)",
        "INSERT INTO t_a (at) SELECT date '2026-06-01' + n FROM generate_series(0, 29) n",
    )
    source.catalog = catalog(
        table={"t_a": {"changed_at": "at", "changed_at_zone": "America/Santiago"}}
    )
    noon = datetime(2026, 6, 10, 12, tzinfo=SANTIAGO).astimezone(UTC)
    midnight = datetime(2026, 6, 11, tzinfo=SANTIAGO).astimezone(UTC)
    assert select(source, noon) == 1
    assert select(source, midnight - FIVE) == 1
    assert select(source, midnight - timedelta(minutes=1)) == 2


@pytest.mark.parametrize(
    ("definition", "rules", "sentence"),
    [
        ("at timestamp", {}, "column at of t_a is a timestamp without time zone"),
        ("at text", {}, "column at of t_a is a text"),
        ("at bigint", {"changed_at_zone": "UTC"}, "column at of t_a is a bigint"),
        ("at time", {}, "column at of t_a is a time without time zone"),
        ("past timestamptz", {}, "table t_a has no column at"),
        ("at timestamp", {"changed_at_zone": "Mars"}, "knows no time zone Mars"),
    ],
)
def test_other_types_and_zones_are_refused_by_name(
    source: Source, definition: str, rules: dict[str, str], sentence: str
) -> None:
    source.run(f"CREATE TABLE t_a (id integer PRIMARY KEY, {definition})")
    source.catalog = catalog(table={"t_a": {"changed_at": "at", **rules}})
    with pytest.raises(SchemaError, match=sentence):
        select(source, BACK)


def test_timestamp_with_time_zone_and_precision_is_exact(source: Source) -> None:
    source.run(
        "CREATE TABLE t_a (id serial PRIMARY KEY, at timestamptz(0))",
        f"INSERT INTO t_a (at) SELECT timestamptz '{BACK}' + n * interval '1 minute'"
        " FROM generate_series(-60, 60) n",
    )
    source.catalog = catalog(table={"t_a": {"changed_at": "at"}})
    assert select(source, BACK) == 5
