"""A differential complete that is loaded after later partials."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.sync.load import load_session
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import rows
from ar_sync_pipeline_tests.sync.fix_differential import (
    asks_for,
    assert_applied,
    assert_lacking,
    carried,
    late_complete,
    load,
    put,
    receipt,
    unverified,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


@pytest.fixture
def pair(pair_with_files: MediaSender) -> MediaSender:
    """Two equal servers: children in five chunks, parents in one, three media files."""
    return pair_with_files


def note_of_applied(pair: MediaSender) -> str:
    """What `ar-sync status` says beside the number of applied archives."""
    sites = pair.sites
    status = receiver_status(sites.settings, sites.catalog, sites.clock())
    return next(one.note for one in status.archives if one.state == "applied")


class TestLate:
    """A differential complete that arrives after partials that were made after it."""

    @pytest.mark.long
    def test_chunks_that_they_changed_are_left_as_they_are(self, pair: MediaSender) -> None:
        manifest, _ = late_complete(
            pair, "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3"
        )
        assert carried(manifest) == []
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}
        assert "could not verify 1 chunk of app_child, which later" in note_of_applied(pair)
        assert_applied(pair, pair.complete())
        assert note_of_applied(pair) == ""

    def test_carried_chunks_are_loaded_as_ever(self, pair: MediaSender) -> None:
        pair.sites.at_sender("DELETE FROM app_child WHERE id IN ((1 << 16) + 1, (4 << 16) + 9)")
        manifest, _ = late_complete(
            pair,
            "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3",
            "UPDATE app_child SET amount = 8, changed = now() WHERE id = (1 << 16) + 3",
            "INSERT INTO app_child (id, parent_id) VALUES ((9 << 16) + 1, 2)",
        )
        assert carried(manifest) == [1, 4]
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}

    @pytest.mark.long
    def test_other_chunks_that_differ_are_lacking(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (3 << 16) + 1")
        manifest, _ = late_complete(
            pair, "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3"
        )
        said = assert_lacking(pair, manifest, "1 chunk of app_child")
        assert said.lacking is not None
        assert said.lacking.tables[0].chunks == (3 << 16,)
        asks_for(pair)
        assert_applied(pair, pair.complete())

    @pytest.mark.long
    def test_newer_rows_that_contradict_it_are_carried_with_the_next(
        self, pair: MediaSender
    ) -> None:
        """A child moved to a parent that has the code of another parent in the late complete."""
        pair.sites.at_sender("UPDATE app_parent SET code = 'taken over' WHERE id = 1")
        manifest, _ = late_complete(
            pair,
            "UPDATE app_parent SET code = NULL WHERE id = 1",
            "INSERT INTO app_parent (id, code) VALUES (900, 'taken over')",
            "UPDATE app_child SET parent_id = 900, changed = now() WHERE id = (2 << 16) + 3",
        )
        assert carried(manifest, "app_parent") == [0]
        said = assert_lacking(pair, manifest, "1 chunk of app_child")
        assert "refer to deleted rows of app_parent" in said.reason
        asks_for(pair)
        second = pair.complete()
        assert carried(second) == [2]
        assert_applied(pair, second)

    @pytest.mark.parametrize("in_replica_mode", [True, False])
    def test_newer_rows_to_which_rows_in_other_chunks_refer_stay(
        self, pair: MediaSender, monkeypatch: pytest.MonkeyPatch, *, in_replica_mode: bool
    ) -> None:
        """A busy database: new parents, and old children in unchanged chunks that move to them."""
        if not in_replica_mode:
            monkeypatch.setattr(
                load_session,
                "suppress_side_effects",
                lambda connection: SideEffects(connection, suppressed=False),
            )
        pair.sites.at_sender("UPDATE app_parent SET label = 'new' WHERE id = 1")
        manifest, _ = late_complete(
            pair,
            "INSERT INTO app_parent (id, code) VALUES (900, 'new'), (901, 'newer'), (902, 'z')",
            "UPDATE app_child SET parent_id = 900, changed = now() WHERE id = (2 << 16) + 3",
            "UPDATE app_parent SET label = 'newest' WHERE id = 2",
        )
        pair.sites.at_receiver(
            "UPDATE app_parent SET seen = true",
            "INSERT INTO app_note (id, parent_id) VALUES (1, 900), (2, 901)",
        )
        assert carried(manifest, "app_parent") == [0]
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}
        kept = "SELECT count(*) FROM app_parent WHERE seen AND id >= 900"
        assert rows(pair.sites.receiver, kept) == [(3,)]
        assert rows(pair.sites.receiver, "SELECT count(*) FROM app_note") == [(2,)]

    @pytest.mark.long
    def test_what_the_receiver_alone_forbids_is_told_as_that(self, pair: MediaSender) -> None:
        """It has chunks that it does not compare, and no other complete would carry more."""
        pair.sites.at_sender("INSERT INTO app_parent (id, code) VALUES (800, 'favourite')")
        assert_applied(pair, pair.complete())
        pair.sites.at_receiver(
            "ALTER TABLE app_child ADD fav int NOT NULL DEFAULT 800 REFERENCES app_parent"
        )
        pair.sites.at_sender("DELETE FROM app_parent WHERE id = 800")
        manifest, _ = late_complete(
            pair, "UPDATE app_child SET amount = 7, changed = now() WHERE id = (2 << 16) + 3"
        )
        (refused,) = load(pair).refused
        assert refused.code == LoadRefusedError.code
        assert "let fav be NULL" in refused.remedy
        assert receipt(pair, manifest).lacking is None
        assert asks_for(pair) is None

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
def test_late_archive_after_a_partial_with_a_table_without_a_key(pair: MediaSender) -> None:
    for change in (pair.sites.at_sender, pair.sites.at_receiver):
        change("CREATE TABLE app_log (text text)")
    pair.sites.at_sender("INSERT INTO app_log VALUES ('a')")
    assert_applied(pair, pair.complete())
    manifest, _ = late_complete(
        pair, "INSERT INTO app_log VALUES ('b')", "DELETE FROM app_log WHERE text = 'a'"
    )
    report = assert_applied(pair, manifest)
    assert unverified(report) == {"app_log": 1}
    assert rows(pair.sites.receiver, "SELECT text FROM app_log") == [("b",)]
