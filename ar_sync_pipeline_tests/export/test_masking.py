"""Masks in SQL: each function on each type that it takes, compared with Python's own arithmetic."""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psycopg
import pytest
from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.export.masking import masked_values, set_pseudonym_key
from ar_sync_pipeline.export.source_tables import replicated_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline_tests.export.source import Source, catalog
from ar_sync_pipeline_tests.fix_sites import execute

KEY = "not a secret, since it is in a test"
LONG_KEY = "longer than a block of SHA-256 " * 5


def hexadecimal(value: str, key: str = KEY) -> str:
    return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()


@dataclass
class Table:
    """A table ``t_a`` with one masked column ``v``."""

    url: str

    def make(self, column: str, *more: str) -> None:
        execute(self.url, f"CREATE TABLE t_a (id int PRIMARY KEY, v {column})", *more)

    def masked(self, mask: object, *values: str | None, key: str | None = KEY) -> list[str | None]:
        """Return what is sent instead of values, as text."""
        execute(self.url, "TRUNCATE t_a")
        with psycopg.connect(self.url, autocommit=True) as session:
            for number, value in enumerate(values):
                session.execute("INSERT INTO t_a VALUES (%s, %s)", [number, value])
        with connect(self.url, application="test") as connection, connection.transaction():
            facts = replicated_tables(connection, self.catalog(mask))["t_a"]
            set_pseudonym_key(connection, key)
            rules = self.catalog(mask).rules("t_a")
            expression = masked_values(rules, facts)["v"](sql.Identifier("v"))
            query = sql.SQL("SELECT {0}::text, pg_typeof({0}) = pg_typeof(v) FROM {1} ORDER BY id")
            found = connection.execute(query.format(expression, facts.relation)).fetchall()
        assert all(right for _, right in found)
        return [value for value, _ in found]

    def problem(self, mask: object) -> str:
        """Return why the catalog is refused; empty if it is not."""
        return problem(self.url, self.catalog(mask))

    def catalog(self, mask: object) -> Catalog:
        return catalog(table={"t_a": {"mask": {"v": mask}}})


def problem(url: str, rules: Catalog) -> str:
    with connect(url, application="test") as connection:
        try:
            replicated_tables(connection, rules)
        except ArSyncError as error:
            return str(error)
    return ""


@pytest.fixture
def table(empty_database: str) -> Table:
    return Table(empty_database)


def test_a_pseudonym_is_the_hmac_of_the_value(table: Table) -> None:
    table.make("text")
    values = ["ana@example.org", "ñandú 🚌", " ", "x" * 10_000]
    for key in (KEY, LONG_KEY, "k" * 64):
        assert table.masked("pseudonym", *values, key=key) == [
            hexadecimal(value, key)[:32] for value in values
        ]


@pytest.mark.parametrize(
    ("column", "length"),
    [("varchar(254)", 32), ("varchar(20)", 20), ("char(12)", 12), ("varchar", 32), ("bpchar", 32)],
)
def test_a_pseudonym_fits_the_column(table: Table, column: str, length: int) -> None:
    table.make(column)
    assert table.masked("pseudonym", "ana", "", None) == [
        hexadecimal("ana")[:length], "", None
    ]  # fmt: skip


def test_a_pseudonym_of_a_uuid_or_a_bigint_is_one(table: Table) -> None:
    table.make("uuid")
    one = "c0ffee00-0000-4000-8000-000000000001"
    (found,) = table.masked("pseudonym", one)
    assert str(found).replace("-", "") == hexadecimal(one)[:32]
    execute(table.url, "DROP TABLE t_a")
    table.make("bigint")
    digits = hexadecimal("56912345678")[:16]
    assert table.masked("pseudonym", "56912345678") == [str(int(digits, 16) & (2**63 - 1))]


def test_a_pseudonym_of_citext_has_no_case(table: Table) -> None:
    execute(table.url, "CREATE SCHEMA ext", "CREATE EXTENSION citext SCHEMA ext")
    table.make("ext.citext")
    assert table.masked("pseudonym", "Ana", "ANA") == [hexadecimal("ana")[:32]] * 2


@pytest.mark.parametrize(
    ("column", "mask", "value", "expected"),
    [
        ("text", "null", "x", None),
        ("text", {"constant": "it's"}, "x", "it's"),
        ("varchar(3)", {"constant": ""}, None, ""),
        ("boolean", {"constant": False}, "true", "false"),
        ("date", {"constant": "2000-01-01"}, "1988-02-29", "2000-01-01"),
        ("numeric(6,2)", {"constant": 1.5}, "7", "1.50"),
        ("text", {"truncate": 3}, "ñandú", "ñan"),
        ("varchar(20)", {"truncate": 3}, "ab", "ab"),
        ("timestamptz", {"truncate": "day"}, "2026-03-29 23:59:59.9+00", "2026-03-29 00:00:00+00"),
        ("timestamp(0)", {"truncate": "hour"}, "2026-03-29 23:59:59", "2026-03-29 23:00:00"),
        ("timestamptz", {"truncate": "year"}, "infinity", "infinity"),
        ("date", {"truncate": "decade"}, "1988-02-29", "1980-01-01"),
        ("time", {"truncate": "hour"}, "13:59", "13:00:00"),
        ("double precision", {"round": 2}, "-33.4567", "-33.46"),
        ("double precision", {"round": 2}, "NaN", "NaN"),
        ("double precision", {"round": 2}, "-Infinity", "-Infinity"),
        ("real", {"round": 1}, "70.66", "70.7"),
        ("numeric(9,6)", {"round": 2}, "-70.648273", "-70.650000"),
        ("numeric(3,1)", {"round": 0}, "99.9", "99.0"),
        ("numeric", {"round": -1}, "NaN", "NaN"),
        ("smallint", {"round": -1}, "32767", "32760"),
        ("integer", {"round": -3}, "-1600", "-2000"),
    ],
)
def test_a_masked_value_has_the_column_s_type(
    table: Table, column: str, mask: object, value: str | None, expected: str | None
) -> None:
    table.make(column)
    assert table.masked(mask, value) == [expected]


@pytest.mark.parametrize("mask", [{"truncate": 2}, {"truncate": "day"}, {"round": 1}, "pseudonym"])
def test_null_stays_null(table: Table, mask: object) -> None:
    types = {"truncate": "timestamptz", "round": "real", "pseudonym": "text"}
    name = mask if isinstance(mask, str) else next(iter(mask)) if isinstance(mask, dict) else ""
    table.make("text" if mask == {"truncate": 2} else types[name])
    assert table.masked(mask, None) == [None]


@pytest.mark.parametrize(
    ("column", "mask", "words"),
    [
        ("text NOT NULL", "null", "v of t_a is NOT NULL"),
        ("text UNIQUE NULLS NOT DISTINCT", "null", "v of t_a is unique (t_a_v_key)"),
        ("text UNIQUE", {"constant": ""}, "is unique"),
        ("text UNIQUE", {"truncate": 3}, "is unique"),
        ("integer UNIQUE", {"round": -1}, "is unique"),
        ("varchar(10) UNIQUE", "pseudonym", "10 characters could be equal"),
        ("varchar(7)", "pseudonym", "takes a text of at least 8 characters"),
        ("integer", "pseudonym", "v of t_a is a integer"),
        ("jsonb", "pseudonym", "takes a text"),
        ("jsonb", {"truncate": 3}, "takes a text"),
        ("text", {"truncate": "day"}, "takes a time"),
        ("date", {"truncate": "hour"}, "takes a time"),
        ("text", {"round": 1}, "takes a number"),
        ("varchar(3)", {"constant": "four"}, "at most 3 characters"),
        ("integer", {"constant": "four"}, "'four', which is none of this type"),
        ("text GENERATED ALWAYS AS ('x') STORED", "null", "is computed"),
    ],
)
def test_a_mask_that_the_column_cannot_have_is_refused(
    table: Table, column: str, mask: object, words: str
) -> None:
    table.make(column)
    assert words in table.problem(mask)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("(id, (v || 'x'))", ""),
        ("(id) WHERE v = 'x'", ""),
        ("(other) WHERE v = 'x'", "v of t_a decides which rows are unique (ix)"),
        ("(other, v)", "v of t_a is unique (ix)"),
        # Values that differ as ids may be equal by another collation.
        ('(name COLLATE "ignoring", v)', "v of t_a is unique (ix)"),
    ],
)
def test_a_mask_breaks_no_index_that_contains_the_key(table: Table, index: str, words: str) -> None:
    table.make("text")
    execute(
        table.url,
        "CREATE COLLATION ignoring (provider = icu, locale = 'und-u-ks-level2',"
        " deterministic = false)",
        "ALTER TABLE t_a DROP CONSTRAINT t_a_pkey, ADD other int, ADD name text NOT NULL",
        f"ALTER TABLE t_a ADD PRIMARY KEY ({'name' if 'name' in index else 'id'})",
        f"CREATE UNIQUE INDEX ix ON t_a {index}",
    )
    assert words in table.problem({"constant": "x"})
    assert bool(words) is bool(table.problem({"constant": "x"}))


@pytest.mark.parametrize("mask", ["null", {"constant": "x"}, "pseudonym"])
def test_a_mask_over_a_domain_s_check_is_refused(table: Table, mask: object) -> None:
    execute(table.url, "CREATE DOMAIN mail AS text NOT NULL CHECK (VALUE LIKE '%@%')")
    table.make("mail")
    assert "v of t_a" in table.problem(mask) or "gives v" in table.problem(mask)


def test_a_mask_over_a_domain_whose_function_raises_is_refused(table: Table) -> None:
    execute(
        table.url,
        "CREATE FUNCTION good(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN RAISE EXCEPTION 'invalid %', $1; END$$",
        "CREATE DOMAIN rut AS text CHECK (good(VALUE))",
    )
    table.make("rut")
    assert "'x', which is none of this type" in table.problem({"constant": "x"})


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        ("(lower(v))", True),
        ("(upper(v::text))", True),
        ("(v, id)", True),
        ("(v) WHERE v <> ''", True),
        ("(v) WHERE v IS NOT NULL", True),
        ("(v) WHERE id > 5", True),
        ("(v) WHERE v LIKE '%@example.org'", False),
        ("(n) WHERE v = 'main'", False),
        # The primary key keeps such rows apart.
        ("(id) WHERE v = 'main'", True),
        ("(split_part(v, '@', 2))", False),
        ("((v || 'x'))", False),
        ("(lower(v || 'x'))", False),
    ],
)
@pytest.mark.parametrize("column", ["text", "varchar(60)"])
def test_a_pseudonym_is_refused_where_an_index_would_judge_it_otherwise(
    table: Table, column: str, index: str, kept: bool
) -> None:
    table.make(column, "ALTER TABLE t_a ADD n int", f"CREATE UNIQUE INDEX i ON t_a {index}")
    assert (table.problem("pseudonym") == "") is kept, table.problem("pseudonym")


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        ("(v)", True),
        ("(id, v)", True),
        ("(lower(v))", True),
        ("(v) WHERE id > 5", True),
        ("(v) NULLS NOT DISTINCT", False),
        ("(coalesce(v, ''))", False),
        ("(n) WHERE v IS NULL", False),
        ("(id) WHERE v IS NULL", True),
        ("(id) WHERE v IS NOT NULL", True),
    ],
)
def test_null_is_refused_only_where_two_nulls_are_equal(
    table: Table, index: str, kept: bool
) -> None:
    table.make("text", "ALTER TABLE t_a ADD n int", f"CREATE UNIQUE INDEX i ON t_a {index}")
    assert (table.problem("null") == "") is kept, table.problem("null")


@pytest.mark.parametrize(
    ("expression", "mask", "kept"),
    [
        ("lower(v)", "pseudonym", True),
        ("lower(v)", "null", True),
        ("lower(v)", {"truncate": 3}, False),
        ("lower(v)", {"constant": "x"}, False),
        ("split_part(v, '@', 1)", "pseudonym", False),
        ("coalesce(v, '')", "null", False),
    ],
)
def test_a_unique_column_that_is_computed_from_masked_ones_is_heeded(
    table: Table, expression: str, mask: object, kept: bool
) -> None:
    computed = f"g text GENERATED ALWAYS AS ({expression}) STORED UNIQUE"
    table.make("text", f"ALTER TABLE t_a ADD {computed}")
    assert (table.problem(mask) == "") is kept, table.problem(mask)


@pytest.mark.parametrize(
    ("column", "mask", "remedy"),
    [
        (
            "varchar(150) NOT NULL UNIQUE",
            "null",
            "or name it in `exclude` once the receiver's column is nullable or has a default",
        ),
        ("text UNIQUE", {"constant": ""}, 'give it the mask "pseudonym" or "null", or name it in'),
        ("int NOT NULL DEFAULT 0 UNIQUE", {"round": -1}, "name it in `exclude`."),
        ("int", "pseudonym", 'give it the mask "null" or { constant = VALUE }, or name it in'),
        ("varchar(9) UNIQUE", "pseudonym", 'widen it at both sides, or give it the mask "null"'),
    ],
)
def test_remedy_names_only_rules_that_the_column_can_have(
    table: Table, column: str, mask: object, remedy: str
) -> None:
    table.make(column)
    said = table.problem(mask)
    assert remedy in f"{said}.", said


def test_keys_and_partition_keys_can_be_neither_masked_nor_excluded(table: Table) -> None:
    execute(
        table.url,
        "CREATE TABLE t_k (k text PRIMARY KEY, v text)",
        "CREATE TABLE t_u (u text NOT NULL UNIQUE, v text)",
        "CREATE TABLE t_p (p date, v text) PARTITION BY RANGE (p)",
        "CREATE TABLE t_e (p timestamp, w date, v text) PARTITION BY RANGE (date(p), w)",
    )
    for label, column in (("t_k", "k"), ("t_u", "u"), ("t_p", "p"), ("t_e", "p"), ("t_e", "w")):
        for rules in ({"exclude": [column]}, {"mask": {column: {"constant": "2000-01-01"}}}):
            assert f"column {column} of {label}" in problem(
                table.url, catalog(table={label: rules})
            )


def test_one_side_of_a_reference_alone_is_refused(table: Table) -> None:
    execute(
        table.url,
        "CREATE TABLE t_user (id int PRIMARY KEY, mail varchar(60) UNIQUE)",
        "CREATE TABLE t_post (id int PRIMARY KEY, mail varchar(60) REFERENCES t_user (mail))",
        "CREATE TABLE t_wide (id int PRIMARY KEY, mail text REFERENCES t_user (mail))",
    )
    masks = {"mask": {"mail": "pseudonym"}}
    excluded = {"exclude": ["mail"]}
    every = {"t_user": masks, "t_post": masks}
    for rules in ({"t_user": masks}, {"t_post": masks}, {"t_post": excluded}):
        assert "does not treat both alike" in problem(table.url, catalog(table=rules))
    # A pseudonym has as many digits as fit the column.
    assert "mail of t_wide" in problem(table.url, catalog(table=every | {"t_wide": masks}))
    execute(table.url, "DROP TABLE t_wide")
    assert problem(table.url, catalog(table=every)) == ""
    assert problem(table.url, catalog(table={"t_user": excluded, "t_post": excluded})) == ""


def test_a_pseudonym_is_refused_where_a_reference_joins_different_texts(table: Table) -> None:
    execute(
        table.url,
        "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2',"
        " deterministic = false)",
        "CREATE TABLE t_user (id int PRIMARY KEY, mail text COLLATE caseless UNIQUE)",
        "CREATE TABLE t_post (id int PRIMARY KEY, mail text COLLATE caseless"
        " REFERENCES t_user (mail))",
    )
    for mask, told in (("pseudonym", True), ("null", False)):
        rules = {"mask": {"mail": mask}}
        found = problem(table.url, catalog(table={"t_user": rules, "t_post": rules}))
        assert ("different texts are equal" in found) is told, found


def test_a_nullable_reference_can_be_null_alone(table: Table) -> None:
    execute(
        table.url,
        "CREATE TABLE t_p (id bigint PRIMARY KEY, x int NOT NULL, UNIQUE (id, x))",
        "CREATE TABLE t_a (id int PRIMARY KEY, v bigint REFERENCES t_p, w int, f int, g bigint,"
        " FOREIGN KEY (v, w) REFERENCES t_p (id, x),"
        " CONSTRAINT whole FOREIGN KEY (g, f) REFERENCES t_p (id, x) MATCH FULL)",
    )
    assert table.problem("null") == ""
    both = {"f": "null", "g": "null"}
    assert problem(table.url, catalog(table={"t_a": {"mask": both}})) == ""
    half = problem(table.url, catalog(table={"t_a": {"mask": {"f": "null"}}}))
    assert "column f of t_a refers to x of t_p" in half


@pytest.mark.parametrize(
    ("column", "remedy"),
    [
        ("bigint", 'give v the mask "null", or give neither a rule'),
        ("bigint NOT NULL", "treat both alike: give neither a rule"),
    ],
)
def test_remedy_for_a_reference_to_a_key_gives_the_key_no_rule(
    table: Table, column: str, remedy: str
) -> None:
    execute(table.url, "CREATE TABLE t_p (id bigint PRIMARY KEY)")
    table.make(f"{column} REFERENCES t_p")
    assert remedy in table.problem("pseudonym"), table.problem("pseudonym")


def test_a_reference_to_a_table_that_is_not_replicated_can_be_left_out(table: Table) -> None:
    execute(
        table.url,
        "CREATE TABLE other (id bigint PRIMARY KEY)",
        "CREATE TABLE t_a (id int PRIMARY KEY, v bigint REFERENCES other)",
    )
    assert table.problem("null") == ""
    assert problem(table.url, catalog(table={"t_a": {"exclude": ["v"]}})) == ""
    assert "refers to other" in table.problem("pseudonym")


@pytest.mark.parametrize("rules", [{"exclude": ["V"]}, {"mask": {"V": "null"}}])
def test_a_rule_for_a_column_or_a_table_that_is_not_there_is_refused(
    table: Table, rules: dict[str, object]
) -> None:
    table.make("text")
    assert "names V, which is no column of it" in problem(table.url, catalog(table={"t_a": rules}))
    assert "table t_b, which is not in" in problem(table.url, catalog(table={"t_b": rules}))


def test_the_secret_is_in_no_statement_that_others_can_see(table: Table) -> None:
    with connect(table.url, application="test") as connection, connection.transaction():
        set_pseudonym_key(connection, KEY)
        shown = "SELECT query FROM pg_stat_activity WHERE pid = %s"
        with psycopg.connect(table.url) as other:
            ((query,),) = other.execute(shown, [connection.info.backend_pid]).fetchall()
    assert "set_config($1, $2" in query
    with connect(table.url, application="test") as connection:
        with connection.transaction():
            set_pseudonym_key(connection, KEY)
        # A pooler gives the session to other clients.
        kept = connection.execute("SELECT current_setting('ar_sync.pseudonym_inner', true)")
        assert not kept.fetchall()[0][0]


def test_a_catalog_with_pseudonyms_needs_the_secret(table: Table, tmp_path: Path) -> None:
    table.make("text")
    source = Source(table.url, tmp_path, table.catalog("pseudonym"))
    with pytest.raises(ArSyncError, match="v of t_a, and AR_SYNC_PSEUDONYM_KEY is not set"):
        source.complete()


@pytest.mark.parametrize(
    ("column", "unit", "value"),
    [("date", "decade", "4713-01-01 BC"), ("timestamp", "decade", "4713-01-01 BC")],
)
def test_value_at_the_end_of_its_type_that_a_rule_cannot_take_is_told_as_that(
    table: Table, tmp_path: Path, column: str, unit: str, value: str
) -> None:
    table.make(column, f"INSERT INTO t_a VALUES (1, '{value}')")
    source = Source(table.url, tmp_path, table.catalog({"truncate": unit}))
    with pytest.raises(ArSyncError, match="out of range") as caught:
        source.complete()
    assert "a column rule of table t_a cannot be computed for one of its values" in str(
        caught.value
    )
    assert 'the mask "null" or { constant = VALUE }' in str(caught.value)


def random_numbers() -> list[float]:
    """Return numbers of every size, and the middles between two results with their neighbours."""
    random = Random(20261129)  # noqa: S311
    numbers = [0.0, -0.0, -0.0001, 1e6, 999_999.9995, 1e308, 5e-324, 2.0**53, math.nan, math.inf]
    numbers += [random.uniform(-1000, 1000) for _ in range(1000)]
    numbers += [random.choice((-1, 1)) * 10 ** random.uniform(-320, 308) for _ in range(1000)]
    for _ in range(1000):
        middle = (2 * random.randrange(-(10**6), 10**6) + 1) / random.choice((2, 2000, 2 * 10**9))
        numbers += [middle, math.nextafter(middle, math.inf), math.nextafter(middle, -math.inf)]
    return numbers


@pytest.mark.parametrize("digits", [0, 3, 9])
def test_rounding_has_the_bits_of_decimal_rounding(table: Table, digits: int) -> None:
    table.make("double precision")
    with psycopg.connect(table.url) as session, session.cursor() as cursor:
        cursor.executemany("INSERT INTO t_a VALUES (%s, %s)", list(enumerate(random_numbers())))
    with connect(table.url, application="test") as connection:
        rules = table.catalog({"round": digits})
        facts = replicated_tables(connection, rules)["t_a"]
        masked = masked_values(rules.rules("t_a"), facts)["v"](sql.Identifier("v"))
        decimal = sql.SQL(
            "CASE WHEN v IN ('NaN', 'Infinity', '-Infinity') THEN v"
            " ELSE round(v::numeric, {})::float8 END"
        ).format(digits)
        query = sql.SQL("SELECT v::text FROM {} WHERE float8send({}) <> float8send({})")
        assert connection.execute(query.format(facts.rows, masked, decimal)).fetchall() == []
