"""Receivers for the rules: an empty one with its reference rows, and the sample's."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING

import psycopg
import pytest
import shapely
from psycopg import sql

from ar_sync_pipeline_tests.transform.receiver import PREFIX, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"


@pytest.fixture
def receiver(receiver_db: str) -> Iterator[Receiver]:
    """A receiver with periods and half hours and nothing else."""
    made = Receiver(receiver_db)
    made.periods()
    yield made
    made.close()


@pytest.fixture
def sample_receiver(
    receiver_db: str, sample_sender_a: str, sample_folder: Path
) -> Iterator[Receiver]:
    """A receiver into which sample stage A was just loaded, untransformed."""
    with psycopg.connect(sample_sender_a) as sender, psycopg.connect(receiver_db) as connection:
        _copy_tables(sender, connection)
        _load_reference_rows(connection, sample_folder)
    made = Receiver(receiver_db)
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
