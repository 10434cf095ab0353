"""Databases of any encoding and columns of any name work, or an error names the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline_tests.export.source import Source, catalog, row_counts
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows

_NUMBERS = count(1)
TABLE = "CREATE TABLE t_a (id integer PRIMARY KEY, word text, short varchar(10), fixed char(5))"
SPANISH = "INSERT INTO t_a VALUES (1, 'ñandú', 'Año', 'é'), (2, NULL, '', ' ')"
QUERY = "SELECT id, word, short, fixed FROM t_a ORDER BY id"

Encoded = Callable[[str], str]


@pytest.fixture
def encoded(postgres_server: EmbeddedPostgres) -> Iterator[Encoded]:
    """Yield a function that creates a database of an encoding."""
    made: list[str] = []

    def create(encoding: str) -> str:
        name = f"encoded_{next(_NUMBERS)}"
        execute(
            postgres_server.url(),
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'",
        )
        made.append(name)
        return postgres_server.url(name)

    yield create
    for name in made:
        postgres_server.drop_database(name)


def sites(sender: str, receiver: str, folder: Path) -> TwoSites:
    for url in (sender, receiver):
        execute(url, TABLE)
    return TwoSites(sender, receiver, catalog(), folder)


@pytest.mark.parametrize(
    ("sender", "receiver"), [("LATIN1", "UTF8"), ("UTF8", "LATIN1"), ("LATIN1", "LATIN1")]
)
def test_text_arrives_in_the_receivers_encoding(
    encoded: Encoded, tmp_path: Path, sender: str, receiver: str
) -> None:
    both = sites(encoded(sender), encoded(receiver), tmp_path)
    both.at_sender(SPANISH)
    both.complete()
    assert not both.load().refused
    assert rows(both.receiver, QUERY) == rows(both.sender, QUERY)


def test_character_that_the_receiver_cannot_hold_is_a_sentence_with_the_table(
    encoded: Encoded, tmp_path: Path
) -> None:
    both = sites(encoded("UTF8"), encoded("LATIN1"), tmp_path)
    both.at_sender("INSERT INTO t_a (id, word) VALUES (1, '🚌')")
    both.complete()
    (refusal,) = both.load().refused
    assert "t_a" in str(refusal)


def test_valid_text_of_a_database_without_encoding_is_replicated(
    encoded: Encoded, tmp_path: Path
) -> None:
    both = sites(encoded("SQL_ASCII"), encoded("UTF8"), tmp_path)
    with psycopg.connect(both.sender, client_encoding="UTF8", autocommit=True) as connection:
        connection.execute(SPANISH.replace("(2, NULL, '', ' ')", "(2, NULL, '', 'x')").encode())
    both.complete()
    assert not both.load().refused
    assert rows(both.receiver, "SELECT word FROM t_a WHERE id = 1") == [("ñandú",)]


def test_invalid_text_of_a_database_without_encoding_is_refused_by_name(
    encoded: Encoded, tmp_path: Path
) -> None:
    source = Source(encoded("SQL_ASCII"), tmp_path)
    source.run(TABLE, r"INSERT INTO t_a (id, word) VALUES (1, E'caf\351 Pedro')")
    with pytest.raises(SchemaError, match="table t_a holds text that is not valid") as caught:
        source.complete()
    assert "Pedro" not in str(caught.value)
    assert row_counts(source.partial(None)) == {}


NAMES = (
    "t",
    "k",
    "held",
    "known",
    "wanted",
    "name",
    "action",
    "a b",
    'q"uote',
    "100%s",
    "ctid2",
    "é",
    "SELECT",
    "count",
)


def test_columns_are_called_like_anything(source: Source) -> None:
    columns = ", ".join("\"{}\" text DEFAULT 'x'".format(name.replace('"', '""')) for name in NAMES)
    source.run(
        f"CREATE TABLE t_a (id integer PRIMARY KEY, {columns})",
        'CREATE TABLE "t_%s b" ("%" integer PRIMARY KEY, "k" integer REFERENCES t_a)',
        "INSERT INTO t_a (id) SELECT n FROM generate_series(1, 9) n",
        'INSERT INTO "t_%s b" SELECT n, n FROM generate_series(1, 5) n',
    )
    source.catalog = catalog(tables=["t_a"], table={"t_a": {"media_columns": ["100%s"]}})
    dump = source.complete()
    assert row_counts(dump) == {"t_a": 9}
    source.run("UPDATE t_a SET t = 'y' WHERE id = 3")
    partial = source.partial(dump.watermark)
    assert row_counts(partial) == {"t_a": 1}
    assert partial.media_references == ("x",)


def test_only_a_tables_own_rows_are_read(source: Source) -> None:
    source.run(
        "CREATE TABLE t_p (id integer PRIMARY KEY, v text)",
        "CREATE TABLE t_c (extra integer, PRIMARY KEY (id)) INHERITS (t_p)",
        "INSERT INTO t_p VALUES (1, 'p')",
        "INSERT INTO t_c VALUES (1, 'c', 7), (2, 'c', 8)",
    )
    dump = source.complete()
    assert row_counts(dump) == {"t_p": 1, "t_c": 2}
    source.run("UPDATE t_p SET v = 'x' WHERE id = 1")
    assert row_counts(source.partial(dump.watermark)) == {"t_p": 1, "t_c": 1}


def test_column_type_without_a_binary_form_is_refused_by_name(source: Source) -> None:
    source.run("CREATE TABLE t_a (id integer PRIMARY KEY, rights aclitem[])")
    with pytest.raises(SchemaError, match=r"column rights of t_a has the type aclitem\[\]"):
        source.complete()


@pytest.mark.parametrize("change", ["RENAME TO b", "SET SCHEMA elsewhere"])
def test_complete_names_a_table_that_the_catalog_means_by_its_former_name(
    source: Source, change: str
) -> None:
    source.catalog = catalog(tables=["a", "t_a"])
    source.run("CREATE SCHEMA elsewhere", "CREATE TABLE a (id int)", "CREATE TABLE t_a (id int)")
    assert source.complete().omissions == ()
    source.run(f"ALTER TABLE a {change}")
    (omission,) = source.complete().omissions
    assert "`a` of `tables` is not in the database" in omission
