"""Empty tables are filled without their indexes and foreign keys, which are restored unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.merge import filling, verification
from ar_sync_pipeline.postgres.errors import DigestMismatchError, LoadRefusedError
from ar_sync_pipeline_tests.fix_sites import TwoSites, rows
from ar_sync_pipeline_tests.sync.load.test_readers_during_a_load import reader

CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"
DEFINITIONS = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), obj_description(indexrelid)
  FROM pg_index WHERE indrelid::regclass::text LIKE 'app_%'
UNION ALL
SELECT conname, pg_get_constraintdef(oid), obj_description(oid)
  FROM pg_constraint WHERE conrelid::regclass::text LIKE 'app_%' ORDER BY 1, 2
"""
IDENTITIES = "SELECT oid FROM pg_class WHERE relname = '{}'"
MARKS = """
SELECT c.relname, c.reloptions::text, i.indisclustered, i.indisreplident
  FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace ORDER BY 1
"""
CHILD_FILE = "SELECT pg_relation_filenode('app_child')"
FILES = f"{CHILD_FILE} UNION ALL SELECT pg_relation_filenode('app_parent')"
GUEST = "test_first_load_guest"


@pytest.fixture
def sites(small_sites: TwoSites, monkeypatch: pytest.MonkeyPatch) -> TwoSites:
    """Return an empty receiver with its own indexes; two thousand rows count as many."""
    monkeypatch.setattr(filling, "_WORTH_A_LOCK_ROWS", 2000)
    monkeypatch.setattr(filling, "_LOCK_WAIT", "50ms")
    small_sites.at_sender(
        "INSERT INTO app_parent (code) SELECT 'c' || n FROM generate_series(1, 50) n",
        "INSERT INTO app_child (parent_id, amount) SELECT 1 + n % 50, n"
        " FROM generate_series(1, 2000) n",
    )
    small_sites.at_receiver(
        "CREATE INDEX plain ON app_child (parent_id)",
        'CREATE INDEX "Half, of it" ON app_child USING btree ((amount * 2) DESC, changed)'
        " INCLUDE (picture) WITH (fillfactor=70) WHERE amount > 5",
        "CREATE INDEX commented ON app_child (changed)",
        "COMMENT ON INDEX commented IS 'ours'",
        "CREATE UNIQUE INDEX lonely ON app_child (amount)",
        "CREATE FUNCTION inner_amount(float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS"
        " 'SELECT $1 + 1'",
        "CREATE FUNCTION outer_amount(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN RETURN inner_amount($1); END$$",
        "CREATE INDEX by_function ON app_child (outer_amount(amount))",
        "CREATE UNIQUE INDEX by_function_too ON app_child (id) WHERE outer_amount(amount) > 0",
        "ALTER TABLE app_child ADD CONSTRAINT second FOREIGN KEY (parent_id)"
        " REFERENCES app_parent ON UPDATE CASCADE ON DELETE RESTRICT",
    )
    small_sites.complete()
    return small_sites


def test_indexes_and_foreign_keys_come_back_exactly(sites: TwoSites) -> None:
    before = rows(sites.receiver, DEFINITIONS)
    plain = rows(sites.receiver, IDENTITIES.format("plain"))
    sites.load()
    assert rows(sites.receiver, DEFINITIONS) == before
    assert rows(sites.receiver, IDENTITIES.format("plain")) != plain
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


@pytest.mark.parametrize("index", ["commented", "by_function", "by_function_too"])
def test_index_that_its_definition_does_not_tell_wholly_stays(sites: TwoSites, index: str) -> None:
    """Since version 17 the functions would not find each other when the index is created."""
    before = rows(sites.receiver, IDENTITIES.format(index))
    assert sites.load().refused == ()
    assert rows(sites.receiver, IDENTITIES.format(index)) == before


@pytest.mark.parametrize("key", ["lonely", "app_child_pkey"])
def test_key_is_built_once_and_after_the_rows(sites: TwoSites, key: str) -> None:
    before = rows(sites.receiver, IDENTITIES.format(key))
    sites.load()
    assert rows(sites.receiver, IDENTITIES.format(key)) != before


@pytest.mark.parametrize(
    "also",
    [
        "ALTER INDEX app_child_pkey SET (fillfactor = 80)",
        "COMMENT ON CONSTRAINT app_child_pkey ON app_child IS 'ours'",
        "ALTER TABLE app_child CLUSTER ON app_child_pkey",
        "ALTER TABLE app_child REPLICA IDENTITY USING INDEX app_child_pkey",
        "CREATE VIEW relies AS SELECT id, amount FROM app_child GROUP BY id",
        "CREATE TABLE keeps (child integer REFERENCES app_child); INSERT INTO keeps VALUES (NULL)",
    ],
)
def test_key_with_more_to_it_than_its_definition_is_as_it_was(sites: TwoSites, also: str) -> None:
    sites.at_receiver(*also.split("; "))
    before = rows(sites.receiver, DEFINITIONS), rows(sites.receiver, MARKS)
    sites.load()
    assert (rows(sites.receiver, DEFINITIONS), rows(sites.receiver, MARKS)) == before
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


def test_plain_table_takes_its_rows_straight_and_one_with_resets_does_not(
    sites: TwoSites,
) -> None:
    before = rows(sites.receiver, FILES)
    assert sites.load().obstacle is None
    after = rows(sites.receiver, FILES)
    assert after[0] != before[0], "app_child was not truncated"
    assert after[1] == before[1], "app_parent was"
    assert rows(sites.receiver, "SELECT DISTINCT transformed FROM app_parent") == [(False,)]


@pytest.mark.parametrize(
    "own",
    [
        (
            "CREATE TRIGGER own BEFORE INSERT ON app_child FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        ),
        "CREATE RULE own AS ON INSERT TO app_child DO ALSO SELECT 1",
        "ALTER TABLE app_child ADD CONSTRAINT own UNIQUE (amount) DEFERRABLE",
        "CREATE TABLE heir () INHERITS (app_child); INSERT INTO heir (parent_id) VALUES (0)",
        "CREATE TABLE keeps (child integer REFERENCES app_child); INSERT INTO keeps VALUES (NULL)",
        (
            "INSERT INTO app_parent (code) VALUES ('x'); INSERT INTO app_child (parent_id)"
            " SELECT id FROM app_parent; DELETE FROM app_child; DELETE FROM app_parent"
        ),
    ],
)
def test_table_that_is_not_plain_is_staged_and_merged(sites: TwoSites, own: str) -> None:
    sites.at_receiver(*own.split("; "))
    (before,) = rows(sites.receiver, CHILD_FILE)
    sites.load()
    assert rows(sites.receiver, CHILD_FILE) == [before]
    children = CHILDREN.replace("app_child", "ONLY app_child")
    assert rows(sites.receiver, children) == rows(sites.sender, children)


def test_receiver_that_lets_nobody_drop_an_index_is_filled_all_the_same(sites: TwoSites) -> None:
    sites.at_receiver(
        "CREATE FUNCTION no_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'not here'; END$$",
        "CREATE EVENT TRIGGER no_ddl ON ddl_command_start WHEN TAG IN ('DROP INDEX')"
        " EXECUTE FUNCTION no_ddl()",
        "ALTER EVENT TRIGGER no_ddl ENABLE ALWAYS",
    )
    report = sites.load()
    assert "not here" in (report.obstacle or "")
    assert report.refused == ()
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


def test_reader_with_an_old_snapshot_sees_none_of_the_rows(sites: TwoSites) -> None:
    with psycopg.connect(sites.receiver) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1")
        assert sites.load().loaded
        for table in ("app_parent", "app_child"):
            count = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert count == (0,)


def test_load_that_fails_leaves_the_file_of_the_table_as_it_was(sites: TwoSites) -> None:
    before = rows(sites.receiver, FILES)
    sites.at_receiver("ALTER TABLE app_child ADD CONSTRAINT less CHECK (amount < 1500)")
    (refusal,) = sites.load().refused
    assert refusal.code == LoadRefusedError.code
    assert "less" in str(refusal)
    assert rows(sites.receiver, FILES) == before
    sites.at_receiver("ALTER TABLE app_child DROP CONSTRAINT less")
    assert sites.load().loaded
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


def test_rows_that_the_direct_path_refuses_are_judged_by_the_ordinary_one(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise DigestMismatchError("the direct path is not trusted", remedy="none")

    monkeypatch.setattr(verification, "holds_exactly", refuse)
    (sites.sender_media / "a.jpeg").write_bytes(b"picture")
    sites.complete()
    report = sites.load()
    assert report.refused == ()
    assert (sites.receiver_media / "a.jpeg").read_bytes() == b"picture"
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


def test_table_that_has_rows_keeps_its_indexes(sites: TwoSites) -> None:
    sites.at_receiver(
        "INSERT INTO app_parent (id, code) VALUES (1, 'c1')",
        "INSERT INTO app_child (parent_id) VALUES (1)",
    )
    before = rows(sites.receiver, IDENTITIES.format("plain"))
    sites.load()
    assert rows(sites.receiver, IDENTITIES.format("plain")) == before


def test_row_without_its_parent_is_refused_and_nothing_has_changed(sites: TwoSites) -> None:
    for waiting in (sites.spool / "complete").iterdir():
        waiting.unlink()
    sites.at_sender(
        "ALTER TABLE app_child DROP CONSTRAINT app_child_parent_id_fkey",
        "UPDATE app_child SET parent_id = 999 WHERE id = 7",
    )
    sites.complete()
    before = rows(sites.receiver, DEFINITIONS)
    (refusal,) = sites.load().refused
    assert refusal.code == LoadRefusedError.code
    assert "app_child_parent_id_fkey" in str(refusal)
    assert rows(sites.receiver, DEFINITIONS) == before
    assert rows(sites.receiver, "SELECT count(*) FROM app_parent") == [(0,)]


def test_table_that_somebody_holds_is_filled_row_by_row(sites: TwoSites) -> None:
    plain = rows(sites.receiver, IDENTITIES.format("plain"))
    with psycopg.connect(sites.receiver) as holder:
        assert holder.execute("SELECT count(*) FROM app_child").fetchone() == (0,)
        assert "lock timeout" in (sites.load().obstacle or "")
    assert rows(sites.receiver, IDENTITIES.format("plain")) == plain
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


@pytest.fixture
def guest(sites: TwoSites) -> Iterator[str]:
    """Yield the receiver's URL for a role that may write the tables and owns none."""
    name = f"{GUEST}_{rows(sites.receiver, 'SELECT pg_backend_pid()')[0][0]}"
    sites.at_receiver(
        f"CREATE ROLE {name} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}",
        f"DO $$BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO {name}',"
        " current_database()); END$$",
    )
    yield make_conninfo(sites.receiver, user=name)
    sites.at_receiver(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def test_role_that_may_only_write_fills_row_by_row(sites: TwoSites, guest: str) -> None:
    plain = rows(sites.receiver, IDENTITIES.format("plain"))
    report = replace(sites, receiver=guest).load()
    assert "must be owner of" in (report.obstacle or "")
    assert "GRANT the owner" in (report.obstacle or "")
    assert rows(sites.receiver, IDENTITIES.format("plain")) == plain
    assert rows(sites.receiver, CHILDREN) == rows(sites.sender, CHILDREN)


def test_readers_of_a_first_load_see_nothing_or_everything(sites: TwoSites) -> None:
    seen: list[tuple[object, ...]] = []
    with reader(sites.receiver, seen):
        sites.load()
    assert {state[:2] for state in seen} <= {(0, 0), (50, 2000)}


def test_rows_of_an_emptied_table_are_drift_and_those_of_an_unchanged_one_are_not(
    sites: TwoSites,
) -> None:
    (waiting,) = (sites.spool / "complete").glob("NEW_*")
    known = verify_archive(waiting, signing_keys=()).watermark
    sites.load()
    sites.at_receiver("TRUNCATE app_child CASCADE")
    sites.at_sender("UPDATE app_child SET amount = -amount WHERE id <= 10")
    sites.complete(since=known)
    drift = {plan.table: plan.drift for plan in sites.load().loaded[0].tables}
    assert drift == {"app_parent": 0, "app_child": 1990}
