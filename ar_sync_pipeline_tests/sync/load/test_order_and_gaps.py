"""In any order of delivery: the newest state stays, gaps are known, receiver-only data is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, read_receipt
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
)
from ar_sync_pipeline_tests.fix_sites import (
    CHILDREN,
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
    watermark_of,
)


def checkpoint(sites: TwoSites) -> Checkpoint:
    found = Checkpoint.read(sites.spool, signing_keys=())
    assert found is not None
    return found


def receipt(sites: TwoSites, path: Path) -> Receipt:
    name = next(a.name for a in archives(sites) if a.name.applied in path.name)
    found = read_receipt(sites.spool, name, signing_keys=())
    assert found is not None
    return found


def archives(sites: TwoSites) -> list[SpooledArchive]:
    return [*list_applied(sites.spool), *list_parked(sites.spool), *list_quarantined(sites.spool)]


def withhold(path: Path) -> Path:
    """Rename an archive as if its upload were not finished; return the new path."""
    return path.rename(path.with_name(path.name + ".on-its-way"))


def deliver(path: Path) -> None:
    path.rename(path.with_name(path.name.removesuffix(".on-its-way")))


def applied(path: Path) -> Path:
    return path.with_name(path.name.removeprefix("NEW_"))


class TestLateComplete:
    """A complete that arrives hours after later partials never restores an older state."""

    @pytest.mark.long
    def test_later_partials_are_applied_behind_it(self, filled: TwoSites) -> None:
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender("UPDATE app_child SET amount = 1, changed = now() WHERE id < 10")
        filled.partial(recent_window(), since=first)
        filled.load()
        deliver(late)
        report = filled.load()
        assert [archive.again for archive in report.loaded] == [False, True]
        assert equal(filled)

    def test_what_is_the_receivers_own_of_newer_rows_survives_it(self, filled: TwoSites) -> None:
        """The complete lacks the row; the partial after it restores it."""
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender(
            "INSERT INTO app_parent (id, code) VALUES (900, 'new')",
            "INSERT INTO app_child (id, parent_id) VALUES (9000, 900)",
        )
        filled.partial(recent_window(), since=first)
        filled.load()
        filled.at_receiver(
            "UPDATE app_parent SET seen = true WHERE id = 900",
            "INSERT INTO app_note (parent_id, maybe_id, text) VALUES (900, NULL, 'on a parent'),"
            " (3, 9000, 'on a child')",
        )
        deliver(late)
        filled.load()
        assert equal(filled)
        notes = rows(filled.receiver, "SELECT parent_id, maybe_id, text FROM app_note ORDER BY 3")
        assert notes == [(3, 9000, "on a child"), (900, None, "on a parent")]
        assert rows(filled.receiver, "SELECT seen FROM app_parent WHERE id = 900") == [(True,)]

    def test_rows_that_only_come_back_do_not_trip_the_delete_guard(self, filled: TwoSites) -> None:
        filled.environ["AR_SYNC_DELETE_GUARD"] = "5"
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender("INSERT INTO app_child (parent_id) SELECT 3 FROM generate_series(1, 500)")
        filled.partial(recent_window(), since=first)
        filled.load()
        deliver(late)
        assert filled.load().refused == ()
        assert equal(filled)

    @pytest.mark.long
    def test_it_is_held_back_when_a_later_partial_is_gone(self, filled: TwoSites) -> None:
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender("UPDATE app_child SET amount = 1, changed = now() WHERE id < 10")
        partial = filled.partial(recent_window(), since=first)
        filled.load()
        applied(partial).unlink()
        deliver(late)
        report = filled.load()
        assert report.loaded == ()
        assert "came late" in str(report.refused[0])
        assert [a.name.applied for a in list_parked(filled.spool)] == [
            late.name.removeprefix("NEW_").removesuffix(".on-its-way")
        ]
        assert equal(filled)
        filled.complete()
        report = filled.load()
        assert len(report.superseded) == 1
        assert list_parked(filled.spool) == []

    @pytest.mark.long
    def test_it_is_held_back_when_a_later_partial_no_longer_matches(self, filled: TwoSites) -> None:
        first = watermark_of(filled.complete())
        filled.load()
        filled.at_sender("UPDATE app_parent SET code = 'late' WHERE id = 3")
        before = filled.partial(recent_window(), since=first)
        seen = watermark_of(before)
        late = withhold(before)
        filled.at_sender("UPDATE app_child SET amount = 1, changed = now() WHERE id < 10")
        later = filled.partial(recent_window(), since=seen)
        filled.load()
        for change in (filled.at_sender, filled.at_receiver):
            change("ALTER TABLE app_child ALTER amount TYPE text")
        deliver(late)
        report = filled.load()
        assert report.loaded == ()
        (parked,) = list_parked(filled.spool)
        why = str(read_reason(parked.path))
        assert applied(later).exists()
        assert f"cannot be applied again after it ({applied(later).name} waits" in why
        assert "app_child.amount is double precision at the sender and text at the receiver" in why

    @pytest.mark.long
    def test_parked_archive_is_read_again_only_if_its_file_has_changed(
        self, filled: TwoSites
    ) -> None:
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender("UPDATE app_child SET amount = 1, changed = now() WHERE id < 10")
        partial = filled.partial(recent_window(), since=first)
        filled.load()
        applied(partial).unlink()
        deliver(late)
        filled.load()
        (parked,) = list_parked(filled.spool)
        before = parked.path.stat()
        content = bytearray(parked.path.read_bytes())
        content[-2000] ^= 1
        parked.path.write_bytes(content)
        os.utime(parked.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        # All compared metadata is unchanged, only the bytes are not: the load would detect them.
        filled.load()
        (parked,) = list_parked(filled.spool)
        os.utime(parked.path)
        assert len(filled.admit().quarantined) == 1

    def test_damaged_later_partial_goes_to_quarantine_and_readers_stay_where_they_are(
        self, filled: TwoSites
    ) -> None:
        first = watermark_of(filled.complete())
        filled.load()
        late = withhold(filled.complete(since=first))
        filled.at_sender("UPDATE app_child SET amount = 1, changed = now() WHERE id < 10")
        partial = applied(filled.partial(recent_window(), since=first))
        filled.load()
        content = bytearray(partial.read_bytes())
        content[-2000] ^= 1
        partial.write_bytes(content)
        deliver(late)
        report = filled.load()
        assert [archive.name.kind for archive in list_quarantined(filled.spool)] == ["partial"]
        assert report.loaded == ()
        assert equal(filled)


class TestGaps:
    """A lost archive is a gap: known, named, reported to the sender, closed by a later archive."""

    def test_lost_archive_is_named_and_the_next_one_from_the_checkpoint_closes_it(
        self, filled: TwoSites
    ) -> None:
        base = filled.complete()
        filled.load()
        assert checkpoint(filled).watermark == watermark_of(applied(base))
        filled.at_sender("UPDATE app_child SET amount = 1 WHERE id = 1")
        lost = filled.partial(recent_window(), since=checkpoint(filled).watermark)
        lost_mark = watermark_of(lost)
        lost.unlink()
        filled.at_sender("UPDATE app_child SET amount = 2 WHERE id = 2")
        filled.partial(recent_window(), since=lost_mark)
        report = filled.load()
        assert report.chain is not None
        assert [gap.end for gap in report.chain.gaps] == [lost_mark.snapshot_at]
        assert "may be missing" in str(report.chain.gaps[0])
        assert checkpoint(filled).watermark == watermark_of(applied(base))
        assert checkpoint(filled).gaps == 1
        assert not equal(filled)
        filled.partial(recent_window(), since=checkpoint(filled).watermark)
        report = filled.load()
        assert report.chain is not None
        assert report.chain.gaps == ()
        assert equal(filled)

    def test_restored_database_gets_its_applied_archives_again(self, filled: TwoSites) -> None:
        base = watermark_of(filled.complete())
        filled.load()
        execute(filled.receiver, "CREATE SCHEMA kept", "CREATE TABLE kept.child AS TABLE app_child")
        ledger = rows(filled.receiver, "SELECT archive_id FROM ar_sync.applied_archive")
        filled.at_sender("UPDATE app_child SET amount = 1 WHERE id = 1")
        middle = watermark_of(filled.partial(recent_window(), since=base))
        filled.load()
        filled.at_receiver(
            "BEGIN; DELETE FROM app_child; INSERT INTO app_child TABLE kept.child;"
            f" DELETE FROM ar_sync.applied_archive WHERE archive_id <> '{ledger[0][0]}'; COMMIT"
        )
        assert not equal(filled)
        filled.at_sender("UPDATE app_child SET amount = 2 WHERE id = 2")
        filled.partial(recent_window(), since=middle)
        report = filled.load()
        assert len(report.loaded) == 2
        assert equal(filled)

    def test_complete_that_a_restored_database_has_forgotten_waits_again(
        self, filled: TwoSites
    ) -> None:
        """A load of partials leaves it to the sensor that looks for waiting completes."""
        base = watermark_of(filled.complete())
        filled.load()
        execute(filled.receiver, "CREATE SCHEMA kept", "CREATE TABLE kept.child AS TABLE app_child")
        ledger = rows(filled.receiver, "SELECT archive_id FROM ar_sync.applied_archive")
        filled.at_sender("DELETE FROM app_child WHERE id > 1000")
        forgotten = filled.complete(since=base)
        since = watermark_of(forgotten)
        filled.load()
        filled.at_receiver(
            "BEGIN; DELETE FROM app_child; INSERT INTO app_child TABLE kept.child;"
            f" DELETE FROM ar_sync.applied_archive WHERE archive_id <> '{ledger[0][0]}'; COMMIT"
        )
        filled.at_sender("UPDATE app_child SET amount = 2 WHERE id = 2")
        filled.partial(recent_window(), since=since)
        assert applied(forgotten).exists()
        filled.load([ArchiveKind.PARTIAL])
        assert [a.path for a in list_waiting(filled.spool)] == [forgotten]
        # Archives that the ledger knows keep their names.
        assert len(list_applied(filled.spool)) == 2
        filled.load()
        assert list_waiting(filled.spool) == []
        assert equal(filled)


class TestReceipts:
    """The receiver reports the state of every archive, also if a run was interrupted."""

    def test_applied_superseded_and_quarantined_archives_have_theirs(
        self, filled: TwoSites
    ) -> None:
        late = withhold(filled.partial(recent_window()))
        base = filled.complete()
        filled.load()
        deliver(late)
        damaged = filled.complete()
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        filled.load()
        states = {
            archive.name.applied: read_receipt(filled.spool, archive.name, signing_keys=())
            for archive in archives(filled)
        }
        assert {name: found and found.state for name, found in states.items()} == {
            applied(base).name: ReceiptState.APPLIED,
            late.name.removeprefix("NEW_").removesuffix(".on-its-way"): ReceiptState.SUPERSEDED,
            applied(damaged).name: ReceiptState.QUARANTINED,
        }
        refused = states[applied(damaged).name]
        assert refused is not None
        assert refused.reason
        assert refused.remedy

    def test_missing_receipts_and_checkpoint_are_written_by_the_next_run(
        self, filled: TwoSites
    ) -> None:
        """As after a kill between renaming and receipt."""
        base = filled.complete()
        filled.load()
        for path in (filled.spool / "receipts").iterdir():
            path.unlink()
        filled.load()
        assert receipt(filled, base).state is ReceiptState.APPLIED
        assert checkpoint(filled).watermark == watermark_of(applied(base))

    def test_archive_that_was_parked_and_applied_later_is_acknowledged_as_applied(
        self, filled: TwoSites
    ) -> None:
        filled.at_receiver("ALTER TABLE app_child DROP amount")
        base = filled.complete()
        filled.load()
        assert receipt(filled, base).state is ReceiptState.PARKED
        assert "app_child.amount" in receipt(filled, base).reason
        filled.at_receiver("ALTER TABLE app_child ADD amount double precision")
        filled.load()
        assert receipt(filled, base).state is ReceiptState.APPLIED
        assert equal(filled, CHILDREN)


def test_drift_is_what_partials_should_have_brought(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    start = checkpoint(filled).watermark
    filled.at_sender("UPDATE app_child SET amount = 1 WHERE id = 1")
    filled.partial(recent_window(), since=start)
    filled.load()
    acknowledged = checkpoint(filled).watermark
    filled.at_sender("UPDATE app_child SET amount = 2 WHERE id IN (2, 3)")
    filled.at_receiver("UPDATE app_child SET amount = 4 WHERE id = 4")
    filled.complete(since=acknowledged)
    (loaded,) = filled.load().loaded
    changed = {plan.table: (plan.changed, plan.drift) for plan in loaded.tables}
    assert changed == {"app_child": (3, 1), "app_parent": (0, 0)}
    assert equal(filled)
