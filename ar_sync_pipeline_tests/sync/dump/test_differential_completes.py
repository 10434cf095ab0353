"""A complete carries only what the receiver is not known to have."""

from __future__ import annotations

import json
import os
import sqlite3

import pytest
from pydantic import SecretStr

from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.sync.fix_differential import (
    asks_for,
    assert_applied,
    assert_lacking,
    carried,
    carried_files,
    load,
    put,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


@pytest.fixture
def pair(pair_with_files: MediaSender) -> MediaSender:
    """Two equal servers: children in five chunks, parents in one, three media files."""
    return pair_with_files


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

    @pytest.mark.long
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

    @pytest.mark.long
    def test_no_file_however_many_completes_the_receiver_has_not_applied(
        self, pair: MediaSender
    ) -> None:
        """Its loads stand still for days; its base and the media of the base stay known."""
        for _ in range(5):
            manifest = pair.complete()
            assert carried_files(manifest) == []
        pair.sites.at_sender("UPDATE app_child SET picture = 'a.jpeg' WHERE id = 1")
        assert list(pair.partial().media) == []
        assert_applied(pair, pair.complete())
        for _ in range(4):
            manifest = pair.complete()
            assert carried_files(manifest) == []
        with sqlite3.connect(pair.scratch / MEDIA_JOURNAL) as journal:
            row = journal.execute("SELECT count(*) FROM archive WHERE kind = 'complete'").fetchone()
        assert row == (5,), "the base and the four after it"

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

    @pytest.mark.long
    def test_the_newest_applied_complete_is_the_base(self, pair: MediaSender) -> None:
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        second = pair.complete()
        assert_applied(pair, second)
        third = pair.complete()
        assert third.base is not None
        assert third.base.archive_id == second.archive_id
        assert carried(third) == []
        assert_applied(pair, third)

    def test_one_before_is_the_base_if_the_manifest_of_the_newest_is_lost(
        self, pair: MediaSender
    ) -> None:
        (first,) = pair.scratch.glob("ar_sync_manifest_*.json")
        pair.sites.at_sender("UPDATE app_child SET amount = -1 WHERE id = (1 << 16) + 3")
        assert_applied(pair, pair.complete())
        for kept in {*pair.scratch.glob("ar_sync_manifest_*.json")} - {first}:
            kept.unlink()
        third = pair.complete()
        assert third.base is not None
        assert str(third.base.archive_id) in first.name
        assert carried_files(third) == []
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
