"""The receiver's reports to the sender stay readable, however much is wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from shutil import rmtree

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.clock import utc_now
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger_tables import load_lock
from ar_sync_pipeline.spool.checkpoint import MOST_PARKED, Checkpoint
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE, prepare_spool
from ar_sync_pipeline.spool.reasons import Reason, reason_path
from ar_sync_pipeline.spool.receipts import ReceiptState, list_receipts, read_receipt
from ar_sync_pipeline.sync.load.acknowledge import acknowledge, acknowledge_by_hand
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def test_checkpoint_names_many_parked_archives_with_the_longest_reasons(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    for number in range(MOST_PARKED + 5):
        name = ArchiveName(ArchiveKind.PARTIAL, NOW - timedelta(minutes=number))
        archive = filled.spool / PARKED / name.waiting
        archive.write_bytes(b"")
        # Anybody who may write to the spool may have written it.
        reason = Reason(reason="\x01" * 2000, remedy="", error="", since=NOW, at=NOW)
        reason_path(archive).write_text(reason.model_dump_json())
    with connect(filled.receiver, application="test") as connection:
        acknowledge(filled.settings, connection, lambda: NOW)
    checkpoint = Checkpoint.read(filled.spool, signing_keys=())
    assert checkpoint is not None
    assert len(checkpoint.parked) == MOST_PARKED
    assert checkpoint.parked[0].reason.startswith(r"\x01")


def test_the_sender_hears_of_rejected_archives_that_a_person_has_moved_away(
    filled: TwoSites,
) -> None:
    filled.complete()
    filled.load()
    assert not acknowledge_by_hand(filled.settings, lambda: NOW)
    path = filled.partial(recent_window())
    path.write_bytes(path.read_bytes()[:-2000])
    filled.admit()
    assert quarantined(filled) == 1
    assert not acknowledge_by_hand(filled.settings, lambda: NOW)
    for file in (filled.spool / QUARANTINE).iterdir():
        file.unlink()
    assert acknowledge_by_hand(filled.settings, lambda: NOW)
    assert quarantined(filled) == 0
    assert not acknowledge_by_hand(filled.settings, lambda: NOW)


def test_archive_after_a_gap_keeps_its_receipt_when_the_spool_is_lost(filled: TwoSites) -> None:
    """The checkpoint is before the gap: a sender that was set back learns of it by this only."""
    filled.complete()
    filled.load()
    name = filled.partial(recent_window()).name.removeprefix("NEW_")
    filled.load()
    rmtree(filled.spool)
    filled.spool.mkdir()
    prepare_spool(filled.spool)
    assert acknowledge_by_hand(filled.settings, lambda: NOW)
    assert [found.applied for found in list_receipts(filled.spool)] == [name]


@pytest.mark.long
def test_restored_database_does_not_have_what_its_checkpoint_says(filled: TwoSites) -> None:
    """Until its next load nobody would see that the receiver is behind."""
    since = watermark_of(filled.complete())
    filled.load()
    before = Checkpoint.read(filled.spool, signing_keys=())
    filled.partial(recent_window(), since=since)
    filled.load()
    assert not acknowledge_by_hand(filled.settings, lambda: NOW)
    assert receiver_status(filled.settings, filled.catalog, utc_now()).count("waiting") == 0
    filled.at_receiver("DELETE FROM ar_sync.applied_archive WHERE kind = 'partial'")
    found = receiver_status(filled.settings, filled.catalog, utc_now())
    assert "1 archive waits for the next load" in str(found.lag)
    assert acknowledge_by_hand(filled.settings, lambda: NOW)
    after = Checkpoint.read(filled.spool, signing_keys=())
    assert before is not None
    assert after is not None
    assert after.watermark == before.watermark
    assert not acknowledge_by_hand(filled.settings, lambda: NOW)


def test_tables_that_the_checkpoint_does_not_name_are_counted(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(
        "INSERT INTO ar_sync.table_definition SELECT 't' || n, definition, now()"
        " FROM generate_series(1, 16) n, ar_sync.table_definition WHERE table_name = 'app_child'"
    )
    with connect(filled.receiver, application="test") as connection:
        acknowledge(filled.settings, connection, lambda: NOW)
    checkpoint = Checkpoint.read(filled.spool, signing_keys=())
    assert checkpoint is not None
    assert (len(checkpoint.unverified), checkpoint.more_unverified) == (5, 11)


@pytest.mark.long
def test_a_load_at_work_writes_the_checkpoint_itself(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    path = filled.partial(recent_window())
    path.write_bytes(path.read_bytes()[:-2000])
    filled.admit()
    for file in (filled.spool / QUARANTINE).iterdir():
        file.unlink()
    with connect(filled.receiver, application="another load") as connection, load_lock(connection):
        assert not acknowledge_by_hand(filled.settings, lambda: NOW)
    assert quarantined(filled) == 1


@pytest.mark.parametrize("days", [7, 9, 400])
def test_receipts_of_archives_in_the_spool_stay_whatever_the_clocks_show(
    filled: TwoSites, days: int
) -> None:
    """The receiver's clock is ahead, the sender's is behind, or an archive waits for so long."""
    applied = filled.complete()
    filled.load()
    parked = ArchiveName(ArchiveKind.COMPLETE, datetime.now(UTC) - timedelta(hours=1))
    archive = filled.spool / PARKED / parked.waiting
    archive.write_bytes(b"")
    reason = Reason(reason="lacks something", remedy="", error="", since=NOW, at=NOW)
    reason_path(archive).write_text(reason.model_dump_json())
    later = datetime.now(UTC) + timedelta(days=days)
    with connect(filled.receiver, application="test") as connection:
        for _ in range(2):
            acknowledge(filled.settings, connection, lambda: later)
            found = [
                read_receipt(filled.spool, name, signing_keys=())
                for name in list_receipts(filled.spool)
            ]
            states = [receipt.state for receipt in found if receipt is not None]
            assert states == [ReceiptState.PARKED, ReceiptState.APPLIED]
        archive.unlink()
        applied.with_name(applied.name.removeprefix("NEW_")).unlink()
        acknowledge(filled.settings, connection, lambda: later)
        assert len(list_receipts(filled.spool)) == (2 if days < 8 else 0)


@pytest.mark.parametrize("folder", [QUARANTINE, PARKED])
def test_applied_archive_stays_applied_though_a_damaged_file_of_its_name_comes_back(
    filled: TwoSites, folder: str
) -> None:
    """Retention has deleted its own file; the spool is restored, or a repeated upload is cut."""
    waiting = filled.complete()
    filled.load()
    applied = waiting.with_name(waiting.name.removeprefix("NEW_"))
    name = ArchiveName.parse(applied.name)
    assert name is not None
    before = read_receipt(filled.spool, name, signing_keys=())
    applied.unlink()
    if folder == QUARANTINE:
        waiting.write_bytes(b"junk" * 100)
        assert [one.name for one in filled.admit().rejected] == [applied.name]
    else:
        parked = filled.spool / PARKED / waiting.name
        parked.write_bytes(b"junk" * 100)
        reason = Reason(reason="lacks something", remedy="", error="", since=NOW, at=NOW)
        reason_path(parked).write_text(reason.model_dump_json())
    with connect(filled.receiver, application="test") as connection:
        acknowledge(filled.settings, connection, lambda: NOW)
    assert before is not None
    assert before.state is ReceiptState.APPLIED
    assert read_receipt(filled.spool, name, signing_keys=()) == before


def quarantined(sites: TwoSites) -> int:
    checkpoint = Checkpoint.read(sites.spool, signing_keys=())
    assert checkpoint is not None
    return checkpoint.quarantined
