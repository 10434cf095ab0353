"""A change of column rules changes what is sent of unchanged rows: they are sent again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.masking import NO_RULES
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


def of_an_earlier_version(scratch: Path) -> None:
    """Make the journal one of the commit "Version 0.2.0": rules of tables with rules only.

    It kept no manifest under the names of today either.
    """
    for kept in scratch.glob("ar_sync_manifest_*"):
        kept.unlink()
    journal = scratch / SENT_FILE
    content = json.loads(journal.read_bytes())
    for entry in content["rules"]:
        plain = [name for name, digest in entry["digests"].items() if digest == NO_RULES]
        entry["digests"] = {n: d for n, d in entry["digests"].items() if n not in plain}
        del entry["every_table"]
    journal.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("ruled", "named"),
    [
        (MASKED, set()),
        (MASKED | {"t_c": {"mask": {"w": "null"}}}, {"t_c"}),
        ({"t_b": MASKED["t_b"]}, {"t_a"}),
    ],
)
def test_upgrade_names_only_large_tables_whose_rules_changed(
    filled: Source, ruled: dict[str, Any], named: set[str]
) -> None:
    filled.catalog = catalog(table=MASKED, watermark_limit_mb=0)
    first = filled.complete()
    of_an_earlier_version(filled.folder)
    filled.catalog = catalog(table=ruled, watermark_limit_mb=0)
    dump = filled.partial(first.watermark)
    assert {"t_a", "t_b", "t_c"} <= set(dump.untracked_tables)
    assert set(dump.redefined or ()) == named


def test_upgrade_carries_a_table_whole_that_may_be_new(filled: Source) -> None:
    filled.catalog = rules(**MASKED)
    first = filled.complete()
    of_an_earlier_version(filled.folder)
    assert whole_tables(filled.partial(first.watermark)) == {"t_c"}


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
