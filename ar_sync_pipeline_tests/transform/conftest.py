"""Receivers for the rules: an empty one with its reference rows, and the sample's."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import shapely
from psycopg import sql

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases, convert_to_postgis
from ar_sync_pipeline_tests.transform.receiver import PREFIX, Receiver

_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"


@pytest.fixture
def receiver(shared_databases: SharedDatabases) -> Iterator[Receiver]:
    """A receiver with periods and half hours and nothing else; its geometries are WKB."""
    yield from _with_periods(shared_databases.clean("receiver"))


@pytest.fixture(params=["receiver", "postgis_receiver"], ids=["wkb", "postgis"])
def geometry_receiver(
    shared_databases: SharedDatabases, request: pytest.FixtureRequest
) -> Iterator[Receiver]:
    """The same with either kind of geometry column."""
    yield from _with_periods(shared_databases.clean(request.param))


@pytest.fixture(scope="session")
def sample_receiver_template(
    postgres_server: EmbeddedPostgres,
    receiver_template: str,
    sample_a_template: str,
    sample_folder: Path,
) -> str:
    """Name of the template into which sample stage A was just loaded, untransformed."""
    name = "template_receiver_of_sample_a"
    url = postgres_server.create_database(name, receiver_template)
    with (
        psycopg.connect(postgres_server.url(sample_a_template)) as sender,
        psycopg.connect(url) as connection,
    ):
        _copy_tables(sender, connection)
        _load_reference_rows(connection, sample_folder)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    return name


@pytest.fixture
def sample_receiver(
    database_factory: DatabaseFactory, sample_receiver_template: str
) -> Iterator[Receiver]:
    """A receiver into which sample stage A was just loaded, untransformed."""
    made = Receiver(database_factory(sample_receiver_template))
    yield made
    made.close()


@pytest.fixture
def sample_postgis_receiver(
    database_factory: DatabaseFactory, sample_receiver_template: str
) -> Iterator[Receiver]:
    """The same on a receiver with PostGIS."""
    url = database_factory(sample_receiver_template)
    convert_to_postgis(url)
    made = Receiver(url)
    yield made
    made.close()


def _with_periods(url: str) -> Iterator[Receiver]:
    made = Receiver(url)
    made.periods()
    yield made
    made.close()


def _copy_tables(
    sender: psycopg.Connection[tuple[object, ...]],
    receiver: psycopg.Connection[tuple[object, ...]],
) -> None:
    tables = sender.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, %s)", (PREFIX,)
    ).fetchall()
    for (table,) in tables:
        rows = sender.execute(_COLUMNS, (f'"{table}"',)).fetchall()
        columns = sql.SQL(", ").join(sql.Identifier(str(row[0])) for row in rows)
        name = sql.Identifier(str(table))
        read = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT binary)").format(name, columns)
        write = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(name, columns)
        with sender.cursor().copy(read) as source, receiver.cursor().copy(write) as target:
            for chunk in source:
                target.write(chunk)


def _load_reference_rows(connection: psycopg.Connection[tuple[object, ...]], folder: Path) -> None:
    for name in ("timeperiod", "halfhourperiod"):
        copy = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER)").format(
            sql.Identifier(PREFIX + name)
        )
        with connection.cursor().copy(copy) as target:
            target.write((folder / f"{name}.csv").read_bytes())
    zones = folder / "zonificationtransantiago_ewkt.csv.gz"
    with gzip.open(zones, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = {key: value or None for key, value in row.items()}
            ewkt = str(values.pop("geom_ewkt"))
            shape = shapely.to_wkb(shapely.from_wkt(ewkt.partition(";")[2]))
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(PREFIX + "zonificationtransantiago"),
                sql.SQL(", ").join(map(sql.Identifier, [*values, "geom"])),
                sql.SQL(", ").join([sql.Placeholder()] * (len(values) + 1)),
            )
            connection.execute(insert, [*values.values(), shape])
