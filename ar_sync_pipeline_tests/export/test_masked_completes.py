"""Masked values of a complete are computed once: archives have the same rows and digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from ar_sync_pipeline.export import whole_tables
from ar_sync_pipeline.export.table_export import chunk_whole_table
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline_tests.export.source import Source, catalog

TABLES = (
    "CREATE TABLE t_many (id int PRIMARY KEY, v varchar(40), f float8, at timestamptz, w text)",
    "CREATE TABLE t_pair (a int, b text, v text, f float8, PRIMARY KEY (a, b))",
    "CREATE TABLE t_keyless (v text, f float8)",
    "CREATE TABLE t_empty (id bigint PRIMARY KEY, v text, f float8)",
    "CREATE TABLE t_one (id uuid PRIMARY KEY, v uuid, f real)",
    (
        "INSERT INTO t_many SELECT n, CASE WHEN n % 7 > 0 THEN 'v' || n % 500 END, n / 7.0,"
        " now() + n * interval '1 s', repeat('w', n % 60) FROM generate_series(-70000, 70000, 9) n"
    ),
    "INSERT INTO t_pair SELECT n % 5, n, '', -n / 3.0 FROM generate_series(1, 100) n",
    "INSERT INTO t_keyless SELECT 'twice', 1.05 FROM generate_series(1, 20)",
    "INSERT INTO t_one SELECT gen_random_uuid(), gen_random_uuid(), 'NaN'",
)
MASK = {"v": "pseudonym", "f": {"round": 1}}
RULES = {
    "t_many": {"mask": MASK | {"at": {"truncate": "day"}}},
    "t_pair": {"mask": MASK},
    "t_keyless": {"mask": MASK},
    "t_empty": {"mask": MASK},
    "t_one": {"mask": MASK},
}


@pytest.fixture
def masked(source: Source) -> Source:
    source.run(*TABLES)
    source.catalog = catalog(table=RULES)
    source.pseudonym_key = "not a secret, since it is in a test"
    return source


def contents(source: Source, dump: TableDump) -> Mapping[str, object]:
    """Return the rows and digests of each chunk of a dump."""
    found = {}
    for table in dump.tables:
        for chunk in table.chunks:
            found[chunk.member] = (
                chunk.key_range, chunk.row_count, chunk.raw_bytes, chunk.sha256, chunk.digest,
            )  # fmt: skip
            (path,) = source.folder.rglob(chunk.member.rpartition("/")[2])
            assert hashlib.sha256(path.read_bytes()).hexdigest() == chunk.sha256
            path.unlink()
    return found


def test_rows_and_digests_are_those_of_two_reads(
    masked: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = contents(masked, masked.complete())
    monkeypatch.setattr(whole_tables, "split_table", lambda c, t, _: chunk_whole_table(c, t))
    assert once == contents(masked, masked.complete())
    assert len(once) == 7
    assert {name.split("/")[-1].split(".")[0] for name in once} == {
        "t_many", "t_pair", "t_keyless", "t_one",
    }  # fmt: skip


def test_masked_values_are_in_one_place_of_a_query_of_rows(
    masked: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planner that copies the expression to its two readers would compute it twice."""
    plans: list[str] = []
    split = whole_tables.split_table

    def explained(connection: object, table: object, is_compared: bool) -> object:
        chunks = split(connection, table, is_compared)  # type: ignore[arg-type]
        for chunk in chunks:
            query = b"EXPLAIN (VERBOSE, COSTS OFF) " + chunk.query.as_bytes(connection)  # type: ignore[arg-type]
            plans.append("\n".join(row[0] for row in connection.execute(query)))  # type: ignore[attr-defined]
        return chunks

    monkeypatch.setattr(whole_tables, "split_table", explained)
    masked.complete()
    assert len(plans) == 7
    for plan in plans:
        top, output = plan.splitlines()[:2]
        assert top == "Subquery Scan on t"
        assert "hash_record_extended" in output
        assert "sha256" not in output
