"""Names in media columns are those of files, whatever the type of the column thinks is equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.media_references import still_named
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.sync.watch.database_findings import check_sender
from ar_sync_pipeline_tests.export.source import Source, catalog

NAMES = ("A.jpg", "a.jpg", "b.jpg", "b.jpg", "None", "none", "")


def media_catalog(*columns: str) -> Catalog:
    return catalog(table={"t_a": {"media_columns": columns, "no_media_values": ["", "none"]}})


def made(source: Source, column: str) -> Source:
    source.catalog = media_catalog("photo")
    source.run(
        "CREATE EXTENSION citext",
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE DOMAIN filename AS citext",
        f"CREATE TABLE t_a (id int PRIMARY KEY, photo {column}, photos text[], number int)",
    )
    return source


@pytest.mark.parametrize(
    "column",
    ["text", "varchar(40)", "citext", "filename", "text COLLATE ci", "char(20)", "name", "bpchar"],
)
def test_every_name_is_sent_as_it_is_written(source: Source, column: str) -> None:
    made(source, column)
    since = source.complete().watermark
    for number, name in enumerate((*NAMES, None)):
        value = "NULL" if name is None else f"'{name}'"
        source.run(f"INSERT INTO t_a (id, photo) VALUES ({number}, {value})")
    named = ("A.jpg", "None", "a.jpg", "b.jpg")
    assert source.partial(since).media_references == named
    with connect(source.url, application="test") as connection:
        rules = source.catalog.rules("t_a")
        table = exported_table(source.catalog, replicated_tables(connection, source.catalog)["t_a"])
        wanted = ["a.JPG", "a.jpg", "B.jpg", "None"]
        assert sorted(still_named(connection, table, rules, wanted)) == ["None", "a.jpg"]


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ("picture", "names picture, which is no column of it"),
        ("Photo", "names Photo, which is no column of it"),
        ("photos", r"names photos, which is a text\[\] and holds no file names"),
        ("number", "names number, which is a integer and holds no file names"),
    ],
)
def test_column_that_holds_no_names_is_one_message_of_dumps_and_of_the_check(
    source: Source, column: str, problem: str
) -> None:
    made(source, "text")
    source.catalog = media_catalog(column)
    dumps: tuple[Callable[[], object], ...] = (source.complete, lambda: source.partial(None))
    for dump in dumps:
        with pytest.raises(SchemaError, match=f"`media_columns` of table t_a {problem}"):
            dump()
    (found,) = check_sender(source.url, source.catalog)
    assert "`media_columns`" in found.problem


def test_column_that_a_migration_renames_is_named(source: Source) -> None:
    made(source, "text")
    since = source.complete().watermark
    source.run("ALTER TABLE t_a RENAME photo TO picture")
    with pytest.raises(SchemaError, match="names photo, which is no column of it"):
        source.partial(since)
