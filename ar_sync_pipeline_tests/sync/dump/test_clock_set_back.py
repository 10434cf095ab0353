"""A database whose clock was set back: the times of rows prove nothing to tables not read whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import time_since_boot
from ar_sync_pipeline.export import server_clock
from ar_sync_pipeline.export.server_clock import ClockReading, longest_set_back
from ar_sync_pipeline.sync.dump.known_clocks import CLOCKS_FILE, remember_clocks, set_back_since
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, rows, watermark_of

CHANGED = "UPDATE app_child SET amount = amount + 1, changed = now() - interval '{}' WHERE id = {}"
BOOT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class SteadyClock:
    """The clock of the sender's machine that nobody sets; the database's is the true one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = timedelta()
        self.boot_id = "one"
        since_boot = time_since_boot
        monkeypatch.setattr(server_clock, "time_since_boot", lambda: since_boot() + self.ahead)
        monkeypatch.setattr(server_clock, "boot_id", lambda: self.boot_id)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> SteadyClock:
    return SteadyClock(monkeypatch)


@pytest.fixture
def sites(filled: TwoSites, steady: SteadyClock) -> TwoSites:
    """Two equal servers; partials do not read the table of children."""
    assert steady.boot_id
    described = filled.catalog.model_dump(mode="json", exclude_unset=True)
    described["table"]["app_child"]["watermark"] = False
    filled.catalog = Catalog.model_validate(described)
    return filled


def partial(sites: TwoSites, since: Path, minutes: int = 15) -> Path:
    """Dump and load a partial after an archive."""
    mark = watermark_of(sites.spool / since.parent.name / since.name.removeprefix("NEW_"))
    path = sites.partial(recent_window(1), minutes=minutes, since=mark)
    sites.load()
    return path


def base(sites: TwoSites) -> Path:
    path = sites.complete()
    sites.load()
    return path


def count(sites: TwoSites, path: Path) -> int:
    """Return how many rows of the children a loaded partial carried."""
    name = path.name.removeprefix("NEW_")
    query = (
        "SELECT coalesce(sum((p ->> 'archive_rows')::int), 0) FROM ar_sync.applied_archive,"
        " jsonb_array_elements(plan) p"
        f" WHERE name = '{name}' AND p ->> 'table' = 'app_child'"
    )
    return int(str(rows(sites.receiver, query)[0][0]))


@pytest.mark.parametrize(
    ("set_back", "minutes"), [(4, 2), pytest.param(40, 15, marks=pytest.mark.long)]
)
def test_rows_that_a_clock_stamps_after_it_was_set_back_are_found(
    sites: TwoSites, steady: SteadyClock, set_back: int, minutes: int
) -> None:
    complete = base(sites)
    steady.ahead += timedelta(minutes=set_back)
    sites.at_sender(CHANGED.format(f"{set_back - 0.5} min", 7))
    partial(sites, complete, minutes)
    assert equal(sites)


@pytest.mark.long
def test_after_a_start_of_the_machine_large_tables_are_read_once(
    sites: TwoSites, steady: SteadyClock
) -> None:
    complete = base(sites)
    steady.boot_id = "two"
    sites.at_sender(CHANGED.format("5 hours", 7))
    first = partial(sites, complete)
    assert equal(sites)
    sites.at_sender(CHANGED.format("5 hours", 8))
    partial(sites, first)
    assert not equal(sites), "a row that says it is old, by a clock that was not set back"


def test_without_the_readings_large_tables_are_read_once(sites: TwoSites) -> None:
    complete = base(sites)
    (sites.folder / "scratch" / CLOCKS_FILE).unlink()
    sites.at_sender(CHANGED.format("5 hours", 7))
    partial(sites, complete)
    assert equal(sites)


def test_small_correction_repeats_no_old_row(sites: TwoSites, steady: SteadyClock) -> None:
    sites.at_sender("UPDATE app_child SET changed = now() - interval '17 min' WHERE id < 100")
    complete = base(sites)
    steady.ahead += SECOND
    assert not count(sites, partial(sites, complete))


def read(minute: float, *, back: timedelta = timedelta(), **starts: object) -> ClockReading:
    known = {"boot_id": "one", "server_started_at": BOOT, **starts}
    times = {"latest_boot": BOOT - back, "earliest_boot": BOOT - back}
    return ClockReading.model_validate({"since_boot": timedelta(minutes=minute), **times, **known})


def test_only_the_way_back_counts() -> None:
    minute = timedelta(minutes=1)
    assert longest_set_back(read(1), [], read(2)) == timedelta()
    assert longest_set_back(read(1), [], read(2, back=minute)) == minute
    assert longest_set_back(read(1), [read(2, back=minute)], read(3)) == minute
    assert longest_set_back(read(2), [read(1, back=minute)], read(3)) == timedelta()
    assert longest_set_back(read(1, back=minute), [], read(2)) == timedelta()


def test_after_a_start_nothing_is_known() -> None:
    assert longest_set_back(read(1), [], read(2, boot_id="two")) is None
    assert longest_set_back(read(1), [], read(2, server_started_at=BOOT + SECOND)) is None
    assert longest_set_back(read(2), [], read(1)) is None, "a machine set back to an earlier state"


def test_reading_of_a_dump_that_began_earlier_and_is_recorded_later(tmp_path: Path) -> None:
    minute = timedelta(minutes=1)
    remember_clocks(tmp_path, BOOT + 2 * minute, read(2, back=minute))
    remember_clocks(tmp_path, BOOT + minute, read(1))
    assert set_back_since(tmp_path, BOOT + minute, read(3)) == minute
    assert set_back_since(tmp_path, BOOT, read(3)) is None
