"""A complete carries what the receiver is not known to have; what it lacks after all, it gets."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.media.held import CONTENT_CHECK_DAYS, is_checked_by_content
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, write_receipt
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline.sync.watch.compare import compare_archive
from ar_sync_pipeline.sync.watch.row_differences import Kind
from ar_sync_pipeline_tests.fix_sites import CHILDREN, equal, rows
from ar_sync_pipeline_tests.sync.fix_differential import (
    asks_for,
    assert_applied,
    assert_equal,
    assert_lacking,
    carried,
    carried_files,
    load,
    put,
    restored,
    unverified,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

FILES = {"a.jpeg": b"first", "2026/b.jpeg": b"second", "c.jpeg": b"third"}

NAMES = "UPDATE app_child SET picture = '{}', changed = now() WHERE id = 1"


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    """Two equal servers: children in five chunks, parents in one, three media files."""
    media_sender.sites.at_sender(
        "INSERT INTO app_child (id, parent_id, amount, changed) SELECT (n << 16) + k, 1, n,"
        " now() - interval '1 day' FROM generate_series(1, 4) n, generate_series(0, 9) k"
    )
    for path, content in FILES.items():
        put(media_sender, path, content)
    media_sender.complete()
    load(media_sender)
    assert_equal(media_sender)
    return media_sender


def times(folder: Path) -> list[int]:
    """Modification times of the files, which are replicated to the microsecond."""
    return [(folder / path).stat().st_mtime_ns // 1000 for path in FILES]


class TestWhatIsCarried:
    def test_nothing_if_nothing_changed(self, pair: MediaSender) -> None:
        manifest = pair.complete()
        assert manifest.format == 2
        assert manifest.base is not None
        assert [carried(manifest, table.name) for table in manifest.tables] == [[], []]
        assert carried_files(manifest) == []
        assert manifest.row_count == 50 + 2000 + 40
        report = assert_applied(pair, manifest)
        assert (
            sum(plan.added + plan.changed + plan.deleted for plan in report.loaded[0].tables) == 0
        )

    def test_chunks_with_changed_deleted_and_new_rows(self, pair: MediaSender) -> None:
        pair.sites.at_sender(
            "UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3",
            "DELETE FROM app_child WHERE id = (3 << 16) + 5",
            "INSERT INTO app_child (id, parent_id) VALUES ((7 << 16) + 5, 2)",
        )
        manifest = pair.complete()
        assert carried(manifest) == [1, 3, 7]
        assert_applied(pair, manifest)

    def test_both_chunks_of_a_row_whose_key_moved(self, pair: MediaSender) -> None:
        pair.sites.at_sender("UPDATE app_child SET id = (4 << 16) + 77 WHERE id = (2 << 16) + 1")
        manifest = pair.complete()
        assert carried(manifest) == [2, 4]
        assert_applied(pair, manifest)

    def test_no_chunk_of_which_all_rows_are_gone(self, pair: MediaSender) -> None:
        pair.sites.at_sender("DELETE FROM app_child WHERE id >> 16 = 2")
        manifest = pair.complete()
        assert carried(manifest) == []
        assert_applied(pair, manifest)

    def test_nothing_of_a_row_that_was_deleted_and_inserted_again(self, pair: MediaSender) -> None:
        pair.sites.at_sender(
            "CREATE TABLE kept AS SELECT * FROM app_child WHERE id = (2 << 16) + 1",
            "DELETE FROM app_child WHERE id = (2 << 16) + 1",
            "INSERT INTO app_child SELECT * FROM kept",
        )
        manifest = pair.complete()
        assert carried(manifest) == []
        assert_applied(pair, manifest)

    def test_new_and_changed_files(self, pair: MediaSender) -> None:
        put(pair, "a.jpeg", b"other")
        put(pair, "new.jpeg", b"new")
        manifest = pair.complete()
        assert carried_files(manifest) == ["a.jpeg", "new.jpeg"]
        assert_applied(pair, manifest)

    def test_no_file_that_a_later_applied_partial_carried(self, pair: MediaSender) -> None:
        put(pair, "new.jpeg", b"new")
        pair.sites.at_sender(
            "UPDATE app_child SET picture = 'new.jpeg', changed = now() WHERE id = 1"
        )
        assert [entry.path for entry in pair.partial().media] == ["new.jpeg"]
        load(pair)
        manifest = pair.complete()
        assert carried_files(manifest) == []
        assert carried(manifest) == [0]
        assert_applied(pair, manifest)

    def test_file_of_a_lost_partial(self, pair: MediaSender) -> None:
        put(pair, "new.jpeg", b"new")
        pair.sites.at_sender(
            "UPDATE app_child SET picture = 'new.jpeg', changed = now() WHERE id = 1"
        )
        pair.waiting(pair.partial()).unlink()
        manifest = pair.complete()
        assert carried_files(manifest) == ["new.jpeg"]
        assert_applied(pair, manifest)

    def test_files_that_are_listed_only_are_not_removed_at_the_receiver(
        self, pair: MediaSender
    ) -> None:
        pair.sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
        assert_applied(pair, pair.complete())
        (pair.media / "c.jpeg").unlink()
        manifest = pair.complete()
        assert carried_files(manifest) == []
        assert assert_applied(pair, manifest).media.removed == 1
        names = sorted(file.name for file in pair.sites.receiver_media.rglob("*.jpeg"))
        assert names == ["a.jpeg", "b.jpeg"]

    def test_the_newest_applied_complete_is_the_base(self, pair: MediaSender) -> None:
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        second = pair.complete()
        assert_applied(pair, second)
        third = pair.complete()
        assert third.base is not None
        assert third.base.archive_id == second.archive_id
        assert carried(third) == []
        assert_applied(pair, third)

    def test_completes_that_wait_or_are_lost_are_no_base(self, pair: MediaSender) -> None:
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        pair.waiting(pair.complete()).unlink()
        manifest = pair.complete()
        assert carried(manifest) == [1]
        assert_applied(pair, manifest)


class TestEverythingIsCarried:
    """In the old format, so that any receiver reads it."""

    def assert_whole(self, pair: MediaSender) -> None:
        manifest = pair.complete()
        assert (manifest.format, manifest.base) == (1, None)
        assert manifest.carries_everything
        assert_applied(pair, manifest)

    def test_by_the_setting(self, pair: MediaSender) -> None:
        pair.settings = pair.settings.model_copy(update={"complete_carries": "everything"})
        self.assert_whole(pair)

    def test_to_a_receiver_of_an_earlier_version(self, pair: MediaSender) -> None:
        (pair.sites.spool / "receipts" / "capabilities.json").unlink()
        self.assert_whole(pair)

    def test_to_a_receiver_that_was_set_back_to_an_earlier_version(self, pair: MediaSender) -> None:
        """Its checkpoint is newer than what the later version wrote."""
        path = pair.sites.spool / "receipts" / "capabilities.json"
        said = json.loads(path.read_bytes())
        path.write_text(json.dumps(said | {"at": "2026-01-01T00:00:00Z"}))
        self.assert_whole(pair)

    def test_to_a_receiver_that_computes_other_digests(self, pair: MediaSender) -> None:
        path = pair.sites.spool / "receipts" / "capabilities.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"digest_probe": "1"}))
        self.assert_whole(pair)

    def test_to_a_receiver_that_loads_common_columns_only(self, pair: MediaSender) -> None:
        pair.sites.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
        load(pair)
        self.assert_whole(pair)

    @pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 9999])
    def test_if_the_kept_manifest_is_lost_or_damaged(
        self, pair: MediaSender, content: bytes | None
    ) -> None:
        (kept,) = pair.scratch.glob("ar_sync_manifest_*.json")
        kept.unlink()
        if content is not None:
            kept.write_bytes(content)
        self.assert_whole(pair)

    def test_if_a_digit_of_the_kept_manifest_is_wrong(self, pair: MediaSender) -> None:
        (kept,) = pair.scratch.glob("ar_sync_manifest_*.json")
        content = kept.read_bytes()
        kept.write_bytes(content.replace(b'"raw_bytes":', b'"raw_bytes":9', 1))
        self.assert_whole(pair)

    def test_if_both_receipts_and_checkpoint_are_lost(self, pair: MediaSender) -> None:
        for file in (pair.sites.spool / "receipts").iterdir():
            file.unlink()
        (pair.scratch / "ar_sync_position.json").unlink(missing_ok=True)
        self.assert_whole(pair)

    def test_if_the_journal_of_the_sender_is_lost(self, pair: MediaSender) -> None:
        (pair.scratch / "ar_sync_sent.json").unlink()
        self.assert_whole(pair)

    def test_of_a_table_with_a_new_column(self, pair: MediaSender) -> None:
        for change in (pair.sites.at_sender, pair.sites.at_receiver):
            change("ALTER TABLE app_child ADD more integer DEFAULT 7")
        manifest = pair.complete()
        assert carried(manifest) == [0, 1, 2, 3, 4]
        assert carried(manifest, "app_parent") == []
        assert_applied(pair, manifest)

    def test_of_a_table_whose_key_has_another_type(self, pair: MediaSender) -> None:
        for change in (pair.sites.at_sender, pair.sites.at_receiver):
            change("ALTER TABLE app_child ALTER id TYPE bigint")
        manifest = pair.complete()
        assert carried(manifest) == [0, 1, 2, 3, 4]
        assert_applied(pair, manifest)

    def test_of_a_table_with_another_column_rule(self, pair: MediaSender) -> None:
        catalog = pair.sites.catalog.model_dump(by_alias=True)
        catalog["table"]["app_child"]["mask"] = {"amount": "null"}
        pair.sites.catalog = Catalog.model_validate(catalog)
        manifest = pair.complete()
        assert carried(manifest) == [0, 1, 2, 3, 4]
        assert carried(manifest, "app_parent") == []
        assert load(pair).refused == ()
        assert rows(pair.sites.receiver, "SELECT count(amount) FROM app_child") == [(0,)]


class TestWhatTheReceiverLacks:
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

    def test_forged_receipt_of_an_archive_that_was_not_applied(self, pair: MediaSender) -> None:
        """Nothing is left out but what the receiver has: it decides by digests."""
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        lost = pair.complete()
        pair.waiting(lost).unlink()
        path = pair.sites.spool / "receipts" / "position.json"
        position = json.loads(path.read_bytes())
        position["watermark"] = lost.watermark.model_dump(mode="json")
        path.write_text(json.dumps(position))
        forged = Receipt(
            archive=lost.name.applied,
            archive_id=lost.archive_id,
            state=ReceiptState.APPLIED,
            at=datetime.now(UTC),
        )
        write_receipt(pair.sites.spool, forged)
        manifest = pair.complete()
        assert carried(manifest) == []
        assert_lacking(pair, manifest, "1 chunk of app_child")
        asks_for(pair)
        assert_applied(pair, pair.complete())


class TestRestoredReceiver:
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
        self.run_until_equal(pair)

    def test_also_without_the_archives_in_the_spool(self, pair: MediaSender) -> None:
        backup = restored(pair)
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        put(pair, "new.jpeg", b"new")
        assert_applied(pair, pair.complete())
        (pair.sites.receiver_media / "new.jpeg").unlink()
        for file in (pair.sites.spool / "complete").iterdir():
            file.unlink()
        pair.sites.receiver = backup
        self.run_until_equal(pair)

    def test_emptied_receiver(self, pair: MediaSender) -> None:
        assert_applied(pair, pair.complete())
        pair.sites.at_receiver(
            "TRUNCATE app_parent, app_child, app_note", "DROP SCHEMA ar_sync CASCADE"
        )
        for file in (pair.sites.spool / "complete").iterdir():
            if ArchiveName.parse(file.name) != pair_newest(pair):
                file.unlink()
        self.run_until_equal(pair)

    def run_until_equal(self, pair: MediaSender) -> None:
        """What the schedules and sensors of both sides do, in two rounds at most."""
        load(pair)
        load(pair)
        for _ in range(2):
            if asks_for(pair) is not None or not equal(pair.sites, CHILDREN):
                pair.complete()
            load(pair)
        assert_equal(pair)
        assert asks_for(pair) is None


def pair_newest(pair: MediaSender) -> ArchiveName:
    names = (ArchiveName.parse(f.name) for f in (pair.sites.spool / "complete").iterdir())
    return max((n for n in names if n is not None), key=lambda name: name.snapshot_at)


class TestLate:
    """A differential complete that arrives after partials that were made after it."""

    def late(self, pair: MediaSender, *after: str) -> tuple[Manifest, Path]:
        """A complete that is still on its way while a partial with changes is applied."""
        manifest = pair.complete()
        path = pair.waiting(manifest)
        withheld = path.rename(path.with_name(path.name + ".on-its-way"))
        pair.sites.at_sender(*after)
        pair.partial()
        load(pair)
        withheld.rename(path)
        return manifest, path

    def test_chunks_that_they_changed_are_left_as_they_are(self, pair: MediaSender) -> None:
        manifest, _ = self.late(
            pair, "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3"
        )
        assert carried(manifest) == []
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}
        assert_applied(pair, pair.complete())

    def test_carried_chunks_are_loaded_as_ever(self, pair: MediaSender) -> None:
        pair.sites.at_sender("DELETE FROM app_child WHERE id IN ((1 << 16) + 1, (4 << 16) + 9)")
        manifest, _ = self.late(
            pair,
            "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3",
            "UPDATE app_child SET amount = 8, changed = now() WHERE id = (1 << 16) + 3",
            "INSERT INTO app_child (id, parent_id) VALUES ((9 << 16) + 1, 2)",
        )
        assert carried(manifest) == [1, 4]
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}

    def test_other_chunks_that_differ_are_lacking(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (3 << 16) + 1")
        manifest, _ = self.late(
            pair, "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3"
        )
        said = assert_lacking(pair, manifest, "1 chunk of app_child")
        assert said.lacking is not None
        assert said.lacking.tables[0].chunks == (3 << 16,)
        asks_for(pair)
        assert_applied(pair, pair.complete())

    def test_newer_rows_that_contradict_it_are_carried_with_the_next(
        self, pair: MediaSender
    ) -> None:
        """A child that moved to a parent which the late complete does not have."""
        pair.sites.at_sender("UPDATE app_parent SET label = 'new' WHERE id = 1")
        manifest, _ = self.late(
            pair,
            "INSERT INTO app_parent (id, code) VALUES (900, 'new')",
            "UPDATE app_child SET parent_id = 900, changed = now() WHERE id = (2 << 16) + 3",
        )
        assert carried(manifest, "app_parent") == [0]
        assert_lacking(pair, manifest, "1 chunk of app_child")
        asks_for(pair)
        second = pair.complete()
        assert carried(second) == [2]
        assert_applied(pair, second)

    def test_files_that_they_changed_stay(self, pair: MediaSender) -> None:
        def replace() -> None:
            put(pair, "a.jpeg", b"newer")

        manifest = pair.complete()
        path = pair.waiting(manifest)
        withheld = path.rename(path.with_name(path.name + ".on-its-way"))
        replace()
        pair.sites.at_sender(
            "UPDATE app_child SET picture = 'a.jpeg', changed = now() WHERE id = 1"
        )
        pair.partial()
        load(pair)
        withheld.rename(path)
        assert_applied(pair, manifest)


@pytest.mark.long
def test_archive_on_the_line_is_small(pair: MediaSender) -> None:
    """The manifest and nothing else."""
    put(pair, "large.jpeg", os.urandom(500_000))
    assert_applied(pair, pair.complete())
    manifest = pair.complete()
    path = pair.waiting(manifest)
    with open_archive(path) as reader:
        assert reader.size_bytes < 20_000
        reader.read_to_the_end()
    assert_applied(pair, manifest)


@pytest.mark.long
def test_complete_that_was_killed_before_its_upload_is_no_base(pair: MediaSender) -> None:
    """Its manifest is kept, and no receipt names it."""
    pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
    build = pair.bundled_complete()
    settings = pair.settings
    pair.settings = settings.model_copy(update={"remote_bkp_fldr": settings.remote_bkp_fldr / "no"})
    with pytest.raises(Exception, match="no"):
        pair.publish(build)
    pair.settings = settings
    manifest = pair.complete()
    assert carried(manifest) == [1]
    assert_applied(pair, manifest)


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
                for one in compare_archive(path, pair.sites.receiver, pair.sites.catalog)
            }

        assert problems() == {"app_parent": ("", 0, 0), "app_child": ("", 1, 9)}
        pair.sites.at_receiver("DELETE FROM app_child WHERE id = (3 << 16) + 3")
        message = "1 of 4 chunks that the archive does not carry have other rows"
        assert problems()["app_child"] == (message, 1, 9)


@pytest.mark.long
def test_signed_pair(pair: MediaSender) -> None:
    """What is not signed with the shared key is no reason to leave anything out."""
    key = "3f9c1e7ab05d48826d2eb7f4910c5a83"
    pair.settings = pair.settings.model_copy(update={"signing_key": SecretStr(key)})
    pair.sites.environ["AR_SYNC_SIGNING_KEY"] = key
    first = pair.complete()
    assert first.carries_everything
    assert_applied(pair, first)
    pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (2 << 16) + 1")
    second = pair.complete()
    assert carried(second) == []
    assert_lacking(pair, second, "1 chunk of app_child")
    asks_for(pair)
    third = pair.complete()
    assert carried(third) == [2]
    assert_applied(pair, third)


@pytest.mark.long
def test_table_without_a_key(pair: MediaSender) -> None:
    for change in (pair.sites.at_sender, pair.sites.at_receiver):
        change("CREATE TABLE app_log (text text)")
    pair.sites.at_sender("INSERT INTO app_log VALUES ('a'), ('a'), ('b')")
    assert_applied(pair, pair.complete())
    manifest = pair.complete()
    assert manifest.carries_everything is False
    assert not any(c.carried for t in manifest.tables if t.name == "app_log" for c in t.chunks)
    assert_applied(pair, manifest)
    pair.sites.at_receiver("DELETE FROM app_log WHERE text = 'b'")
    said = assert_lacking(pair, pair.complete(), "rows of app_log")
    assert said.lacking is not None
    assert said.lacking.tables[0].chunks == ()
    asks_for(pair)
    assert_applied(pair, pair.complete())
    assert rows(pair.sites.receiver, "SELECT text FROM app_log ORDER BY 1")[-1] == ("b",)


@pytest.mark.long
def test_late_archive_after_a_partial_with_a_table_without_a_key(pair: MediaSender) -> None:
    for change in (pair.sites.at_sender, pair.sites.at_receiver):
        change("CREATE TABLE app_log (text text)")
    pair.sites.at_sender("INSERT INTO app_log VALUES ('a')")
    assert_applied(pair, pair.complete())
    manifest, _ = TestLate().late(
        pair, "INSERT INTO app_log VALUES ('b')", "DELETE FROM app_log WHERE text = 'a'"
    )
    report = assert_applied(pair, manifest)
    assert unverified(report) == {"app_log": 1}
    assert rows(pair.sites.receiver, "SELECT text FROM app_log") == [("b",)]
