"""A chunk is taken as unchanged without being read only if its rows are those of the base."""

from __future__ import annotations

from contextlib import suppress

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import KeyRange, Watermark
from ar_sync_pipeline.export import held_tables
from ar_sync_pipeline.export.chunk_totals import digest_chunks
from ar_sync_pipeline.export.held_tables import HeldTable, compare_with_held
from ar_sync_pipeline.export.row_versions import judged_tables
from ar_sync_pipeline.export.snapshot import take_snapshot
from ar_sync_pipeline.export.source_tables import exported_table, replicated_tables
from ar_sync_pipeline.export.table_export import chunk_whole_table
from ar_sync_pipeline.export.unseen import unseen_by
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline_tests.export.source import Source, now, table

TABLES = (
    "CREATE TABLE t_a (id integer PRIMARY KEY, v text)",
    (
        "INSERT INTO t_a SELECT (n << 16) + k, 'v' FROM generate_series(0, 2) n,"
        " generate_series(1, 9) k"
    ),
)
FIRST, SECOND, THIRD = 0, 1, 2
UPDATE = "UPDATE t_a SET v = 'w' WHERE id = 65537"
TOUCH = "UPDATE t_a SET v = v WHERE id = 65537"


@pytest.fixture
def source(source: Source) -> Source:
    source.run(*TABLES)
    return source


def unread_chunks(
    source: Source, base: TableDump, monkeypatch: pytest.MonkeyPatch, name: str = "t_a"
) -> set[int | None] | None:
    """Chunks of a table that are not read again; None: its row versions are not used.

    What is said of each chunk is compared with its rows.
    """
    read = set[int | None]()
    digest = digest_chunks

    def noted(connection: Connection, table: object, numbers: set[int | None]) -> object:
        read.update(numbers)
        return digest(connection, table, numbers)  # type: ignore[arg-type]

    monkeypatch.setattr(held_tables, "digest_chunks", noted)
    with connect(source.url, application="test") as connection:
        tables = replicated_tables(connection, source.catalog)
        with take_snapshot(connection, now, tables=tables.values()) as snapshot:
            judged = judged_tables(connection, tables, base.watermark, snapshot.watermark)
            manifest = table(base, name)
            assert manifest is not None
            exported = exported_table(source.catalog, tables[name])
            held = {chunk.key_range: chunk for chunk in manifest.chunks}
            found = compare_with_held(
                connection,
                exported,
                HeldTable(held, base.watermark if name in judged else None, digests_all=False),
            )
            true = chunk_whole_table(connection, exported)
    assert {c.key_range: c.content for c in found} == {c.key_range: c.content for c in true}
    monkeypatch.setattr(held_tables, "digest_chunks", digest)
    if name not in judged:
        return None
    return {_number(one.key_range) for one in true} - read


def _number(key_range: KeyRange | None) -> int | None:
    return None if key_range is None else key_range.low >> 16


@pytest.mark.parametrize(
    ("statements", "unread"),
    [
        pytest.param([], {FIRST, SECOND, THIRD}, id="nothing"),
        pytest.param([UPDATE], {FIRST, THIRD}, id="update"),
        pytest.param([TOUCH], {FIRST, THIRD}, id="update to the same values"),
        pytest.param(["DELETE FROM t_a WHERE id = 65537"], {FIRST, THIRD}, id="deletion"),
        pytest.param(
            ["DELETE FROM t_a WHERE id = 65537", "INSERT INTO t_a VALUES (65599, 'v')"],
            {FIRST, THIRD},
            id="deletion and insertion of as many rows",
        ),
        pytest.param(
            ["UPDATE t_a SET id = 131099 WHERE id = 65537"], {FIRST}, id="key that moved"
        ),
        pytest.param(
            ["UPDATE t_a SET id = 131099 WHERE id = 65537", "DELETE FROM t_a WHERE id = 131073"],
            {FIRST},
            id="key that moved in the place of another",
        ),
        pytest.param(
            [f"BEGIN; SAVEPOINT a; {UPDATE}; RELEASE a; COMMIT"], {FIRST, THIRD}, id="savepoint"
        ),
        pytest.param(
            [f"BEGIN; SAVEPOINT a; SAVEPOINT b; {UPDATE}; RELEASE b; RELEASE a; COMMIT"],
            {FIRST, THIRD},
            id="nested savepoints",
        ),
        pytest.param(
            [f"DO $$ BEGIN BEGIN {UPDATE}; EXCEPTION WHEN others THEN NULL; END; END $$"],
            {FIRST, THIRD},
            id="block with an exception handler",
        ),
        pytest.param(
            [f"BEGIN; SAVEPOINT a; {UPDATE}; ROLLBACK TO a; COMMIT"],
            {FIRST, SECOND, THIRD},
            id="savepoint that was rolled back",
        ),
        pytest.param(
            ["BEGIN; DELETE FROM t_a; ROLLBACK"], {FIRST, SECOND, THIRD}, id="rollback"
        ),
        pytest.param(
            ["BEGIN; SELECT * FROM t_a FOR UPDATE; COMMIT"],
            {FIRST, SECOND, THIRD},
            id="locked rows",
        ),
        pytest.param(
            [("BEGIN; SELECT * FROM t_a FOR KEY SHARE; SAVEPOINT a; SELECT * FROM t_a FOR UPDATE;"
             " COMMIT")],
            {FIRST, SECOND, THIRD},
            id="rows locked twice",
        ),
        pytest.param(["VACUUM (FREEZE) t_a"], {FIRST, SECOND, THIRD}, id="freeze"),
        pytest.param([UPDATE, "VACUUM (FREEZE) t_a"], {FIRST, THIRD}, id="update and freeze"),
        pytest.param([UPDATE, "VACUUM (FULL, FREEZE) t_a"], {FIRST, THIRD}, id="vacuum full"),
        pytest.param([UPDATE, "CLUSTER t_a USING t_a_pkey"], {FIRST, THIRD}, id="cluster"),
        pytest.param(
            ["CLUSTER t_a USING t_a_pkey", "VACUUM (FREEZE, FULL) t_a", "REINDEX TABLE t_a"],
            {FIRST, SECOND, THIRD},
            id="maintenance only",
        ),
        pytest.param(
            [("BEGIN; TRUNCATE t_a; COPY t_a FROM PROGRAM 'printf \"65537\\tx\\n\"' (FREEZE);"
             " COMMIT")],
            set[int](),
            id="truncate and copy freeze",
        ),
        pytest.param(
            ["TRUNCATE t_a", "INSERT INTO t_a SELECT 65536 + k, 'w' FROM generate_series(1, 9) k"],
            set[int](),
            id="truncate and as many rows",
        ),
        pytest.param(
            [("BEGIN; CREATE TABLE kept AS SELECT * FROM t_a; TRUNCATE t_a;"
             " INSERT INTO t_a SELECT * FROM kept; COMMIT")],
            set[int](),
            id="truncate and the same rows",
        ),
        pytest.param(
            ["ALTER TABLE t_a SET UNLOGGED", "ALTER TABLE t_a SET LOGGED"],
            set[int](),
            id="rewritten twice",
        ),
        pytest.param(
            [f"SET session_replication_role = replica; {UPDATE}"],
            {FIRST, THIRD},
            id="write as a replication applies it",
        ),
        pytest.param(["ALTER TABLE t_a ALTER id TYPE bigint"], None, id="rewrite of the key"),
        pytest.param(["ALTER TABLE t_a ALTER v TYPE varchar(9)"], None, id="other type"),
        pytest.param(["ALTER TABLE t_a ADD n integer DEFAULT 7"], None, id="new column"),
        pytest.param(["ALTER TABLE t_a DROP v", "ALTER TABLE t_a ADD v text"], None, id="dropped"),
        pytest.param(
            ["CREATE TABLE other AS SELECT id, 'w' AS v FROM t_a",
             "ALTER TABLE other ADD PRIMARY KEY (id)",
             "BEGIN; DROP TABLE t_a; ALTER TABLE other RENAME TO t_a; COMMIT"],
            None,
            id="another table of this name",
        ),
        pytest.param(["ALTER TABLE t_a SET UNLOGGED"], None, id="unlogged table"),
    ],
)  # fmt: skip
def test_unchanged_chunks_are_not_read_again(
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
    unread: set[int | None] | None,
) -> None:
    base = source.complete()
    source.run(*statements)
    assert unread_chunks(source, base, monkeypatch) == unread


@pytest.mark.parametrize("subtransaction", [False, True])
def test_transaction_that_was_open_at_the_base(
    source: Source, monkeypatch: pytest.MonkeyPatch, subtransaction: bool
) -> None:
    """Its ids are older than those of transactions that the base has seen."""
    with source.session(f"SAVEPOINT a; {UPDATE}; RELEASE a" if subtransaction else UPDATE) as other:
        source.run("UPDATE t_a SET v = 'seen' WHERE id = 1")
        base = source.complete()
        other.commit()
    assert unread_chunks(source, base, monkeypatch) == {THIRD}


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_transaction_that_was_prepared_at_the_base(
    source: Source, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    source.run(f"BEGIN; {UPDATE}; PREPARE TRANSACTION 'two'")
    base = source.complete()
    unread = {FIRST, THIRD} if end == "COMMIT" else {FIRST, SECOND, THIRD}
    source.run(f"{end} PREPARED 'two'")
    assert unread_chunks(source, base, monkeypatch) == unread


def test_table_without_a_key(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.run("CREATE TABLE t_log (v text)", "INSERT INTO t_log VALUES ('a'), ('a'), ('b')")
    base = source.complete()
    assert unread_chunks(source, base, monkeypatch, "t_log") == {None}
    source.run("DELETE FROM t_log WHERE v = 'b'", "INSERT INTO t_log VALUES ('a')")
    assert unread_chunks(source, base, monkeypatch, "t_log") == set()


@pytest.mark.parametrize(
    ("definition", "change"),
    [
        ("(id integer PRIMARY KEY, v mood)", "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'"),
        ("(id integer PRIMARY KEY, v mood[])", "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'"),
        ("(id integer PRIMARY KEY, v regclass)", "ALTER TABLE apart RENAME TO else"),
        ("(id integer PRIMARY KEY, v mark)", "SELECT 1"),
    ],
)
def test_values_whose_text_may_change_while_no_row_does(
    source: Source, monkeypatch: pytest.MonkeyPatch, definition: str, change: str
) -> None:
    source.run(
        "CREATE TYPE mood AS ENUM ('calm', 'angry')",
        "CREATE DOMAIN mark AS integer",
        "CREATE TABLE apart ()",
        f"CREATE TABLE t_b {definition}",
    )
    values = ("'calm'", "'{calm}'", "'apart'", "1")
    for value in values:
        with suppress(psycopg.DataError, psycopg.ProgrammingError):
            source.run(f"INSERT INTO t_b VALUES (1, {value})")
            break
    base = source.complete()
    source.run(change.replace(" else", ' "else"'))
    assert unread_chunks(source, base, monkeypatch, "t_b") is None


def test_partitions_are_read(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.run(
        "CREATE TABLE t_p (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_p1 PARTITION OF t_p FOR VALUES FROM (0) TO (10)",
        "INSERT INTO t_p VALUES (1, 'v')",
    )
    base = source.complete()
    assert unread_chunks(source, base, monkeypatch, "t_p") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"timeline": 99},
        {"system_identifier": "1"},
        {"traces": None},
        {"lsn": 2**62},
        {"snapshot": "4000000000:4000000001:"},
    ],
)
def test_base_of_another_history(
    source: Source, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """A promoted standby, a restored cluster, a standby as the sender."""
    base = source.complete()
    mark = base.watermark.model_copy(update=changes)
    base = base.model_copy(update={"watermark": mark})
    assert unread_chunks(source, base, monkeypatch) is None


def test_base_whose_traces_are_not_those_of_the_database(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = source.complete()
    assert base.watermark.traces is not None
    other = base.watermark.traces.translate(str.maketrans("ac", "ca"))
    mark = base.watermark.model_copy(update={"traces": other})
    base = base.model_copy(update={"watermark": mark})
    assert unread_chunks(source, base, monkeypatch) is None


@pytest.mark.parametrize(
    ("distance", "is_unseen"),
    [(0, True), (5, True), (10, True), (11, False), (2**31 - 1, False), (2**31 + 5, False)],
)
def test_ids_are_compared_in_a_circle(source: Source, distance: int, is_unseen: bool) -> None:
    """A frozen row of an earlier epoch keeps an id that seems to be in the future."""
    with psycopg.connect(source.url) as connection:
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        row = connection.execute("SELECT age('3'::xid)").fetchone()
        assert row is not None
        latest = row[0] + 3
        since = Watermark.model_validate(
            {
                "snapshot_at": now(),
                "snapshot": f"{latest - 10}:{latest - 10}:",
                "system_identifier": "1",
                "timeline": 1,
            }
        )
        query = b"SELECT t.id FROM (SELECT '%d'::xid AS xmin, 1 AS id) AS t WHERE " % (
            (latest - distance) % 2**32
        )
        found = connection.execute(query + unseen_by(since).as_bytes(connection)).fetchall()
        assert bool(found) == is_unseen
        permanent = b"SELECT t.id FROM (SELECT '2'::xid AS xmin, 1 AS id) AS t WHERE "
        assert (
            connection.execute(permanent + unseen_by(since).as_bytes(connection)).fetchall() == []
        )
