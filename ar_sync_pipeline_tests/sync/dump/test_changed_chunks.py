"""A complete carries a chunk with few changes as a change; the receiver proves the outcome."""

from __future__ import annotations

import json

import pytest
from psycopg import sql

from ar_sync_pipeline.archive import report
from ar_sync_pipeline.archive.manifest import CHANGES_FORMAT, Manifest
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.export import chunk_totals, table_export
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.sync.dump import assemble
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline.sync.watch.compare import compare_archive
from ar_sync_pipeline_tests.fix_sites import CHILDREN, PARENTS, rows
from ar_sync_pipeline_tests.sync.fix_changed_chunks import changes, complete_after, equal_pair
from ar_sync_pipeline_tests.sync.fix_differential import (
    asks_for,
    assert_applied,
    assert_equal,
    assert_lacking,
    carried,
    late_complete,
    load,
    put,
    restored,
    run_until_equal,
    unverified,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    return equal_pair(media_sender)


@pytest.mark.long
def test_changes_of_chunks_and_a_list_of_media_files_are_in_one_archive(
    pair: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both features have a number; the higher one includes the other."""
    monkeypatch.setattr(assemble, "MOST_INLINE_MEDIA", 0)
    for name in ("old.jpeg", "ñ.jpeg"):
        put(pair, name, name.encode())
    load_of(pair, pair.complete())
    put(pair, "new.jpeg", b"new")
    manifest = complete_after(pair, "UPDATE app_child SET amount = -5 WHERE id = (1 << 16) + 6")
    assert (manifest.format, changes(manifest)) == (CHANGES_FORMAT, {1: 1})
    assert manifest.media_list is not None
    assert (manifest.media_count, manifest.carried_media_count) == (3, 1)
    load_of(pair, manifest)
    assert {path.name for path in pair.sites.receiver_media.iterdir()} == {
        "old.jpeg",
        "ñ.jpeg",
        "new.jpeg",
    }


def load_of(pair: MediaSender, manifest: Manifest) -> None:
    loaded = load(pair).loaded
    assert manifest.archive_id in [archive.manifest.archive_id for archive in loaded]
    assert_equal(pair)


@pytest.mark.long
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE app_child SET amount = -5 WHERE id = (1 << 16) + 6", {1: 1}),
        ("DELETE FROM app_child WHERE id = (1 << 16) + 6", {1: 0}),
        ("DELETE FROM app_child WHERE id IN (1 << 16, (1 << 16) + 1099)", {1: 0}),
        ("DELETE FROM app_child WHERE id IN (-1, -1100)", {-1: 0}),
        ("INSERT INTO app_child (id, parent_id) VALUES (-65536, 1), (-65535, 1)", {-1: 2}),
        ("UPDATE app_child SET id = (1 << 16) + 65535 WHERE id = (1 << 16) + 6", {1: 1}),
        ("UPDATE app_child SET id = 0 WHERE id = (1 << 16) + 6", {0: 1, 1: 0}),
        ("UPDATE app_child SET amount = 1 - amount WHERE id BETWEEN -30 AND 30", {-1: 30, 0: 30}),
    ],
)
def test_rows_that_were_written_and_keys_that_are_gone(
    pair: MediaSender, statement: str, expected: dict[int, int]
) -> None:
    manifest = complete_after(pair, statement)
    assert manifest.format == CHANGES_FORMAT
    assert changes(manifest) == expected
    assert carried(manifest) == sorted(expected)
    report = assert_applied(pair, manifest)
    assert unverified(report) == {}
    assert_applied(pair, pair.complete())


@pytest.mark.long
def test_keys_at_both_ends_of_bigint(pair: MediaSender) -> None:
    """The first and the last chunk that there can be."""
    for change in (pair.sites.at_sender, pair.sites.at_receiver):
        change("CREATE TABLE app_wide (id bigint PRIMARY KEY, v integer)")
    ends = "(SELECT -9223372036854775808 + {0} UNION ALL SELECT 9223372036854775807 - {0})"
    pair.sites.at_sender(
        "INSERT INTO app_wide SELECT k, 0 FROM generate_series(0, 1100) n"
        f" CROSS JOIN LATERAL {ends.format('n')} AS x (k)"
    )
    assert_applied(pair, pair.complete())
    manifest = complete_after(
        pair,
        f"DELETE FROM app_wide WHERE id IN {ends.format(0)} OR id IN {ends.format(700)}",
        f"UPDATE app_wide SET v = 1 WHERE id IN {ends.format(3)}",
    )
    assert changes(manifest, "app_wide") == {-(2**47): 1, 2**47 - 1: 1}
    assert_applied(pair, manifest)
    query = "SELECT id, v FROM app_wide ORDER BY id"
    assert rows(pair.sites.receiver, query) == rows(pair.sites.sender, query)


@pytest.mark.long
def test_transformed_columns_and_the_receivers_own_stay(pair: MediaSender) -> None:
    pair.sites.at_receiver(
        "UPDATE app_parent SET label = 'better', seen = true, transformed = true"
    )
    manifest = complete_after(pair, "UPDATE app_parent SET label = 'new' WHERE id = 3")
    assert changes(manifest, "app_parent") == {0: 1}
    assert load(pair).refused == ()
    found = rows(
        pair.sites.receiver,
        "SELECT label, seen, transformed, count(*) FROM app_parent GROUP BY 1, 2, 3",
    )
    assert set(found) == {("new", True, False, 1), ("better", True, True, 1549)}


@pytest.mark.long
def test_unique_values_that_rows_exchange(pair: MediaSender) -> None:
    manifest = complete_after(
        pair,
        "UPDATE app_parent SET code = 'aside' WHERE id = 3;"
        " UPDATE app_parent SET code = 'c3' WHERE id = 4;"
        " UPDATE app_parent SET code = 'c4' WHERE id = 3",
        "DELETE FROM app_parent WHERE id = 1000",
        "UPDATE app_parent SET code = 'c1000' WHERE id = 1001",
    )
    assert changes(manifest, "app_parent") == {0: 3}
    assert_applied(pair, manifest)


@pytest.mark.long
def test_rows_changed_back_are_not_carried(pair: MediaSender) -> None:
    manifest = complete_after(
        pair,
        "UPDATE app_child SET amount = amount + 1 WHERE id = 7",
        "UPDATE app_child SET amount = amount - 1 WHERE id = 7",
        "UPDATE app_parent SET code = code",
    )
    assert (carried(manifest), carried(manifest, "app_parent")) == ([], [])
    assert_applied(pair, manifest)


@pytest.mark.long
def test_plan_of_the_load_counts_what_changes(pair: MediaSender) -> None:
    manifest = complete_after(
        pair,
        "UPDATE app_child SET amount = -5 WHERE id = 9",
        "DELETE FROM app_child WHERE id BETWEEN 10 AND 19",
        "INSERT INTO app_child (id, parent_id) VALUES (50000, 1)",
    )
    (loaded,) = assert_applied(pair, manifest).loaded
    (plan,) = (plan for plan in loaded.tables if plan.table == "app_child")
    assert (plan.added, plan.changed, plan.deleted) == (1, 1, 10)


class TestCarriedWhole:
    def test_chunk_of_which_most_rows_changed(self, pair: MediaSender) -> None:
        manifest = complete_after(pair, "UPDATE app_child SET amount = 3 WHERE id % 10 < 6")
        assert changes(manifest) == {}
        assert_applied(pair, manifest)

    def test_chunk_with_many_changed_rows_and_many_absent_keys(self, pair: MediaSender) -> None:
        manifest = complete_after(pair, "UPDATE app_child SET amount = -1 WHERE mod(id, 7) < 2")
        assert carried(manifest) == [-1, 0, 1, 2]
        assert changes(manifest).keys() == {0, 1}
        assert_applied(pair, manifest)

    @pytest.mark.long
    def test_small_chunk(self, pair: MediaSender) -> None:
        pair.sites.at_sender("INSERT INTO app_child (id, parent_id) VALUES (3 << 16, 1)")
        assert_applied(pair, pair.complete())
        manifest = complete_after(pair, "DELETE FROM app_child WHERE id = 3 << 16")
        assert changes(manifest) == {}
        assert_applied(pair, manifest)

    @pytest.mark.parametrize("key", ["uuid", "text", "integer, part integer"])
    @pytest.mark.long
    def test_table_with_another_key(self, pair: MediaSender, key: str) -> None:
        columns = "id, part" if "," in key else "id"
        for change in (pair.sites.at_sender, pair.sites.at_receiver):
            change(f"CREATE TABLE app_other (id {key}, v integer, PRIMARY KEY ({columns}))")
        values = {"uuid": "md5(n::text)::uuid", "text": "n::text"}.get(key, "n, n")
        pair.sites.at_sender(
            f"INSERT INTO app_other SELECT {values}, n FROM generate_series(1, 2000) n"
        )
        assert_applied(pair, pair.complete())
        assert_applied(pair, pair.complete())
        manifest = complete_after(
            pair, "UPDATE app_other SET v = 0 WHERE v = 9", "DELETE FROM app_other WHERE v = 8"
        )
        (table,) = (t for t in manifest.tables if t.name == "app_other")
        assert [(c.carried, c.is_change) for c in table.chunks] == [(True, False)]
        assert_applied(pair, manifest)
        query = "SELECT * FROM app_other ORDER BY v"
        assert rows(pair.sites.receiver, query) == rows(pair.sites.sender, query)

    def test_to_a_receiver_of_an_earlier_version(self, pair: MediaSender) -> None:
        path = pair.sites.spool / "receipts" / "capabilities.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()) | {"archive_formats": [1, 2]}))
        manifest = complete_after(pair, "DELETE FROM app_child WHERE id = 7")
        assert (manifest.format, carried(manifest), changes(manifest)) == (2, [0], {})
        assert_applied(pair, manifest)

    def test_table_that_was_altered(self, pair: MediaSender) -> None:
        """Its unchanged rows have other values, and no newer version."""
        pair.sites.at_sender(
            "ALTER TABLE app_parent ADD size integer NOT NULL DEFAULT 3",
            "UPDATE app_parent SET size = 4 WHERE id = 3",
        )
        pair.sites.at_receiver("ALTER TABLE app_parent ADD size integer")
        manifest = pair.complete()
        assert (carried(manifest, "app_parent"), changes(manifest, "app_parent")) == ([0], {})
        assert_applied(pair, manifest)


class TestOutcomeThatIsNotProven:
    """Nothing becomes visible; the next complete carries the chunk whole, by itself."""

    def assert_repaired(self, pair: MediaSender, chunk: int) -> None:
        said = assert_lacking(pair, pair.complete(), "1 chunk of app_child")
        assert said.lacking is not None
        assert [table.chunks for table in said.lacking.tables] == [(chunk << 16,)]
        assert asks_for(pair) is not None
        manifest = pair.complete()
        assert (carried(manifest), changes(manifest)) == ([chunk], {})
        assert_applied(pair, manifest)
        assert asks_for(pair) is None
        # From then on there is a base again.
        manifest = complete_after(pair, f"DELETE FROM app_child WHERE id = ({chunk} << 16) + 99")
        assert changes(manifest) == {chunk: 0}
        assert_applied(pair, manifest)

    @pytest.mark.parametrize(
        "edit",
        [
            "UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 50",
            "DELETE FROM app_child WHERE id = (1 << 16) + 50",
            "INSERT INTO app_child (id, parent_id) VALUES ((1 << 16) + 1200, 1)",
            "UPDATE app_child SET id = (1 << 16) + 1200 WHERE id = (1 << 16) + 50",
            "DELETE FROM app_child WHERE id >> 16 = 1",
        ],
    )
    @pytest.mark.long
    def test_other_rows_were_edited_at_the_receiver(self, pair: MediaSender, edit: str) -> None:
        pair.sites.at_receiver(edit)
        pair.sites.at_sender("UPDATE app_child SET amount = -5 WHERE id = (1 << 16) + 6")
        if "1200" in edit and edit.startswith("INSERT"):
            # A row at an absent key goes without any question.
            manifest = pair.complete()
            assert changes(manifest) == {1: 1}
            assert_applied(pair, manifest)
        else:
            self.assert_repaired(pair, 1)

    def test_changed_row_was_edited_at_the_receiver_too(self, pair: MediaSender) -> None:
        """It is replaced, whatever it was."""
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 6")
        pair.sites.at_receiver("DELETE FROM app_child WHERE id = (1 << 16) + 7")
        manifest = complete_after(
            pair, "UPDATE app_child SET amount = -5 WHERE id IN ((1 << 16) + 6, (1 << 16) + 7)"
        )
        assert changes(manifest) == {1: 2}
        assert_applied(pair, manifest)

    def test_row_versions_did_not_tell_the_truth(
        self, pair: MediaSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As if a changed row had the version of an old one."""
        pair.sites.at_sender(
            "UPDATE app_child SET amount = -5 WHERE id IN ((1 << 16) + 6, (1 << 16) + 7)"
        )
        with monkeypatch.context() as patch:
            true_condition = unseen_by
            for module in (chunk_totals, table_export):
                patch.setattr(
                    module,
                    "unseen_by",
                    lambda since: sql.SQL("({} AND t.id <> 65542)").format(true_condition(since)),
                )
            said = assert_lacking(pair, pair.complete(), "1 chunk of app_child")
        assert said.lacking is not None
        asks_for(pair)
        manifest = pair.complete()
        assert (carried(manifest), changes(manifest)) == ([1], {})
        assert_applied(pair, manifest)

    @pytest.mark.long
    def test_receiver_was_restored_from_a_backup(self, pair: MediaSender) -> None:
        backup = restored(pair)
        for amount in (-1, -2, -3):
            manifest = complete_after(
                pair, f"UPDATE app_child SET amount = {amount} WHERE id = (1 << 16) + 6 - {amount}"
            )
            assert changes(manifest) == {1: 1}
            assert_applied(pair, manifest)
        pair.sites.at_sender("DELETE FROM app_child WHERE id = (1 << 16) + 30")
        for file in (pair.sites.spool / "complete").iterdir():
            file.unlink()
        pair.sites.receiver = backup
        run_until_equal(pair)

    @pytest.mark.long
    def test_receiver_that_was_restored_replays_changes_in_their_order(
        self, pair: MediaSender
    ) -> None:
        backup = restored(pair)
        for amount in (-1, -2):
            assert_applied(
                pair,
                complete_after(pair, f"UPDATE app_child SET amount = {amount} WHERE id = 6"),
            )
        pair.sites.receiver = backup
        run_until_equal(pair)

    def test_plan_says_what_is_lacking(self, pair: MediaSender) -> None:
        path = pair.waiting(complete_after(pair, "DELETE FROM app_child WHERE id = (1 << 16) + 6"))

        def preview() -> tuple[Verdict, str]:
            found = preview_load(pair.sites.settings, pair.sites.catalog, path, pair.sites.clock)
            return found.verdict, found.reason

        assert preview()[0] is Verdict.APPLIED
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 1")
        assert preview()[0] is Verdict.PARKED
        assert "1 chunk of app_child" in preview()[1]


class TestLateChange:
    """It arrives after partials that were made after it."""

    @pytest.mark.long
    def test_changes_and_deletions_happen_in_a_chunk_that_they_touched(
        self, pair: MediaSender
    ) -> None:
        pair.sites.at_sender(
            "DELETE FROM app_child WHERE id IN ((1 << 16) + 1, (1 << 16) + 9)",
            "UPDATE app_child SET amount = -1 WHERE id IN ((1 << 16) + 2, (1 << 16) + 3)",
        )
        manifest, _ = late_complete(
            pair,
            "UPDATE app_child SET amount = 8, changed = now() WHERE id = (1 << 16) + 3",
            "UPDATE app_child SET amount = 9, changed = now() WHERE id = (1 << 16) + 4",
            "INSERT INTO app_child (id, parent_id, amount) VALUES ((1 << 16) + 9, 2, 10)",
            "INSERT INTO app_child (id, parent_id) VALUES ((1 << 16) + 2000, 2)",
        )
        assert changes(manifest) == {1: 2}
        report = assert_applied(pair, manifest)
        assert unverified(report) == {"app_child": 1}
        assert_applied(pair, pair.complete())

    @pytest.mark.long
    def test_rest_of_such_a_chunk_comes_with_the_next(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 50")
        pair.sites.at_sender("DELETE FROM app_child WHERE id = (1 << 16) + 1")
        manifest, _ = late_complete(
            pair, "UPDATE app_child SET amount = 8, changed = now() WHERE id = (1 << 16) + 3"
        )
        assert changes(manifest) == {1: 0}
        assert unverified(load(pair)) == {"app_child": 1}
        deleted = "SELECT count(*) FROM app_child WHERE id = (1 << 16) + 1"
        assert rows(pair.sites.receiver, deleted) == [(0,)]
        assert asks_for(pair) is None
        second = pair.complete()
        assert (carried(second), changes(second)) == ([1], {})
        assert unverified(assert_applied(pair, second)) == {}
        assert changes(complete_after(pair, "DELETE FROM app_child WHERE id = 65538")) == {1: 0}

    @pytest.mark.long
    def test_row_edited_at_the_receiver_is_repaired_although_every_complete_is_late(
        self, pair: MediaSender
    ) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 50")
        found = []
        for key in (65540, 65550, 65560):
            pair.sites.at_sender(f"UPDATE app_child SET amount = -1 WHERE id = {key}")
            manifest, _ = late_complete(
                pair, f"UPDATE app_child SET amount = -2, changed = now() WHERE id = {key} + 1"
            )
            report = load(pair)
            assert report.refused == ()
            found.append((carried(manifest), [*changes(manifest)], unverified(report)))
        assert found == [
            ([1], [1], {"app_child": 1}),
            ([1], [], {}),
            ([1], [1], {"app_child": 1}),
        ]
        assert_equal(pair)

    @pytest.mark.long
    def test_chunk_that_they_did_not_touch_must_be_proven(self, pair: MediaSender) -> None:
        pair.sites.at_receiver("UPDATE app_child SET amount = 99 WHERE id = (1 << 16) + 50")
        pair.sites.at_sender("DELETE FROM app_child WHERE id = (1 << 16) + 1")
        manifest, _ = late_complete(
            pair, "UPDATE app_child SET amount = 8, changed = now() WHERE id = 3"
        )
        said = assert_lacking(pair, manifest, "1 chunk of app_child")
        assert said.lacking is not None
        assert said.lacking.tables[0].chunks == (1 << 16,)
        asks_for(pair)
        assert_applied(pair, pair.complete())


class TestWhatAnOperatorSees:
    def test_archive_is_verified_without_its_base(self, pair: MediaSender) -> None:
        path = pair.waiting(complete_after(pair, "DELETE FROM app_child WHERE id = (1 << 16) + 6"))
        manifest = verify_archive(path, signing_keys=())
        facts = dict(report.facts(manifest))
        assert "1 of them as changes that only the receiver can verify" in facts["carries"]
        assert report.summary(manifest)["carried"]["changed_chunk_count"] == 1

    def test_comparison_is_by_digests(self, pair: MediaSender) -> None:
        path = pair.waiting(complete_after(pair, "DELETE FROM app_child WHERE id = (1 << 16) + 6"))

        def problem(url: str) -> str:
            found = compare_archive(path, url, pair.sites.catalog, signing_keys=())
            return next(one.problem for one in found if one.table == "app_child")

        assert problem(pair.sites.sender) == ""
        assert "1 of 4 chunks" in problem(pair.sites.receiver)


@pytest.mark.long
def test_archive_on_the_line_is_small(pair: MediaSender) -> None:
    """One in a hundred rows is changed, in every chunk."""

    def size(manifest: Manifest) -> int:
        return sum(size for name, size, _ in manifest.members() if "app_child.0" in name)

    changed = "UPDATE app_child SET amount = -id WHERE id % 100 = 3"
    capabilities = pair.sites.spool / "receipts" / "capabilities.json"
    said = capabilities.read_bytes()
    capabilities.write_text(json.dumps(json.loads(said) | {"archive_formats": [1, 2]}))
    whole = complete_after(pair, changed)
    whole_bytes = size(whole)
    pair.waiting(whole).unlink()
    capabilities.write_bytes(said)
    manifest = pair.complete()
    assert sorted(changes(manifest)) == [0, 1, 2]
    assert size(manifest) < whole_bytes / 8
    assert_applied(pair, manifest)
    assert rows(pair.sites.sender, PARENTS + " LIMIT 1") == [(1, "c1", "label 1")]
    assert rows(pair.sites.sender, CHILDREN) == rows(pair.sites.receiver, CHILDREN)
