"""Facts of the receiver's tables by which DDL and crashes are found."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

import pytest

from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.table_definitions import read_definitions
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline_tests.postgres.scratch import Scratch


def filled(url: str, tables: Mapping[str, TableFacts]) -> set[bool | None]:
    with connect(url, application="test") as connection:
        (found,) = read_definitions(connection, tables).values()
    return {part.filled for part in found.parts.values()}


@pytest.mark.parametrize("reads", ["everything", "no partition", "not its rows", "not its schema"])
def test_unlogged_partition_has_rows_or_no_block(scratch: Scratch, reads: str) -> None:
    """Rights on the whole table are enough to load it."""
    role = f"loader of {scratch.schema}"
    place = "" if reads != "not its schema" else f"{scratch.schema}_parts."
    part = f"{place}part"
    scratch.run(
        f'CREATE ROLE "{role}" LOGIN',
        f'GRANT USAGE ON SCHEMA {scratch.schema} TO "{role}"',
        "CREATE TABLE whole (id integer PRIMARY KEY) PARTITION BY RANGE (id)",
        *([f"CREATE SCHEMA {place[:-1]}"] if place else []),
        f"CREATE UNLOGGED TABLE {part} PARTITION OF whole DEFAULT",
        f'GRANT SELECT ON whole TO "{role}"',
        "INSERT INTO whole VALUES (1)",
    )
    if reads in {"everything", "not its rows", "not its schema"}:
        scratch.run(f'GRANT SELECT ON {part} TO "{role}"')
    if reads == "not its rows":
        scratch.run(f"ALTER TABLE {part} ENABLE ROW LEVEL SECURITY")
    url = scratch.url.replace("//postgres@", f"//{role.replace(' ', '%20')}@")
    tables = {"whole": scratch.tables()["whole"]}
    assert filled(url, tables) == {None, True}
    scratch.run("DELETE FROM whole")
    assert filled(url, tables) == ({None} if reads == "everything" else {None, True})
    scratch.run(f"VACUUM (TRUNCATE) {part}")
    assert filled(url, tables) == {None, False}
    scratch.run("DROP TABLE whole", f"DROP SCHEMA IF EXISTS {scratch.schema}_parts")


def test_columns_of_own_types_take_no_time_each(scratch: Scratch) -> None:
    """Each was looked for among all the others: 9,000 took six seconds."""
    columns = ", ".join(f"c{number} mood" for number in range(1500))
    names = [f"t_{number}" for number in range(6)]
    scratch.run(
        "CREATE TYPE mood AS ENUM ('a', 'b')",
        *(f"CREATE TABLE {name} (id integer PRIMARY KEY, {columns})" for name in names),
    )
    tables = scratch.tables()
    with connect(scratch.url, application="test") as connection:
        start = monotonic()
        found = read_definitions(connection, {name: tables[name] for name in names})
    assert monotonic() - start < 3
    for table in found.values():
        labels = [[*column.labels.values()] for column in table.columns.values()]
        assert sorted(labels) == [[], *[["a", "b"]] * 1500]
