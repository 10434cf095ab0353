"""A database whose clock was set back: the times of rows prove nothing to tables not read whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import time_since_boot
from ar_sync_pipeline.export import server_clock
from ar_sync_pipeline.export.server_clock import ClockReading, longest_set_back
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import dump_partial
from ar_sync_pipeline.sync.dump.known_clocks import (
    CLOCKS_FILE,
    Reread,
    last_reread,
    remember_clocks,
    remember_reread,
    set_back_since,
)
from ar_sync_pipeline.sync.dump.sender_journal import remember_receipts, remember_sent
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest, TableDump
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
    described["watermark_limit_mb"] = 0
    described["table"]["app_parent"]["watermark"] = True
    filled.catalog = Catalog.model_validate(described)
    return filled


def unread(sites: TwoSites) -> None:
    """Forbid the large table's read."""
    described = sites.catalog.model_dump(mode="json", exclude_unset=True)
    described["table"]["app_child"]["watermark"] = False
    sites.catalog = Catalog.model_validate(described)


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


def dump(sites: TwoSites, since: Path, state: ReceiptState | None = None) -> TableDump:
    """Dump and send a partial after an archive, which the receiver does not apply."""
    scratch = sites.folder / "scratch"
    mark = watermark_of(sites.spool / since.parent.name / since.name.removeprefix("NEW_"))
    build = open_build(scratch, uuid4().hex)
    request = PartialRequest(recent_window(1), timedelta(minutes=15), mark)
    found = dump_partial(sites.database, build, request)
    manifest = verify_archive(sites.seal(build), signing_keys=())
    remember_sent(scratch, manifest, 1, datetime.now(UTC))
    if state is not None:
        receipt = Receipt(archive=manifest.name.applied, state=state, at=datetime.now(UTC))
        remember_receipts(scratch, {manifest.name.applied: receipt})
    return found


def count_in(found: TableDump) -> int:
    return sum(table.row_count for table in found.tables if table.name == "app_child")


@pytest.mark.long
def test_large_tables_are_not_read_by_each_partial_while_the_receiver_parks_them(
    sites: TwoSites, steady: SteadyClock
) -> None:
    complete = base(sites)
    steady.boot_id = "two"
    sites.at_sender(CHANGED.format("5 hours", 7))
    first, second = (dump(sites, complete, ReceiptState.PARKED) for _ in range(2))
    assert first.reread_tables == ("app_child",)
    assert not first.untracked_tables
    assert count_in(first) == 1
    assert not second.reread_tables
    assert second.untracked_tables == ("app_child",)
    assert not count_in(second)
    steady.ahead += timedelta(minutes=40)
    sites.at_sender(CHANGED.format("39 min", 8))
    assert count_in(dump(sites, complete)) == 1, "set back after the first partial"
    steady.boot_id = "three"
    assert dump(sites, complete).reread_tables == ("app_child",)
    sites.load()
    assert equal(sites)


@pytest.mark.long
@pytest.mark.parametrize("state", [None, ReceiptState.QUARANTINED])
def test_large_tables_are_read_again_if_the_partial_that_read_them_is_refused_or_lost(
    sites: TwoSites, steady: SteadyClock, state: ReceiptState | None
) -> None:
    complete = base(sites)
    steady.boot_id = "two"
    partials = [dump(sites, complete, state) for _ in range(2)]
    assert [one.reread_tables for one in partials] == [("app_child",)] * 2
    build = open_build(sites.folder / "scratch", "not-sent")
    mark = watermark_of(sites.spool / "complete" / complete.name.removeprefix("NEW_"))
    steady.boot_id = "three"
    request = PartialRequest(recent_window(1), timedelta(minutes=15), mark)
    assert dump_partial(sites.database, build, request).reread_tables
    assert dump(sites, complete).reread_tables


@pytest.mark.parametrize("is_new", [True, False])
def test_rows_of_a_clock_that_a_start_set_back_are_found_by_later_partials(
    tmp_path: Path, is_new: bool
) -> None:
    hour = timedelta(hours=1)
    since, at = (
        Watermark(
            snapshot_at=BOOT + n * hour,
            snapshot="1:1:",
            system_identifier="1",
            timeline=1,
            oldest_write_at=BOOT + n * hour - (2 * hour if is_new and n == 2 else timedelta()),
            lsn=1,
        )
        for n in (1, 2)
    )
    remember_reread(tmp_path, Reread(since=since, at=at))
    known = last_reread(tmp_path, since)
    assert known is not None
    assert known.until_then == (hour if is_new else timedelta())
    assert last_reread(tmp_path, at) is None


def test_table_that_the_catalog_forbids_to_read_is_named_instead(
    sites: TwoSites, steady: SteadyClock
) -> None:
    unread(sites)
    complete = base(sites)
    steady.boot_id = "two"
    found = dump(sites, complete)
    assert not found.reread_tables
    assert found.untracked_tables == ("app_child",)


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
    assert longest_set_back(read(1, boot_id=""), [], read(2, boot_id="")) is None, "no /proc"


def test_reading_of_a_dump_that_began_earlier_and_is_recorded_later(tmp_path: Path) -> None:
    minute = timedelta(minutes=1)
    remember_clocks(tmp_path, BOOT + 2 * minute, read(2, back=minute))
    remember_clocks(tmp_path, BOOT + minute, read(1))
    assert set_back_since(tmp_path, BOOT + minute, read(3)) == minute
    assert set_back_since(tmp_path, BOOT, read(3)) is None
