"""A receiver's URL that names the sender's database: nothing is written there, nothing is moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.errors import ReceiverIsSenderError
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline.sync.load.preview import preview_load
from ar_sync_pipeline.sync.load.retention import run_retention
from ar_sync_pipeline.sync.watch.other_side import sender_as_written
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, rows, watermark_of
from ar_sync_pipeline_tests.open_sessions import session

SCHEMA = "SELECT to_regnamespace('ar_sync')"


@pytest.fixture(params=["waiting", "applied", "parked"])
def misdirected(small_sites: TwoSites, request: pytest.FixtureRequest) -> TwoSites:
    """A complete in one of its states, and a receiver whose URL is the sender's."""
    small_sites.at_sender("INSERT INTO app_parent (code) VALUES ('a')")
    small_sites.complete()
    if request.param == "parked":
        small_sites.at_receiver("ALTER TABLE app_child RENAME amount TO other")
    if request.param != "waiting":
        small_sites.load()
        small_sites.at_receiver("DROP SCHEMA ar_sync CASCADE")
    small_sites.environ["AR_SYNC_RECEIVER_DATABASE_URL"] = small_sites.sender
    return small_sites


def archives(sites: TwoSites) -> list[Path]:
    return sorted(sites.spool.rglob("*.tar"))


def test_loads_refuse_it_before_they_write_or_move_anything(misdirected: TwoSites) -> None:
    before = archives(misdirected)
    settings = misdirected.settings
    with pytest.raises(ReceiverIsSenderError, match="the sender's own database") as caught:
        misdirected.load()
    assert "AR_SYNC_RECEIVER_DATABASE_URL" in caught.value.remedy
    with pytest.raises(ReceiverIsSenderError):
        load_archives(settings, misdirected.catalog, None, misdirected.clock)
    with pytest.raises(ReceiverIsSenderError):
        preview_load(settings, misdirected.catalog, before[0], misdirected.clock)
    assert archives(misdirected) == before
    assert rows(misdirected.sender, SCHEMA) == [(None,)]


def test_what_only_reads_creates_nothing(misdirected: TwoSites) -> None:
    before = archives(misdirected)
    assert not receiver_status(misdirected.settings, misdirected.catalog, misdirected.clock()).ok
    assert view_ledger(misdirected.settings).approvals == {}
    kept = run_retention(misdirected.settings, misdirected.clock, dry_run=False).decisions
    assert [one.keep for one in kept] == [True]
    assert archives(misdirected) == before
    assert rows(misdirected.sender, SCHEMA) == [(None,)]


def test_right_url_loads_what_was_there(misdirected: TwoSites) -> None:
    with pytest.raises(ReceiverIsSenderError):
        misdirected.load()
    misdirected.environ.clear()
    if rows(misdirected.receiver, "SELECT FROM pg_attribute WHERE attname = 'other'"):
        misdirected.at_receiver("ALTER TABLE app_child RENAME other TO amount")
    misdirected.load()
    assert equal(misdirected, "SELECT id, code FROM app_parent")


@pytest.mark.long
def test_one_archive_of_this_database_stops_no_other(filled: TwoSites) -> None:
    """Somebody else's archive, dated in the future, in the spool of a receiver with a ledger."""
    filled.complete()
    filled.load()
    filled.at_sender("UPDATE app_child SET amount = 5 WHERE id = 3")
    ahead = replace(filled, sender=filled.receiver, clock=lambda: datetime(2100, 1, 1, tzinfo=UTC))
    stray = ahead.complete()
    good = filled.complete()
    report = filled.load()
    assert [one.manifest.name.waiting for one in report.loaded] == [good.name]
    assert equal(filled)
    assert not stray.exists()


@pytest.fixture
def second_sender(filled: TwoSites) -> TwoSites:
    """A sender with production's name, whose database is that of production's receiver."""
    filled.sender_name = "production"
    filled.environ["AR_SYNC_SENDER_NAME"] = "production"
    return replace(filled, sender=filled.receiver)


def parked(sites: TwoSites) -> list[str]:
    return [archive.name.applied for archive in list_parked(sites.spool)]


@pytest.mark.long
@pytest.mark.parametrize("kind", list(ArchiveKind))
def test_second_sender_that_dumps_the_receiver_is_named_and_its_archive_ends(
    filled: TwoSites, second_sender: TwoSites, kind: ArchiveKind
) -> None:
    since = watermark_of(filled.complete())
    filled.load()
    if kind is ArchiveKind.COMPLETE:
        second_sender.complete()
    else:
        second_sender.partial(recent_window(), since=since)
    filled.load()
    (rejection,) = receiver_status(filled.settings, filled.catalog, filled.clock()).parked
    assert "another sender dumps this receiver's own database" in rejection.problem
    assert rejection.remedy.startswith("stop the sender whose AR_SYNC_SENDER_DATABASE_URL is this")
    (database,) = rows(filled.sender, "SELECT current_database()")[0]
    assert f"superseded by the next complete of database {database}, which" in rejection.remedy
    with session(filled.receiver) as connection:
        (finding,) = sender_as_written(filled.settings, connection, filled.clock())
    assert (finding.level, finding.remedy) == (Level.WARNING, rejection.remedy)

    filled.at_sender("UPDATE app_child SET amount = 5, changed = now() WHERE id = 3")
    filled.partial(recent_window(), since=since)
    filled.load()
    (later,) = receiver_status(filled.settings, filled.catalog, filled.clock()).parked
    assert later == rejection
    filled.complete()
    filled.load()
    filled.load()
    assert parked(filled) == []
    assert equal(filled)
    shown = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert (shown.count("superseded"), shown.ok) == (1, True)
