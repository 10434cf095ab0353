"""Names of old archives: local times, each of which means exactly one instant (D37)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.legacy.archive_names import OldArchiveName, instant_of

SANTIAGO = ZoneInfo("America/Santiago")


@pytest.mark.parametrize(
    ("stamp", "instant"),
    [
        ("2017-09-25__03_30_00", datetime(2017, 9, 25, 6, 30, tzinfo=UTC)),
        ("2017-07-25__03_30_00", datetime(2017, 7, 25, 7, 30, tzinfo=UTC)),
        # Clocks go back from 24:00 to 23:00: the first of the two.
        ("2017-05-13__23_30_00", datetime(2017, 5, 14, 2, 30, tzinfo=UTC)),
        # Clocks go forward from 00:00 to 01:00: as if they had not.
        ("2017-08-13__00_30_00", datetime(2017, 8, 13, 4, 30, tzinfo=UTC)),
    ],
)
def test_a_local_time_means_one_instant(stamp: str, instant: datetime) -> None:
    assert instant_of(stamp, SANTIAGO) == instant


def test_repeated_hour_is_resolved_by_the_time_of_the_archive() -> None:
    first = datetime(2017, 5, 14, 2, 30, tzinfo=UTC)
    for exact in (first, first + timedelta(hours=1)):
        near = exact + timedelta(seconds=5)
        assert instant_of("2017-05-13__23_30_00", SANTIAGO, near) == exact
    # A wrong clock cannot move a time that is said once.
    once = instant_of("2017-09-25__03_30_00", SANTIAGO, first)
    assert once == datetime(2017, 9, 25, 6, 30, tzinfo=UTC)


@given(
    local=st.datetimes(datetime(1990, 1, 1), datetime(8999, 1, 1)),  # noqa: DTZ001  as in a name
    zone=st.sampled_from(["America/Santiago", "Europe/Dublin", "Australia/Lord_Howe", "UTC"]),
)
def test_every_local_time_has_an_instant_that_reads_back_within_an_hour(
    local: datetime, zone: str
) -> None:
    local = local.replace(microsecond=0)
    instant = instant_of(f"{local:%Y-%m-%d__%H_%M_%S}", ZoneInfo(zone))
    back = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert abs(back - local) <= timedelta(hours=1)


def test_kind_is_that_of_the_folder_or_in_the_name() -> None:
    plain = "NEW_backup_2017-09-25__03_30_00.tar.gz"
    named = "NEW_backup_partial_2017-09-25__03_30_00.tar.gz"
    in_folder = OldArchiveName.read(plain, SANTIAGO, ArchiveKind.PARTIAL)
    assert in_folder is not None
    assert in_folder.waiting == named
    assert in_folder.applied == plain.removeprefix("NEW_")
    assert OldArchiveName.read(named, SANTIAGO) == in_folder
    assert OldArchiveName.read(plain, SANTIAGO) is None
    assert OldArchiveName.read(named, SANTIAGO, ArchiveKind.COMPLETE) is None


@pytest.mark.parametrize(
    "name",
    [
        "backup_2017-02-30__03_30_00.tar.gz",
        "backup_2017-09-25__24_30_00.tar.gz",
        "backup_0001-09-25__03_30_00.tar.gz",
        "backup_9999-12-31__23_59_59.tar.gz",
        "backup_2017-09-25__03_30_00.tar.gz.part",
        "backup_2017-09-25__03_30_00.tar",
        "backup_2017-09-25__03_30_0\u0660.tar.gz",
        "../backup_2017-09-25__03_30_00.tar.gz",
        "backup_complete_20170925T063000.000000Z.tar",
    ],
)
def test_nothing_else_is_such_a_name(name: str) -> None:
    assert OldArchiveName.read(name, SANTIAGO, ArchiveKind.COMPLETE) is None
