"""Changes that write no rows are in the next partial, or reported (case S20)."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts, whole_tables

TABLES = (
    "CREATE TABLE t_a (id integer PRIMARY KEY, v text)",
    "CREATE TABLE t_b (id integer PRIMARY KEY, a integer REFERENCES t_a)",
    "INSERT INTO t_a SELECT n, 'v' FROM generate_series(1, 50) n",
    "INSERT INTO t_b SELECT n, n FROM generate_series(1, 20) n",
    "CREATE TABLE t_p (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE t_p1 PARTITION OF t_p FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE apart (id integer NOT NULL, v text)",
    "INSERT INTO apart SELECT n, 'old' FROM generate_series(10, 19) n",
    "CREATE TABLE aside (id integer PRIMARY KEY, v text)",
    "INSERT INTO aside VALUES (1, 'other')",
)


@pytest.fixture
def source(source: Source) -> Source:
    source.run(*TABLES)
    return source


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE t_a ADD made timestamptz NOT NULL DEFAULT now()",
        "ALTER TABLE t_a ALTER v TYPE varchar",
        "ALTER TABLE t_a RENAME v TO w",
        "ALTER TABLE t_a DROP v",
        (
            "BEGIN; DROP TABLE t_b; ALTER TABLE t_a RENAME TO past;"
            " ALTER TABLE aside RENAME TO t_a; COMMIT"
        ),
    ],
)
def test_table_whose_definition_changed_comes_whole(source: Source, statement: str) -> None:
    base = source.complete().watermark
    assert row_counts(source.partial(base)) == {}
    source.run(statement)
    dump = source.partial(base)
    assert whole_tables(dump) == {"t_a"}
    assert row_counts(dump)["t_a"] == (1 if "aside" in statement else 50)
    # And only once.
    assert row_counts(source.partial(dump.watermark)) == {}


SWAP = "ALTER TYPE {0} RENAME VALUE 'a' TO 'x'; ALTER TYPE {0} RENAME VALUE 'b' TO 'a';"
SWAP += "ALTER TYPE {0} RENAME VALUE 'x' TO 'b'"


@pytest.mark.parametrize(
    ("types", "column", "change"),
    [
        ("CREATE TYPE mood AS ENUM ('a', 'b')", "mood DEFAULT 'a'", SWAP.format("mood")),
        ("CREATE TYPE mood AS ENUM ('a', 'b')", "mood[] DEFAULT '{a,b}'", SWAP.format("mood")),
        (
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN kind AS mood",
            "kind DEFAULT 'b'",
            SWAP.format("mood"),
        ),
        (
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE pair AS (n integer, m mood)",
            "pair DEFAULT '(1,a)'",
            SWAP.format("mood"),
        ),
        (
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TYPE span AS RANGE (SUBTYPE = mood)",
            "span DEFAULT '[a,b)'",
            "ALTER TYPE mood RENAME VALUE 'b' TO 'c'",
        ),
        (
            "CREATE TYPE pair AS (n integer, m text)",
            "pair DEFAULT '(1,x)'",
            "ALTER TYPE pair ADD ATTRIBUTE o integer",
        ),
    ],
    ids=["enum", "array", "domain", "composite", "range", "attribute"],
)
def test_table_whose_values_a_type_reads_otherwise_comes_whole(
    source: Source, types: str, column: str, change: str
) -> None:
    source.run(types, f"ALTER TABLE t_b ADD v {column}")
    base = source.complete().watermark
    source.run(change)
    dump = source.partial(base)
    assert (whole_tables(dump), row_counts(dump)["t_b"]) == ({"t_b"}, 20)
    assert row_counts(source.partial(dump.watermark)) == {}


def test_attached_partition_comes_with_its_table(source: Source) -> None:
    base = source.complete().watermark
    source.run("ALTER TABLE t_p ATTACH PARTITION apart FOR VALUES FROM (10) TO (20)")
    dump = source.partial(base)
    assert (whole_tables(dump), row_counts(dump)) == ({"t_p"}, {"t_p": 10})
    source.run("ALTER TABLE t_p ADD w integer DEFAULT 7")
    assert whole_tables(source.partial(dump.watermark)) == {"t_p"}


NEW = "CREATE TABLE new (LIKE t_p INCLUDING ALL); INSERT INTO new VALUES (10, 'new');"
ATTACH = "ALTER TABLE t_p ATTACH PARTITION {} FOR VALUES FROM (10) TO (20);"


@pytest.mark.parametrize(
    ("statements", "is_whole"),
    [
        (
            ["CREATE TABLE new PARTITION OF t_p FOR VALUES FROM (10) TO (20)",
             "INSERT INTO t_p VALUES (10, 'new')"],
            False,
        ),
        ([f"BEGIN; {NEW} {ATTACH.format('new')} COMMIT"], False),
        ([NEW, ATTACH.format("new")], True),
        ([f"BEGIN; ALTER TABLE apart RENAME TO new; {ATTACH.format('new')} COMMIT"], True),
        (
            ["CREATE TABLE new PARTITION OF t_p FOR VALUES FROM (10) TO (20)",
             "INSERT INTO t_p VALUES (10, 'new')", "ALTER TABLE t_p ADD w integer DEFAULT 7"],
            True,
        ),
    ],
    ids=["created", "attached at once", "attached later", "renamed", "altered"],
)  # fmt: skip
def test_partition_that_is_made_in_place_brings_only_its_rows(
    source: Source, statements: list[str], is_whole: bool
) -> None:
    """A job makes one each hour: its table is not sent whole each hour."""
    source.run("INSERT INTO t_p VALUES (1, 'before')")
    base = source.complete().watermark
    source.run(*statements)
    dump = source.partial(base)
    assert whole_tables(dump) == ({"t_p"} if is_whole else set())
    assert row_counts(dump)["t_p"] >= 1 + is_whole


def test_rows_that_a_whole_table_refers_to_come_along(source: Source) -> None:
    base = source.complete().watermark
    source.run("ALTER TABLE t_b ADD made integer DEFAULT 7")
    dump = source.partial(base)
    assert whole_tables(dump) == {"t_b"}
    assert row_counts(dump) == {"t_a": 20, "t_b": 20}


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT SELECT ON t_a TO pg_monitor",
        "VACUUM FULL t_a",
        "ANALYZE t_a",
        "CREATE INDEX ON t_a (v)",
        "ALTER TABLE t_a ADD CHECK (id > 0)",
        "ALTER TABLE t_a SET (fillfactor = 70)",
        "REINDEX TABLE t_a",
    ],
)
def test_what_changes_no_value_sends_nothing(source: Source, statement: str) -> None:
    base = source.complete().watermark
    source.run(statement)
    assert row_counts(source.partial(base)) == {}


def test_late_migration_is_found(source: Source) -> None:
    with source.session("SELECT pg_current_xact_id()") as writer:
        base = source.complete().watermark
        writer.execute("ALTER TABLE t_a ADD w integer DEFAULT 7")
        writer.commit()
    assert whole_tables(source.partial(base)) == {"t_a"}


def test_table_that_is_too_large_to_be_carried_is_told(source: Source) -> None:
    source.catalog = catalog(table={"t_a": {"watermark": False}})
    base = source.complete().watermark
    source.run("ALTER TABLE t_a ADD w integer DEFAULT 7")
    dump = source.partial(base)
    assert row_counts(dump) == {}
    assert "t_a" in dump.untracked_tables
