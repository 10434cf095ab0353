"""Digests are equal exactly if the rows are equal to the bit, wherever they are stored."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from ar_sync_pipeline.archive.manifest import Column
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.export.table_export import chunk_whole_table
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.digest import (
    ChunkDigest,
    chunk_index,
    digest_of,
    is_chunked,
    probe_digest,
)
from ar_sync_pipeline_tests.postgres.scratch import Scratch

Row = tuple[int, str | None, float | None]

COLUMNS = (
    Column(name="a", type="integer", nullable=False),
    Column(name="b", type="text", nullable=True),
    Column(name="c", type="double precision", nullable=True),
)

DIFFERENT = [
    ("integer", "1", "2"),
    ("smallint", "NULL", "0"),
    ("bigint", "4294967296", "0"),
    # Each pair folds to the same 32 bits.
    ("bigint", "4294967296", "1"),
    ("bigint", "4294967295", "-1"),
    ("bigint", "3232235777", "-1062731519"),
    ("bigint", "4294967298", "8589934593"),
    ("bigint", "9223372036854775807", "-9223372036854775808"),
    ("bigint", "NULL", "0"),
    ("boolean", "NULL", "false"),
    ("text", "NULL", "''"),
    ("text", "'a'", "'a '"),
    ("text", r"'\N'", "NULL"),
    ("text", "'🚌'", "'🚍'"),
    ("character varying(9)", "'é'", "'e' || chr(769)"),
    ("bpchar", "'a'", "'a '"),
    ("double precision", "0.0", "'-0.0'"),
    ("double precision", "0.1", "0.10000000000000002"),
    ("real", "0", "'-0'"),
    ("numeric", "1.0", "1.00"),
    ("numeric(6,2)[]", "'{1,NULL}'", "'{1,2}'"),
    ("timestamp with time zone", "'2017-09-25 10:00:00.000001Z'", "'2017-09-25 10:00:00.000002Z'"),
    ("timestamp without time zone", "'2017-09-25 10:00'", "'2017-09-25 10:00:00.000001'"),
    ("time without time zone", "'23:59:59.999999'", "'24:00'"),
    ("time with time zone", "'10:00+00'", "'11:00+01'"),
    ("interval", "'1 month'", "'30 days'"),
    ("interval", "'1 day'", "'24:00'"),
    ("interval day to second(3)", "'1 day'", "'24:00'"),
    ('"char"', "'a'", "'b'"),
    ("date", "'infinity'", "'9999-12-31'"),
    ("uuid", "'c0ffee00-0000-4000-8000-000000000001'", "'c0ffee00-0000-4000-8000-000000000002'"),
    ("bytea", r"'\x00'", r"'\x0000'"),
    ("jsonb", "'{\"a\": 1.0}'", "'{\"a\": 1.00}'"),
    ("bit varying", "B'0'", "B'00'"),
    ("xml", "'<a/>'", "'<a></a>'"),
    ("xml", "'<a/>'", "'<a/>' || chr(10)"),
    ("xml", "chr(13) || chr(10) || '<a/>'", "'<a/>'"),
    ("xml", "NULL", "''"),
]


@pytest.mark.parametrize(("kind", "one", "other"), DIFFERENT)
def test_values_that_differ_in_their_bits_have_different_digests(
    connection: Connection, kind: str, one: str, other: str
) -> None:
    assert digest_of_value(connection, kind, one) != digest_of_value(connection, kind, other)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("character(5)", "'a'", "'a   '"),
        ("timestamp with time zone", "'2017-09-25 10:00-03'", "'2017-09-25 13:00Z'"),
        ("jsonb", '\'{"a":1,"b":2}\'', '\'{"b":2, "a":1}\''),
        # COPY sends no prolog.
        ("xml", '\'<?xml version="1.0" encoding="UTF-8"?><a/>\'', "'<a/>'"),
        # Nor one of the line ends after it, nor the first one of a value without a prolog.
        ("xml", "'<?xml version=\"1.0\"?>' || repeat(chr(10), 2) || '<a/>'", "'<a/>'"),
        ("xml", "repeat(chr(10), 3) || '<a/>'", "chr(10) || '<a/>'"),
    ],
)
def test_spellings_that_are_stored_as_the_same_bits_have_equal_digests(
    connection: Connection, kind: str, one: str, other: str
) -> None:
    assert digest_of_value(connection, kind, one) == digest_of_value(connection, kind, other)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "older", "newer"),
    [
        # All bits of the longest interval mean infinity since version 17.
        (
            "interval",
            "'178956970 years 7 mons 2147483647 days 2562047788:00:54.775807'",
            "'infinity'",
        ),
        ("interval(3)", "'1 day 00:00:00.5'", "'1 day 00:00:00.5'"),
    ],
)
def test_bits_that_versions_print_differently_have_one_digest(
    connection: Connection, postgres_18: EmbeddedPostgres, kind: str, older: str, newer: str
) -> None:
    with connect(postgres_18.url(), application="test") as other:
        assert digest_of_value(connection, kind, older) == digest_of_value(other, kind, newer)


def test_two_rows_that_exchange_a_columns_value_change_the_digest(connection: Connection) -> None:
    before: list[Row] = [(1, "x", 1.5), (2, "y", 2.5)]
    after: list[Row] = [(1, "y", 1.5), (2, "x", 2.5)]
    assert digest(connection, before) != digest(connection, after)


BIG = Column(name="value", type="bigint", nullable=True)


@pytest.mark.parametrize("value", ["7", "-7", "2147483647", "-2147483648", "NULL"])
def test_digest_is_by_the_type_at_the_sender_whatever_the_receivers_is(
    connection: Connection, value: str
) -> None:
    for column in (BIG, BIG.model_copy(update={"type": "integer"})):
        digests = {
            digest_of_value(connection, kind, value, column) for kind in ("integer", "bigint")
        }
        assert len(digests) == 1


def test_halves_of_neighbouring_numbers_that_are_exchanged_change_the_digest(
    scratch: Scratch,
) -> None:
    scratch.run("CREATE TABLE one (id bigint PRIMARY KEY, x bigint, y bigint)")
    digests = set()
    for values in ("0, 1, 4294967296", "0, 4294967296, 1", "1, 4294967296, 0", "0, 4294967297, 0"):
        scratch.run("TRUNCATE one", f"INSERT INTO one VALUES ({values})")
        digests |= {chunk.digest for chunk in content(scratch, "one")}
    assert len(digests) == 4


def test_table_with_as_many_columns_as_postgresql_allows_has_a_digest(scratch: Scratch) -> None:
    columns = ", ".join(f"c{n} bigint" for n in range(1600))
    scratch.run(f"CREATE TABLE t ({columns})", "INSERT INTO t (c1599) VALUES (-1)")
    before = content(scratch, "t")
    scratch.run("UPDATE t SET c1599 = 4294967295")
    assert content(scratch, "t") != before


def test_null_that_moves_to_another_column_changes_the_digest(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE one (id integer PRIMARY KEY, x integer, y integer)",
        "CREATE TABLE other (LIKE one INCLUDING ALL)",
        "INSERT INTO one VALUES (1, 5, NULL)",
        "INSERT INTO other VALUES (1, NULL, 5)",
    )
    assert content(scratch, "one") != content(scratch, "other")


def test_order_of_a_tables_columns_and_rows_does_not_matter(scratch: Scratch) -> None:
    scratch.run(
        "CREATE TABLE one (id integer PRIMARY KEY, x text, y double precision)",
        "CREATE TABLE other (y double precision, id integer PRIMARY KEY, gone date, x text)",
        "ALTER TABLE other DROP COLUMN gone",
        "INSERT INTO one SELECT n, 'text ' || n, n / 7.0 FROM generate_series(1, 500) n",
        "INSERT INTO other (id, x, y) SELECT id, x, y FROM one ORDER BY md5(x)",
    )
    assert content(scratch, "one") == content(scratch, "other")


def test_equal_rows_give_equal_digests_in_two_databases(
    workbench: str, second_workbench: str, make_scratch: Callable[[str], Scratch]
) -> None:
    sites = [make_scratch(workbench), make_scratch(second_workbench)]
    for site in sites:
        site.run(
            "CREATE TABLE t (id integer PRIMARY KEY, a numeric, b timestamptz, c jsonb, d uuid)",
            "INSERT INTO t SELECT n, n / 3.0, '2017-05-14Z'::timestamptz + n * interval '7 us',"
            " jsonb_build_object('n', n), md5(n::text)::uuid FROM generate_series(-300, 300) n",
        )
    assert content(sites[0], "t") == content(sites[1], "t")
    assert probe_digest(sites[0].connection) == probe_digest(sites[1].connection)


def test_digest_does_not_depend_on_the_servers_defaults(scratch: Scratch) -> None:
    make = (
        "CREATE TABLE t (id integer PRIMARY KEY, a interval, b real[], c timestamptz[], d bytea[])"
    )
    row = "INSERT INTO t VALUES (1, '1 day -2 h', '{0.1}', '{2017-09-25 10:00Z}', '{\"\\\\xff\"}')"
    scratch.run(make, row)
    before = content(scratch, "t")
    database = scratch.rows("SELECT current_database()")[0][0]
    odd = {
        "TimeZone": "America/Santiago",
        "DateStyle": "German",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "-5",
        "bytea_output": "escape",
    }
    try:
        scratch.run(*(f"ALTER DATABASE {database} SET {k} = '{v}'" for k, v in odd.items()))
        with connect(scratch.url, application="test") as other:
            assert content(Scratch(scratch.url, scratch.schema, other), "t") == before
    finally:
        scratch.run(f"ALTER DATABASE {database} RESET ALL")


def test_empty_set_has_a_digest(connection: Connection) -> None:
    assert digest(connection, []) == ChunkDigest(0, "0")


def test_repeated_row_changes_the_digest(connection: Connection) -> None:
    row: Row = (1, "x", None)
    assert digest(connection, [row]).digest != digest(connection, [row, row]).digest


few_rows = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from([None, "", "a", "a ", "\\N", "ñ🚌"]),
        st.sampled_from([None, 0.0, -0.0, 1.0, 0.1, 0.1 + 2**-56]),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(one=few_rows, other=few_rows)
def test_digests_agree_exactly_when_the_rows_do(
    connection: Connection, one: list[Row], other: list[Row]
) -> None:
    same = sorted(map(bits, one)) == sorted(map(bits, other))
    assert (digest(connection, one) == digest(connection, other)) == same


@pytest.mark.parametrize(
    ("key", "index"),
    [(0, 0), (65_535, 0), (65_536, 1), (-1, -1), (-65_536, -1), (-65_537, -2), (2**62, 2**46)],
)
def test_chunk_is_the_key_shifted_down_also_below_zero(
    connection: Connection, key: int, index: int
) -> None:
    query = sql.SQL("SELECT {}").format(chunk_index(sql.Literal(key)))
    assert connection.execute(query).fetchone() == (index,)


def test_only_one_integer_column_makes_a_key_that_can_be_cut() -> None:
    assert is_chunked(COLUMNS, ("a",))
    assert not is_chunked(COLUMNS, ("b",))
    assert not is_chunked(COLUMNS, ("a", "b"))


def digest_of_value(
    connection: Connection, kind: str, value: str, column: Column | None = None
) -> str:
    sent = column or Column(name="value", type=kind, nullable=True)
    query = sql.SQL("SELECT {} FROM (SELECT CAST({} AS {}) AS value) AS t").format(
        digest_of(connection, [sent]),
        sql.SQL(value),
        sql.SQL(kind),
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return str(row[0])


def content(scratch: Scratch, name: str) -> list[ChunkDigest]:
    chunks = chunk_whole_table(scratch.connection, scratch.exported(name))
    return [chunk.content for chunk in chunks if chunk.content is not None]


def digest(connection: Connection, rows: Sequence[Row]) -> ChunkDigest:
    query = sql.SQL(
        "SELECT count(*), {} FROM unnest(%s::int4[], %s::text[], %s::float8[]) t(a,b,c)"
    )
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    row = connection.execute(query.format(digest_of(connection, COLUMNS)), columns).fetchone()
    assert row is not None
    return ChunkDigest(row[0], str(row[1]))


def bits(row: Row) -> tuple[int, bytes, bytes]:
    return (
        row[0],
        b"" if row[1] is None else b"+" + row[1].encode(),
        b"" if row[2] is None else struct.pack(">d", row[2]),
    )
