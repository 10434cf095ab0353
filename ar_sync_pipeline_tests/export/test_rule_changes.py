"""A change of column rules changes what is sent of unchanged rows: they are sent again."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.export.source import (
    Source,
    catalog,
    row_counts,
    table,
    whole_tables,
)

MASKED = {"t_a": {"mask": {"v": "pseudonym"}}, "t_b": {"mask": {"v": "null"}}}


@pytest.fixture
def filled(source: Source) -> Source:
    source.pseudonym_key = "not a secret, since it is in a test"
    for name in ("t_a", "t_b", "t_c"):
        source.run(
            f"CREATE TABLE {name} (id int PRIMARY KEY, v text, w text)",
            f"INSERT INTO {name} SELECT n, n, n FROM generate_series(1, 10) n",
        )
    return source


def rules(**tables: object) -> Catalog:
    return catalog(table=tables)


def test_partial_carries_tables_whole_whose_rules_came_changed_or_went(filled: Source) -> None:
    plain = filled.complete()
    filled.catalog = rules(**MASKED)
    came = filled.partial(plain.watermark)
    assert whole_tables(came) == {"t_a", "t_b"}
    assert row_counts(filled.partial(came.watermark)) == {}
    filled.catalog = rules(**MASKED | {"t_b": {"mask": {"v": {"truncate": 1}}}})
    changed = filled.partial(came.watermark)
    assert whole_tables(changed) == {"t_b"}
    # As if that archive was lost: from the receiver's checkpoint, only the rules count.
    filled.catalog = rules(t_c={"exclude": ["w"]})
    went = filled.partial(came.watermark)
    assert whole_tables(went) == {"t_a", "t_b", "t_c"}
    filled.catalog = rules(t_c={"receiver_columns": ["w"]})
    assert row_counts(filled.partial(went.watermark)) == {}
    filled.catalog = rules()
    assert whole_tables(filled.partial(went.watermark)) == {"t_c"}


def test_another_secret_changes_the_tables_with_pseudonyms(filled: Source) -> None:
    filled.catalog = rules(**MASKED)
    first = filled.complete()
    filled.pseudonym_key = "another one, and no secret either"
    assert whole_tables(filled.partial(first.watermark)) == {"t_a"}


def test_without_the_journal_every_table_is_carried_whole(filled: Source) -> None:
    filled.catalog = rules(**MASKED)
    first = filled.complete()
    (filled.folder / SENT_FILE).unlink()
    assert whole_tables(filled.partial(first.watermark)) == {"t_a", "t_b", "t_c"}


def test_large_table_waits_for_the_next_complete_and_is_named(filled: Source) -> None:
    first = filled.complete()
    filled.catalog = catalog(table=MASKED, watermark_limit_mb=0)
    dump = filled.partial(first.watermark)
    assert {"t_a", "t_b"} <= set(dump.untracked_tables)
    assert row_counts(dump) == {}


def test_complete_after_a_change_does_not_blame_the_partials(filled: Source) -> None:
    """The keys of changed rows show what partials missed, but not in these tables."""
    first = filled.complete()
    filled.catalog = rules(**MASKED)
    filled.run("ALTER TABLE t_c ADD x int DEFAULT 5", "CREATE TABLE t_d (id int PRIMARY KEY)")
    second = filled.complete(first.watermark)
    told = {name: found for name in "abcd" if (found := table(second, f"t_{name}"))}
    assert [name for name, found in told.items() if found.changed_keys is None] == [
        "a", "b", "c", "d",
    ]  # fmt: skip
    third = filled.complete(second.watermark)
    assert all(found.changed_keys for found in third.tables)


def test_names_of_the_rules_are_in_the_manifest(filled: Source) -> None:
    filled.catalog = rules(t_a={"exclude": ["w"], "mask": {"v": {"constant": "hidden"}}})
    dump = filled.complete()
    by_name = {found.name: found.column_rules for found in dump.tables}
    assert by_name == {"t_a": {"v": "constant", "w": "exclude"}, "t_b": {}, "t_c": {}}
    text = dump.model_dump_json()
    assert "hidden" not in text
    # A receiver of an earlier version, without rules, can read tables without rules.
    assert text.count("column_rules") == 1
