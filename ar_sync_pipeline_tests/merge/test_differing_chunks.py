"""Only chunks that differ are read, compared and deleted from; all others stay unchanged."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.fix_sites import TwoSites, rows

CHUNKS = 160
ROWS = "SELECT id, amount FROM app_child ORDER BY id"


@pytest.fixture
def chunks(small_sites: TwoSites) -> TwoSites:
    """Return two servers with three rows in each of many chunks, half of them below zero."""
    small_sites.at_sender(
        "INSERT INTO app_parent (id) VALUES (1)",
        "INSERT INTO app_child (id, parent_id, amount) SELECT (n << 16) + k, 1, n"
        f" FROM generate_series(-{CHUNKS // 2}, {CHUNKS // 2 - 1}) n,"
        " unnest(ARRAY[0, 7, 65535]) k",
    )
    small_sites.complete()
    small_sites.load()
    return small_sites


# One range, some ranges, more ranges than a condition may have; the ends of the keys.
@pytest.mark.long
@pytest.mark.parametrize(
    "which", ["n = 3", "n % 50 = 0", "n % 2 = 0", "n IN (-80, 79)", "n > -70", "true", "false"]
)
def test_changes_deletions_and_additions_in_any_chunks_arrive(chunks: TwoSites, which: str) -> None:
    condition = which.replace("n", "(id >> 16)") if which not in {"true", "false"} else which
    chunks.at_sender(
        f"UPDATE app_child SET amount = -1 WHERE id & 65535 = 0 AND {condition}",
        f"DELETE FROM app_child WHERE id & 65535 = 65535 AND {condition}",
        "INSERT INTO app_child (id, parent_id, amount) SELECT id + 9, 1, 5 FROM app_child"
        f" WHERE id & 65535 = 7 AND {condition}",
    )
    chunks.complete()
    report = chunks.load().loaded[0]
    assert rows(chunks.sender, ROWS) == rows(chunks.receiver, ROWS)
    different = rows(
        chunks.sender, f"SELECT count(DISTINCT id >> 16) FROM app_child WHERE {condition}"
    )
    assert report.chunks_staged == different[0][0]


@pytest.mark.long
def test_rows_in_chunks_that_the_sender_does_not_have_are_deleted(chunks: TwoSites) -> None:
    chunks.at_receiver(
        "INSERT INTO app_child (id, parent_id) SELECT i, 1"
        " FROM unnest(ARRAY[-2147483648, -2147483648 + 65536, 2147483647, 6000000]) i"
    )
    chunks.at_sender("DELETE FROM app_child WHERE id >> 16 IN (-80, 0, 79)")
    chunks.complete()
    chunks.load()
    assert rows(chunks.sender, ROWS) == rows(chunks.receiver, ROWS)


@pytest.mark.long
def test_unchanged_chunks_of_a_table_with_changes_are_not_written(chunks: TwoSites) -> None:
    versions = "SELECT id, xmin::text FROM app_child WHERE id >> 16 <> 5 ORDER BY id"
    before = rows(chunks.receiver, versions)
    chunks.at_sender("UPDATE app_child SET amount = 0 WHERE id >> 16 = 5")
    chunks.complete()
    chunks.load()
    assert rows(chunks.receiver, versions) == before
