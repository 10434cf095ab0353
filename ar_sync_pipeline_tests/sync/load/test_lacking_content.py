"""What the receiver lacks of a complete after all, the next one carries."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.media.errors import MediaLostError
from ar_sync_pipeline.media.held import CONTENT_CHECK_DAYS, is_checked_by_content
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, write_receipt
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.errors import ContentLackingError
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline.sync.rejection import as_state
from ar_sync_pipeline.sync.watch.compare import compare_archive
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.row_differences import Kind
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.sync.fix_differential import (
    FILES,
    asks_for,
    assert_applied,
    assert_lacking,
    carried,
    carried_files,
    load,
    put,
    restored,
    run_until_equal,
    times,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


@pytest.fixture
def pair(pair_with_files: MediaSender) -> MediaSender:
    """Two equal servers: children in five chunks, parents in one, three media files."""
    return pair_with_files


def test_long_problem_leaves_the_whole_remedy_in_the_report() -> None:
    fault = MediaLostError(Path("/srv/media"), 7)
    error = ContentLackingError("a.tar", Lacking(media=("m" * 200,)), fault)
    said = as_state("x" * 700, error.remedy, 500)
    assert len(said) == 500
    assert said.endswith(f"…; {error.remedy}")
    assert as_state("x", error.remedy, 500) == as_state("x", error.remedy)
    assert f"within minutes; if that changes nothing: {fault.remedy[:40]}" in error.remedy


class TestWhatTheReceiverLacks:
    @pytest.mark.long
    def test_row_that_was_edited_at_the_receiver(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
        first = pair.complete()
        assert carried(first) == []
        said = assert_lacking(pair, first, "1 chunk of app_child")
        assert said.lacking is not None
        assert [(t.name, t.chunks) for t in said.lacking.tables] == [("app_child", (2 << 16,))]
        assert asks_for(pair) == first.name.applied
        second = pair.complete()
        assert carried(second) == [2]
        assert_applied(pair, second)
        assert asks_for(pair) is None
        assert load(pair).refused == ()
        assert list_parked(pair.sites.spool) == []

    def test_status_of_both_sides_says_that_it_comes_by_itself(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
        assert_lacking(pair, pair.complete(), "1 chunk of app_child")
        sites, now = pair.sites, datetime.now(UTC)
        for shown in (
            receiver_status(sites.settings, sites.catalog, now),
            sender_status(pair.settings, now),
        ):
            assert "no action is needed: the sender carries it" in shown.lag.because
            (note,) = [one.note for one in shown.archives if one.state == "parked"]
            assert "requests one within minutes" in note
            assert "who changed its rows or files" in note

    def test_changes_are_carried_with_it(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("DELETE FROM app_child WHERE id = (2 << 16) + 1")
        assert_lacking(pair, pair.complete(), "1 chunk of app_child")
        asks_for(pair)
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (4 << 16) + 3")
        manifest = pair.complete()
        assert carried(manifest) == [2, 4]
        assert_applied(pair, manifest)

    def test_table_that_was_emptied_at_the_receiver(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("TRUNCATE app_child CASCADE")
        assert_lacking(pair, pair.complete(), "5 chunks of app_child")
        asks_for(pair)
        manifest = pair.complete()
        assert carried(manifest) == [0, 1, 2, 3, 4]
        assert carried(manifest, "app_parent") == []
        assert_applied(pair, manifest)

    @pytest.mark.long
    def test_rows_without_values_as_sent(self, pair: MediaSender) -> None:
        """The transform has changed the table in place, and what was sent is lost."""
        (name,) = rows(
            pair.sites.receiver,
            "SELECT tablename FROM pg_tables WHERE tablename LIKE"
            " '%app_parent%' AND schemaname = 'ar_sync'",
        )
        pair.sites.at_receiver(f'DELETE FROM ar_sync."{name[0]}"')
        assert_lacking(pair, pair.complete(), "1 chunk of app_parent")
        asks_for(pair)
        assert_applied(pair, pair.complete())

    @pytest.mark.parametrize("change", ["deleted", "shorter", "replaced", "a folder"])
    def test_file_that_was_changed_at_the_receiver(self, pair: MediaSender, change: str) -> None:
        file = pair.sites.receiver_media / "2026" / "b.jpeg"
        file.unlink()
        if change == "shorter":
            file.write_bytes(b"sec")
        elif change == "replaced":
            file.write_bytes(b"SECOND")
        elif change == "a folder":
            file.mkdir()
        said = assert_lacking(pair, pair.complete(), "1 media file, such as 2026/b.jpeg")
        assert said.lacking is not None
        assert said.lacking.media == ("2026/b.jpeg",)
        asks_for(pair)
        manifest = pair.complete()
        assert carried_files(manifest) == ["2026/b.jpeg"]
        assert carried(manifest) == []
        assert_applied(pair, manifest)

    def test_file_with_another_time_and_the_same_content_is_not_lacking(
        self, pair: MediaSender
    ) -> None:
        os.utime(pair.sites.receiver_media / "a.jpeg", (1, 1))
        os.utime(pair.media / "c.jpeg", (2, 2))
        manifest = pair.complete()
        assert carried_files(manifest) == []
        assert_applied(pair, manifest)

    @pytest.mark.parametrize("at_sender", [True, False])
    def test_file_with_another_time_is_read_once(self, pair: MediaSender, at_sender: bool) -> None:
        """It gets the sender's time, as after a copy of either folder that kept no times."""
        folder = pair.media if at_sender else pair.sites.receiver_media
        for path in FILES:
            os.utime(folder / path, (1_700_000_000, 1_700_000_000))
        manifest = pair.complete()
        assert carried_files(manifest) == []
        archive, sites = pair.waiting(manifest), pair.sites
        preview_load(sites.settings, sites.catalog, archive, sites.clock)
        assert times(pair.sites.receiver_media) != times(pair.media)
        assert_applied(pair, manifest)
        assert times(pair.sites.receiver_media) == times(pair.media)

    @pytest.mark.long
    def test_file_with_other_content_and_the_same_size_and_time_is_found_within_a_month(
        self, pair: MediaSender
    ) -> None:
        days = [datetime.now(UTC) + timedelta(days=n) for n in range(CONTENT_CHECK_DAYS)]
        assert sum(is_checked_by_content("a.jpeg", day) for day in days) == 1
        name = next(f"{n}.jpeg" for n in range(9999) if is_checked_by_content(f"{n}.jpeg", days[0]))
        put(pair, name, b"right")
        assert_applied(pair, pair.complete())
        damaged = pair.sites.receiver_media / name
        stamp = damaged.stat().st_mtime_ns
        damaged.write_bytes(b"wrong")
        os.utime(damaged, ns=(stamp, stamp))
        assert_lacking(pair, pair.complete(), name)
        asks_for(pair)
        assert_applied(pair, pair.complete())

    @pytest.mark.long
    def test_second_list_is_answered_with_everything(self, pair: MediaSender) -> None:
        edit = "UPDATE app_child SET amount = 99 WHERE id = ({} << 16) + 1"
        pair.sites.at_receiver(edit.format(2))
        assert_lacking(pair, pair.complete(), "app_child")
        first = asks_for(pair)
        pair.sites.at_receiver(edit.format(3))
        second = pair.complete()
        assert carried(second) == [2]
        assert_lacking(pair, second, "1 chunk of app_child")
        assert asks_for(pair) == second.name.applied != first
        third = pair.complete()
        assert third.carries_everything
        assert asks_for(pair) is None
        assert_applied(pair, third)

    def test_archive_is_loaded_by_itself_once_the_receiver_has_it(self, pair: MediaSender) -> None:
        file = pair.sites.receiver_media / "a.jpeg"
        file.rename(file.with_name("elsewhere"))
        manifest = pair.complete()
        assert_lacking(pair, manifest, "a.jpeg")
        file.with_name("elsewhere").rename(file)
        assert_applied(pair, manifest)
        assert asks_for(pair) is None

    @pytest.mark.long
    def test_partials_are_loaded_meanwhile(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
        assert_lacking(pair, pair.complete(), "app_child")
        pair.sites.at_sender("UPDATE app_child SET amount = 5, changed = now() WHERE id = 7")
        pair.partial()
        assert len(load(pair).loaded) == 1
        asks_for(pair)
        assert_applied(pair, pair.complete())

    def test_partial_that_is_sent_while_it_waits_leaves_no_gap(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
        pair.sites.at_sender("UPDATE app_child SET amount = 5, changed = now() WHERE id = 7")
        pair.complete()
        pair.partial()
        report = load(pair)
        assert [archive.manifest.kind for archive in report.loaded] == [ArchiveKind.PARTIAL]
        assert report.chain is not None
        assert report.chain.gaps == ()
        assert rows(pair.sites.receiver, "SELECT amount FROM app_child WHERE id = 7") == [(5,)]

    @pytest.mark.long
    def test_forged_receipt_of_an_archive_that_was_not_applied(self, pair: MediaSender) -> None:
        """Nothing is left out but what the receiver has: it decides by digests."""
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        lost = pair.complete()
        pair.waiting(lost).unlink()
        path = pair.sites.spool / "receipts" / "position.json"
        checkpoint = json.loads(path.read_bytes())
        checkpoint["watermark"] = lost.watermark.model_dump(mode="json")
        path.write_text(json.dumps(checkpoint))
        forged = Receipt(
            archive=lost.name.applied,
            archive_id=lost.archive_id,
            state=ReceiptState.APPLIED,
            at=datetime.now(UTC),
        )
        write_receipt(pair.sites.spool, forged, signing_keys=())
        manifest = pair.complete()
        assert carried(manifest) == []
        assert_lacking(pair, manifest, "1 chunk of app_child")
        asks_for(pair)
        assert_applied(pair, pair.complete())


def pair_newest(pair: MediaSender) -> ArchiveName:
    names = (ArchiveName.parse(f.name) for f in (pair.sites.spool / "complete").iterdir())
    return max((n for n in names if n is not None), key=lambda name: name.snapshot_at)


class TestRestoredReceiver:
    @pytest.mark.long
    def test_gets_what_it_lacks_by_itself(self, pair: MediaSender) -> None:
        backup = restored(pair)
        changes = [
            f"UPDATE app_child SET amount = -{n}, changed = now() WHERE id = ({n} << 16) + 3"
            for n in (1, 2, 3)
        ]
        for change in changes:
            pair.sites.at_sender(change)
            assert_applied(pair, pair.complete())
        pair.sites.receiver = backup
        run_until_equal(pair)

    @pytest.mark.long
    def test_also_without_the_archives_in_the_spool(self, pair: MediaSender) -> None:
        backup = restored(pair)
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        put(pair, "new.jpeg", b"new")
        assert_applied(pair, pair.complete())
        (pair.sites.receiver_media / "new.jpeg").unlink()
        for file in (pair.sites.spool / "complete").iterdir():
            file.unlink()
        pair.sites.receiver = backup
        run_until_equal(pair)

    @pytest.mark.long
    def test_emptied_receiver(self, pair: MediaSender) -> None:
        assert_applied(pair, pair.complete())
        pair.sites.at_receiver(
            "TRUNCATE app_parent, app_child, app_note", "DROP SCHEMA ar_sync CASCADE"
        )
        for file in (pair.sites.spool / "complete").iterdir():
            if ArchiveName.parse(file.name) != pair_newest(pair):
                file.unlink()
        run_until_equal(pair)


class TestWhatAnOperatorSees:
    def test_plan_of_an_archive_that_lacks_something(self, pair: MediaSender) -> None:
        manifest = pair.complete()
        path = pair.waiting(manifest)
        preview = preview_load(pair.sites.settings, pair.sites.catalog, path, pair.sites.clock)
        assert preview.verdict is Verdict.APPLIED
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
        (pair.sites.receiver_media / "a.jpeg").unlink()
        preview = preview_load(pair.sites.settings, pair.sites.catalog, path, pair.sites.clock)
        assert preview.verdict is Verdict.PARKED
        assert "1 chunk of app_child; 1 media file, such as a.jpeg" in preview.reason

    def test_comparison_with_the_receiver(self, pair: MediaSender) -> None:
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        path = pair.waiting(pair.complete())

        def problems() -> dict[str, tuple[str, int, int]]:
            return {
                one.table: (one.problem, one.count(Kind.DIFFERENT), one.count(Kind.EQUAL))
                for one in compare_archive(
                    path, pair.sites.receiver, pair.sites.catalog, signing_keys=()
                )
            }

        assert problems() == {"app_parent": ("", 0, 0), "app_child": ("", 1, 9)}
        pair.sites.at_receiver("DELETE FROM app_child WHERE id = (3 << 16) + 3")
        message = "1 of 4 chunks that the archive does not carry have other rows"
        assert problems()["app_child"] == (message, 1, 9)
