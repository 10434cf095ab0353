"""Tables without a key are exported whole, or refused by name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline_tests.export.source import (
    Source,
    catalog,
    now,
    row_counts,
    table,
    whole_tables,
)


@pytest.fixture
def source(source: Source) -> Source:
    source.run(
        "CREATE TABLE t_p (id integer PRIMARY KEY)",
        "CREATE TABLE t_log (p integer REFERENCES t_p, word text, at timestamptz)",
        "INSERT INTO t_p SELECT n FROM generate_series(1, 30) n",
        "INSERT INTO t_log SELECT 1 + n % 10, 'twice' FROM generate_series(1, 20) n",
    )
    return source


def test_complete_holds_all_rows_in_one_chunk(source: Source) -> None:
    found = table(source.complete(), "t_log")
    assert found is not None
    assert (found.primary_key, found.row_count, found.whole) == ((), 20, False)
    assert [chunk.key_range for chunk in found.chunks] == [None]


def test_partial_holds_all_rows_or_none(source: Source) -> None:
    base = source.complete().watermark
    assert row_counts(source.partial(base)) == {}
    source.run("UPDATE t_log SET word = 'once' WHERE p = 3")
    dump = source.partial(base)
    assert whole_tables(dump) == {"t_log"}
    # With the parents of all of its rows.
    assert row_counts(dump) == {"t_log": 20, "t_p": 10}
    assert row_counts(source.partial(dump.watermark)) == {}


def test_definition_counts_as_well(source: Source) -> None:
    base = source.complete().watermark
    source.run("ALTER TABLE t_log ADD made integer DEFAULT 1")
    assert whole_tables(source.partial(base)) == {"t_log"}


def test_without_a_point_to_begin_at_the_window_counts(source: Source) -> None:
    source.catalog = catalog(table={"t_log": {"changed_at": "at"}})
    assert row_counts(source.partial(None)) == {}
    source.run("UPDATE t_log SET at = now() WHERE p = 3")
    window = Window(start=now() - timedelta(minutes=5), end=now() + timedelta(seconds=5))
    assert whole_tables(source.partial(None, window)) == {"t_log"}


def test_unique_key_of_columns_that_are_never_null_is_a_key(source: Source) -> None:
    source.run(
        "CREATE TABLE t_u (a integer NOT NULL, b integer NOT NULL, UNIQUE (a, b))",
        "INSERT INTO t_u SELECT n, n FROM generate_series(1, 9) n",
    )
    dump = source.complete()
    found = table(dump, "t_u")
    assert found is not None
    assert found.primary_key == ("a", "b")
    source.run("UPDATE t_u SET b = 0 WHERE a = 2")
    assert row_counts(source.partial(dump.watermark)) == {"t_u": 1}


def test_table_without_key_that_others_refer_to_comes_along(source: Source) -> None:
    source.run(
        "CREATE TABLE t_n (code text UNIQUE, word text)",
        "CREATE TABLE t_c (id integer PRIMARY KEY, code text REFERENCES t_n (code))",
        "INSERT INTO t_n VALUES ('a', 'x'), ('b', 'y'), (NULL, 'z')",
        "INSERT INTO t_c VALUES (1, 'a'), (2, NULL)",
    )
    base = source.complete().watermark
    source.run("UPDATE t_c SET id = 3 WHERE id = 2")
    assert row_counts(source.partial(base)) == {"t_c": 1}
    source.run("UPDATE t_c SET id = 4 WHERE id = 1")
    dump = source.partial(base)
    assert (row_counts(dump), whole_tables(dump)) == ({"t_c": 2, "t_n": 3}, {"t_n"})


def test_table_that_is_too_large_is_refused_by_name(source: Source) -> None:
    source.catalog = catalog(whole_table_limit_mb=0)
    source.run("INSERT INTO t_log (word) SELECT md5(n::text) FROM generate_series(1, 20000) n")
    with pytest.raises(SchemaError, match=r"table t_log has no primary key") as caught:
        source.complete()
    assert "whole_table_limit_mb" in caught.value.remedy


def test_partitions_count_towards_the_size(source: Source) -> None:
    source.catalog = catalog(whole_table_limit_mb=0)
    source.run(
        "DROP TABLE t_log",
        "CREATE TABLE t_q (id integer, word text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_q1 PARTITION OF t_q DEFAULT",
        "INSERT INTO t_q SELECT n, md5(n::text) FROM generate_series(1, 20000) n",
    )
    with pytest.raises(SchemaError, match="table t_q has no primary key"):
        source.complete()


def test_self_referencing_row_brings_its_parents(source: Source) -> None:
    source.run(
        "CREATE TABLE t_s (id integer PRIMARY KEY, parent integer REFERENCES t_s)",
        "INSERT INTO t_s VALUES (1, NULL), (2, 1), (3, 2), (4, 3)",
    )
    base = source.complete().watermark
    source.run("UPDATE t_s SET parent = 2 WHERE id = 3")
    assert row_counts(source.partial(base)) == {"t_s": 3}
    source.catalog = catalog(table={"t_s": {"children": ["t_s"]}})
    assert row_counts(source.partial(base)) == {"t_s": 4}


def test_reference_to_a_table_outside_the_catalog_is_named(source: Source) -> None:
    source.run(
        "CREATE TABLE users (id integer PRIMARY KEY)",
        "CREATE TABLE t_x (id integer PRIMARY KEY, owner integer REFERENCES users)",
    )
    (found,) = source.complete().references_out
    assert "t_x refers to users (t_x_owner_fkey)" in found
    assert 'add "users" to `tables` of the catalog, or give owner the mask "null"' in found
