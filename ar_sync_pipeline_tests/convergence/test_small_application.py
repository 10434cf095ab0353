"""The promise, on a small application: the receiver ends equal to the sender."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import DigestMismatchError, LoadInProgressError
from ar_sync_pipeline.postgres.ledger_tables import ensure_ledger, load_lock
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    remake,
    rows,
    watermark_of,
)


def test_d6_second_complete_brings_changed_new_and_deleted_rows(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_sender(
        "UPDATE app_child SET amount = -0.0 WHERE id % 7 = 0",
        "DELETE FROM app_child WHERE id BETWEEN 100 AND 200",
        "INSERT INTO app_child (parent_id, amount) SELECT 5, n FROM generate_series(1, 30) n",
        "DELETE FROM app_child WHERE parent_id = 50",
        "DELETE FROM app_parent WHERE id = 50",
    )
    filled.complete()
    report = filled.load()
    assert equal(filled)
    assert equal(filled, PARENTS)
    plans = {plan.table: plan for plan in report.loaded[0].tables}
    assert plans["app_parent"].deleted == 1
    assert plans["app_child"].added == 30


def test_d7_children_are_loaded_into_empty_tables_behind_their_parents(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    assert equal(filled)
    assert equal(filled, PARENTS)


@pytest.mark.long
@pytest.mark.parametrize("value", ['<?xml version="1.0"?>\n\n<a/>', "\n\n\n<a/>"])
def test_xml_that_begins_with_line_ends_arrives(filled: TwoSites, value: str) -> None:
    """PostgreSQL's output has one line end less than what is stored."""
    for at_side in (filled.at_sender, filled.at_receiver):
        at_side("ALTER TABLE app_child ADD page xml")
    filled.at_sender(f"UPDATE app_child SET page = '{value}' WHERE id < 20")
    since = watermark_of(filled.complete())
    assert filled.load().refused == ()
    filled.at_sender("UPDATE app_child SET amount = -1, changed = now() WHERE id = 7")
    filled.partial(recent_window(), since=since)
    assert filled.load().refused == ()
    filled.at_sender("UPDATE app_child SET page = '<b/>' WHERE id = 8")
    filled.complete()
    assert filled.load().refused == ()
    pages = "SELECT id, ltrim(format('%s', page), E'\\n') FROM app_child WHERE id < 30 ORDER BY id"
    assert rows(filled.receiver, pages) == rows(filled.sender, pages)
    assert equal(filled)


@pytest.mark.long
def test_same_archive_again_changes_nothing(filled: TwoSites) -> None:
    path = filled.complete()
    filled.load()
    copy = path.with_name(path.name.removeprefix("NEW_"))
    before = rows(filled.receiver, "SELECT xmin::text, * FROM app_child ORDER BY id")
    for _ in range(3):
        path.write_bytes(copy.read_bytes())
        copy.unlink()
        report = filled.load()
        assert [archive.recovered for archive in report.loaded] == [True]
    assert rows(filled.receiver, "SELECT xmin::text, * FROM app_child ORDER BY id") == before


def test_unchanged_rows_are_not_written(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    before = rows(filled.receiver, "SELECT xmin::text, id FROM app_child WHERE id <> 7 ORDER BY id")
    filled.at_sender("UPDATE app_child SET amount = 1 WHERE id = 7")
    filled.complete()
    filled.load()
    after = rows(filled.receiver, "SELECT xmin::text, id FROM app_child WHERE id <> 7 ORDER BY id")
    assert (before, equal(filled)) == (after, True)


def test_partial_brings_what_changed_and_all_that_it_refers_to(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_sender(
        "INSERT INTO app_parent (id, code) VALUES (900, 'new')",
        "INSERT INTO app_child (parent_id, amount) VALUES (900, 1.5)",
    )
    filled.partial(recent_window())
    filled.load()
    assert equal(filled)
    assert equal(filled, PARENTS)


def test_d31_change_without_a_time_stamp_arrives_by_the_watermark(filled: TwoSites) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(
        "UPDATE app_child SET amount = 42 WHERE id = 3",
        "UPDATE app_parent SET label = 'renamed' WHERE id = 9",
    )
    filled.partial(recent_window(), since=base)
    report = filled.load()
    assert equal(filled)
    assert equal(filled, PARENTS)
    assert sum(plan.row_count for plan in report.loaded[0].tables) < 10


def test_row_that_commits_after_the_dump_of_its_window_arrives_with_the_next(
    filled: TwoSites,
) -> None:
    with connect(filled.sender, application="late") as late, late.transaction():
        late.execute("INSERT INTO public.app_child (parent_id, amount) VALUES (3, 77)")
        base = watermark_of(filled.complete())
    filled.load()
    assert not equal(filled)
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    window = Window(start=long_ago, end=long_ago + timedelta(minutes=5))
    filled.partial(window, minutes=1, since=base)
    filled.load()
    assert equal(filled)


def test_d21_receiver_only_columns_survive_and_changed_rows_are_reset(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET seen = true, transformed = true")
    filled.at_sender("UPDATE app_parent SET code = 'changed' WHERE id = 4")
    filled.complete()
    filled.load()
    own = rows(filled.receiver, "SELECT id, transformed FROM app_parent WHERE seen ORDER BY id")
    assert len(own) == 50
    assert [row for row in own if not row[1]] == [(4, False)]


def test_column_that_the_transform_rewrote_is_not_undone(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET label = upper(label)")
    filled.at_sender("UPDATE app_parent SET label = 'plain' WHERE id = 4")
    filled.complete()
    report = filled.load()
    plans = {plan.table: plan for plan in report.loaded[0].tables}
    assert plans["app_parent"].changed == 1
    labels = rows(filled.receiver, "SELECT label FROM app_parent WHERE id IN (3, 4) ORDER BY id")
    assert labels == [("LABEL 3",), ("plain",)]


def test_two_rows_may_exchange_their_unique_values(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET seen = true")
    filled.at_sender(
        "BEGIN; UPDATE app_parent SET code = 'x' WHERE id = 1;"
        " UPDATE app_parent SET code = 'c1' WHERE id = 2;"
        " UPDATE app_parent SET code = 'c2' WHERE id = 1; COMMIT"
    )
    filled.complete()
    filled.load()
    assert equal(filled, PARENTS)
    assert rows(filled.receiver, "SELECT count(*) FROM app_parent WHERE seen") == [(50,)]


def test_unique_value_of_a_deleted_row_may_be_used_again(filled: TwoSites) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_sender(
        "DELETE FROM app_child WHERE parent_id = 7",
        "DELETE FROM app_parent WHERE id = 7",
        "INSERT INTO app_parent (id, code) VALUES (700, 'c7')",
    )
    filled.partial(recent_window(), since=base)
    filled.load()
    assert equal(filled, PARENTS)
    assert equal(filled)


def test_rows_of_the_receiver_go_with_the_row_that_they_depend_on(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(
        "INSERT INTO app_note (parent_id, maybe_id, text) VALUES (8, 1, 'goes'), (9, 7, 'stays')"
    )
    filled.at_sender(
        "DELETE FROM app_child WHERE parent_id = 8 OR id = 7", "DELETE FROM app_parent WHERE id = 8"
    )
    filled.complete()
    filled.load()
    assert rows(filled.receiver, "SELECT text, maybe_id FROM app_note") == [("stays", None)]
    assert equal(filled)


def test_sequences_follow_the_senders(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    next_id = "SELECT nextval('app_child_id_seq')"
    assert rows(filled.receiver, next_id) == rows(filled.sender, next_id)


def test_triggers_do_not_fire_for_replicated_rows(filled: TwoSites) -> None:
    filled.at_receiver(*MEDDLING)
    filled.complete()
    filled.load()
    assert equal(filled)


def test_load_that_a_trigger_alters_is_parked_and_nothing_has_changed(filled: TwoSites) -> None:
    filled.at_receiver(*MEDDLING, "ALTER TABLE app_child ENABLE ALWAYS TRIGGER meddle")
    path = filled.complete()
    (refusal,) = filled.load().refused
    assert refusal.code == DigestMismatchError.code
    assert "meddle" in str(refusal)
    assert rows(filled.receiver, "SELECT count(*) FROM app_parent") == [(0,)]
    assert not path.exists()
    filled.at_receiver("DROP TRIGGER meddle ON app_child")
    filled.load()
    assert equal(filled)


MEDDLING = (
    (
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.amount := 0; RETURN NEW; END$$"
    ),
    (
        "CREATE TRIGGER meddle BEFORE INSERT ON app_child"
        " FOR EACH ROW EXECUTE FUNCTION public.meddle()"
    ),
)


@pytest.mark.long
def test_d13_second_load_waits_for_the_first(filled: TwoSites) -> None:
    filled.complete()
    with connect(filled.receiver, application="other") as other:
        ensure_ledger(other)
        with load_lock(other), pytest.raises(LoadInProgressError):
            filled.load()
    assert filled.load().loaded


def test_tables_without_integer_key_are_sent_as_one_chunk(small_sites: TwoSites) -> None:
    table = "CREATE TABLE app_text (name text, part text, value numeric, PRIMARY KEY (name, part))"
    small_sites.at_sender(table, "INSERT INTO app_text VALUES ('a', 'b', 1.0), ('ñ', E'\\n', 2)")
    small_sites.at_receiver(table)
    small_sites.complete()
    small_sites.load()
    small_sites.at_sender("UPDATE app_text SET value = 1.00 WHERE name = 'a'")
    small_sites.complete()
    small_sites.load()
    query = "SELECT name, part, value::text FROM app_text ORDER BY name"
    assert equal(small_sites, query)


def test_emptied_table_is_emptied_at_the_receiver(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_sender("TRUNCATE app_child")
    filled.complete()
    filled.load()
    assert rows(filled.receiver, "SELECT count(*) FROM app_child") == [(0,)]


def test_pictures_are_installed_and_replaced(filled: TwoSites) -> None:
    (filled.sender_media / "a b ñ.jpeg").write_bytes(b"first")
    filled.at_sender("UPDATE app_child SET picture = 'a b ñ.jpeg', changed = now() WHERE id = 1")
    filled.complete()
    filled.load()
    assert (filled.receiver_media / "a b ñ.jpeg").read_bytes() == b"first"
    (filled.sender_media / "a b ñ.jpeg").write_bytes(b"second")
    filled.partial(recent_window())
    filled.load()
    assert (filled.receiver_media / "a b ñ.jpeg").read_bytes() == b"second"


def test_unfinished_picture_of_a_killed_load_goes_with_the_next_one(filled: TwoSites) -> None:
    unfinished = filled.receiver_media / ".ar-sync-0123456789abcdef"
    unfinished.write_bytes(b"half a pict")
    filled.complete()
    filled.load()
    assert not unfinished.exists()


def test_ignored_drift_loads_the_columns_and_tables_that_both_sides_have(
    filled: TwoSites,
) -> None:
    filled.environ["AR_SYNC_SCHEMA_DRIFT"] = "ignore"
    filled.at_sender("CREATE TABLE app_extra (id integer PRIMARY KEY)")
    filled.at_receiver("ALTER TABLE app_child DROP amount")
    filled.complete()
    admission = filled.admit()
    assert any("app_child.amount" in warning for warning in admission.warnings)
    filled.load()
    filled.at_sender("DELETE FROM app_child WHERE id < 9")
    filled.complete()
    filled.load()
    assert equal(filled, "SELECT id, parent_id, changed, picture FROM app_child ORDER BY id")


def test_receiver_whose_digests_differ_stages_everything_and_compares_rows(
    filled: TwoSites, tmp_path: Path
) -> None:
    """Another version of PostgreSQL may hash differently; the digest of the test row shows it."""
    filled.complete()
    filled.load()
    filled.at_sender(
        "UPDATE app_child SET amount = 1.5 WHERE id = 7", "DELETE FROM app_child WHERE id = 8"
    )
    remake(filled.complete(), tmp_path / "remade", digest_probe="of another server")
    (loaded,) = filled.load().loaded
    assert loaded.chunks_staged == loaded.chunks
    assert {plan.table: (plan.changed, plan.deleted) for plan in loaded.tables} == {
        "app_child": (1, 1),
        "app_parent": (0, 0),
    }
    assert equal(filled)


@pytest.mark.long
def test_archive_that_the_receivers_own_constraint_refuses_is_parked_and_others_go_on(
    filled: TwoSites,
) -> None:
    base = watermark_of(filled.complete())
    filled.load()
    filled.at_receiver("ALTER TABLE app_child ADD CHECK (amount < 1000)")
    filled.at_sender("UPDATE app_child SET amount = 2000 WHERE id = 1")
    refused = filled.partial(recent_window(), since=base)
    report = filled.load()
    assert "violates check constraint" in str(report.refused[0])
    assert (filled.spool / "parked" / refused.name).exists()
    filled.at_sender("UPDATE app_child SET amount = 20 WHERE id = 1")
    filled.partial(recent_window(), since=base)
    filled.load()
    assert rows(filled.receiver, "SELECT amount FROM app_child WHERE id = 1") == [(20.0,)]


def test_sequences_that_their_column_does_not_own_follow_too(small_sites: TwoSites) -> None:
    statements = (
        "CREATE SEQUENCE app_single_seq",
        "CREATE TABLE app_single (id integer PRIMARY KEY DEFAULT nextval('app_single_seq'))",
    )
    small_sites.at_sender(*statements)
    small_sites.at_receiver(*statements)
    small_sites.at_sender("INSERT INTO app_single SELECT FROM generate_series(1, 77)")
    small_sites.complete()
    small_sites.load()
    assert rows(small_sites.receiver, "SELECT nextval('app_single_seq')") == [(78,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"system_identifier": "1"},
        {"timeline": 99},
        {"snapshot": "4000000000:4000000000:"},
        {"snapshot": "1:1:"},
    ],
    ids=["another cluster", "a failover", "a cluster that was set back", "a comparable one"],
)
def test_watermark_counts_only_in_its_own_history(
    filled: TwoSites, changes: dict[str, object]
) -> None:
    base = watermark_of(filled.complete()).model_copy(update=changes)
    path = filled.partial(recent_window(), since=base)
    assert (verify_archive(path, signing_keys=()).since is None) == ("1:1:" not in changes.values())
