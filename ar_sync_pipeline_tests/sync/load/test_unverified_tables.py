"""DDL at the receiver that changes rows of a replicated table is reported until it is verified."""

from __future__ import annotations

from dataclasses import replace
from shutil import rmtree
from uuid import UUID

import pytest

from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.states import list_applied, list_parked
from ar_sync_pipeline.sync.load.empty_archives import load_empty_archives
from ar_sync_pipeline.sync.load.stage_archives import ArchiveStager, StagedArchive
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import (
    SMALL_SENDER,
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)

CHANGE_A_CHILD = "UPDATE app_child SET amount = amount + 1, changed = now() WHERE id = 7"
CHANGE_A_PARENT = "UPDATE app_parent SET label = label || '.' WHERE id = 1"
AGAIN = (
    "ALTER TABLE app_child DROP COLUMN picture",
    "ALTER TABLE app_child ADD COLUMN picture text DEFAULT ''",
)


@pytest.fixture
def loaded(filled: TwoSites) -> TwoSites:
    filled.at_sender("UPDATE app_child SET picture = id || '.png'")
    filled.complete()
    assert filled.load().unverified == ()
    filled.at_receiver("CREATE TABLE child_copy AS SELECT * FROM app_child")
    return filled


def partial_loads(sites: TwoSites, change: str = CHANGE_A_CHILD) -> tuple[str, ...]:
    """Return the unverified tables after the load of a partial with one row."""
    send_a_partial(sites, change)
    return sites.load().unverified


def send_a_partial(sites: TwoSites, change: str) -> None:
    sites.at_sender(change)
    archives = [*list_applied(sites.spool), *list_parked(sites.spool)]
    newest = max(archives, key=lambda archive: archive.name.snapshot_at)
    sites.partial(recent_window(), since=watermark_of(newest.path))


def without_children(sites: TwoSites) -> TwoSites:
    """Return the two servers with a catalog that no longer has the table."""
    rules = {name: rule for name, rule in sites.catalog.table.items() if name != "app_child"}
    changes = {"exclude": ("app_child",), "table": rules}
    return replace(sites, catalog=sites.catalog.model_copy(update=changes))


def truncated_and_left_out(sites: TwoSites) -> TwoSites:
    """Let a table be unverified, and then leave the receiver's catalog."""
    sites.at_receiver("TRUNCATE app_child CASCADE")
    assert partial_loads(sites) == ("app_child",)
    return without_children(sites)


def test_unverified_table_that_leaves_the_catalog_is_no_longer_reported(loaded: TwoSites) -> None:
    """Nothing could ever verify it; the rows come whole if both catalogs replicate it again."""
    without = truncated_and_left_out(loaded)
    assert partial_loads(without, CHANGE_A_PARENT) == ()
    shown = receiver_status(without.settings, without.catalog, without.clock())
    assert (shown.ok, shown.unverified) == (True, ())
    written = Checkpoint.read(without.spool, signing_keys=())
    assert written is not None
    assert written.unverified == ()
    assert partial_loads(loaded) == ()
    assert equal(loaded)


@pytest.mark.long
def test_unverified_table_that_only_the_receiver_left_out_is_reported_again(
    loaded: TwoSites,
) -> None:
    """Its rows do not come whole, since the sender's catalog has had it all the time."""
    without = truncated_and_left_out(loaded)
    send_a_partial(loaded, CHANGE_A_PARENT)
    assert without.load().unverified == ()
    assert partial_loads(loaded) == ("app_child",)
    loaded.complete()
    assert loaded.load().unverified == ()
    assert equal(loaded)


@pytest.mark.long
def test_unverified_table_that_is_dropped_is_reported_only_if_it_is_created_again(
    loaded: TwoSites,
) -> None:
    loaded.at_receiver("TRUNCATE app_child CASCADE")
    assert partial_loads(loaded) == ("app_child",)
    loaded.at_receiver("ALTER TABLE app_child RENAME TO old", "DROP TABLE old CASCADE")
    assert partial_loads(loaded, CHANGE_A_PARENT) == ()
    loaded.at_receiver(SMALL_SENDER[1])
    assert partial_loads(loaded) == ("app_child",)
    loaded.complete()
    assert loaded.load().unverified == ()
    assert equal(loaded)


@pytest.mark.long
def test_unlogged_table_that_a_crash_has_emptied_is_unverified(filled: TwoSites) -> None:
    filled.at_receiver("DROP TABLE app_note", "ALTER TABLE app_child SET UNLOGGED")
    filled.complete()
    assert filled.load().unverified == ()
    # The traces of a crash: no block in the same file.
    filled.at_receiver("DELETE FROM app_child")
    filled.at_receiver("VACUUM (TRUNCATE) app_child")
    assert partial_loads(filled) == ("app_child",)
    filled.complete()
    assert filled.load().unverified == ()


@pytest.mark.long
@pytest.mark.parametrize("part", ["app_event", "event_1"])
def test_unlogged_table_that_the_sender_has_emptied_is_none(
    small_sites: TwoSites, part: str
) -> None:
    """Vacuum returns the blocks of deleted rows after the load."""
    made = ["CREATE TABLE app_event (id integer PRIMARY KEY)"]
    if part != "app_event":
        made[0] += " PARTITION BY RANGE (id)"
        made.append(f"CREATE TABLE {part} PARTITION OF app_event DEFAULT")
    small_sites.at_sender(*made, "INSERT INTO app_event SELECT generate_series(1, 9)")
    small_sites.at_receiver(*made, f"ALTER TABLE {part} SET UNLOGGED")
    small_sites.complete()
    assert small_sites.load().unverified == ()
    small_sites.at_sender("DELETE FROM app_event")
    since = watermark_of(small_sites.complete())
    assert small_sites.load().unverified == ()
    small_sites.at_receiver(f"VACUUM (TRUNCATE) {part}")
    small_sites.at_sender("INSERT INTO app_event VALUES (10)")
    small_sites.partial(recent_window(), since=since)
    assert small_sites.load().unverified == ()
    # The new row makes the traces of a crash visible again.
    small_sites.at_receiver("DELETE FROM app_event")
    small_sites.at_receiver(f"VACUUM (TRUNCATE) {part}")
    small_sites.partial(recent_window(), since=since)
    assert small_sites.load().unverified == ("app_event",)


@pytest.mark.long
@pytest.mark.parametrize(
    "statements",
    [
        AGAIN,
        (
            "ALTER TABLE app_child ALTER amount TYPE integer",
            "ALTER TABLE app_child ALTER amount TYPE double precision",
        ),
        ("TRUNCATE app_child CASCADE",),
        ("TRUNCATE app_child CASCADE", "INSERT INTO app_child SELECT * FROM child_copy"),
        ("TRUNCATE app_child CASCADE", "ANALYZE app_child"),
        ("TRUNCATE app_child CASCADE", "VACUUM app_child"),
        (
            "TRUNCATE app_child CASCADE",
            "INSERT INTO app_child SELECT * FROM child_copy WHERE id > 9",
            "VACUUM ANALYZE app_child",
        ),
        ("VACUUM FULL app_child",),
        ("CLUSTER app_child USING app_child_pkey",),
        (
            "ALTER TABLE app_note DROP CONSTRAINT app_note_maybe_id_fkey",
            "ALTER TABLE app_child RENAME TO app_old",
            "CREATE TABLE app_child (LIKE app_old INCLUDING ALL)",
            "DROP TABLE app_old CASCADE",
        ),
    ],
    ids=[
        "column again",
        "type and back",
        "truncated",
        "truncated and filled",
        "truncated and analyzed",
        "truncated and vacuumed",
        "truncated, filled in part and analyzed",
        "vacuumed in full",
        "clustered",
        "table again",
    ],
)
def test_table_is_unverified_until_a_complete(
    loaded: TwoSites, statements: tuple[str, ...]
) -> None:
    loaded.at_receiver(*statements)
    assert partial_loads(loaded) == ("app_child",)
    keeps = ("INSERT", "VACUUM FULL", "CLUSTER")
    assert not equal(loaded) or statements[-1].startswith(keeps)
    loaded.at_sender("UPDATE app_parent SET label = 'x' WHERE id = 1")
    assert partial_loads(loaded) == ("app_child",)
    shown = receiver_status(loaded.settings, loaded.catalog, loaded.clock())
    assert not shown.ok
    assert shown.lag.because.startswith("app_child was altered, truncated or created again")
    assert "launch `complete_dump`" in shown.lag.because
    written = Checkpoint.read(loaded.spool, signing_keys=())
    assert written is not None
    assert written.unverified == ("app_child",)
    loaded.complete()
    assert loaded.load().unverified == ()
    assert equal(loaded)
    shown = receiver_status(loaded.settings, loaded.catalog, loaded.clock())
    assert shown.ok
    assert shown.lag.because == "that was the last window, all is well"


@pytest.mark.parametrize(
    ("change", "is_unverified"),
    [
        ("ALTER TYPE pair DROP ATTRIBUTE m; ALTER TYPE pair ADD ATTRIBUTE m text", True),
        ("COMMENT ON TYPE pair IS 'two'", False),
    ],
)
def test_table_with_attributes_that_were_replaced_is_unverified(
    filled: TwoSites, change: str, is_unverified: bool
) -> None:
    pair = ("CREATE TYPE pair AS (n integer, m text)", "ALTER TABLE app_parent ADD p pair")
    filled.at_sender(*pair, "UPDATE app_parent SET p = ROW(id, 'm')::pair")
    filled.at_receiver(*pair)
    filled.complete()
    assert filled.load().unverified == ()
    filled.at_receiver(change)
    assert partial_loads(filled) == (("app_parent",) if is_unverified else ())
    filled.complete()
    assert filled.load().unverified == ()
    assert equal(filled, "SELECT id, p FROM app_parent ORDER BY id")


def too_large(sites: TwoSites, table: str) -> None:
    """Keep partials from reading a table for the watermark."""
    rules = sites.catalog.rules(table).model_copy(update={"watermark": False})
    tables = {**sites.catalog.table, table: rules}
    sites.catalog = sites.catalog.model_copy(update={"table": tables})


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("app_parent", "UPDATE app_child SET changed = now() WHERE id = 7"),
        ("app_parent", "SELECT"),
        ("app_child", CHANGE_A_CHILD),
        ("app_child", "SELECT"),
    ],
)
@pytest.mark.long
def test_table_that_was_altered_at_both_sides_and_that_partials_do_not_read_is_unverified(
    filled: TwoSites, table: str, change: str
) -> None:
    """Rows that nobody writes have the default that each server has stored or computed."""
    too_large(filled, table)
    filled.complete()
    assert filled.load().unverified == ()
    filled.at_receiver(f"ALTER TABLE {table} ADD level integer DEFAULT 9")
    assert partial_loads(filled, CHANGE_A_CHILD) == ()
    filled.at_sender(f"ALTER TABLE {table} ADD level integer DEFAULT 7")
    assert partial_loads(filled, change) == (table,)
    assert partial_loads(filled, CHANGE_A_CHILD) == (table,)
    shown = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert shown.lag.because.startswith(f"{table} was altered, truncated or created again at")
    written = Checkpoint.read(filled.spool, signing_keys=())
    assert written is not None
    assert written.unverified == (table,)
    filled.complete()
    assert filled.load().unverified == ()
    assert equal(filled, f"SELECT id, level FROM {table} ORDER BY id")
    assert partial_loads(filled, CHANGE_A_CHILD) == ()


@pytest.mark.long
@pytest.mark.parametrize(
    ("statements", "is_unverified"),
    [
        (["GRANT SELECT (amount) ON app_child TO PUBLIC"], False),
        (["ALTER TABLE app_child ALTER amount SET STATISTICS 50"], False),
        (["ALTER TABLE app_child ALTER amount SET DEFAULT 5"], False),
        (["ALTER TABLE app_child ALTER amount SET NOT NULL"], False),
        (["ALTER TABLE app_child ADD note text"], False),
        (["ALTER TABLE app_child DROP amount"], False),
        (["VACUUM FULL app_child"], False),
        (["ALTER TABLE app_child ADD note text DEFAULT 'n'"], True),
        (["ALTER TABLE app_child ADD drawn float NOT NULL DEFAULT random()"], True),
        (["ALTER TABLE app_child ALTER amount TYPE bigint"], True),
        (["ALTER TABLE app_child ALTER picture TYPE varchar"], True),
        (["ALTER TABLE app_child RENAME amount TO weight"], True),
        (list(AGAIN), True),
    ],
    ids=lambda value: value[0][6:] if isinstance(value, list) else None,
)
def test_only_ddl_that_may_change_values_at_the_sender_makes_it_unverified(
    filled: TwoSites, statements: list[str], is_unverified: bool
) -> None:
    too_large(filled, "app_child")
    filled.complete()
    assert filled.load().unverified == ()
    filled.at_sender(*statements)
    assert partial_loads(filled, CHANGE_A_PARENT) == (("app_child",) if is_unverified else ())
    assert partial_loads(filled, CHANGE_A_PARENT) == (("app_child",) if is_unverified else ())


@pytest.mark.long
def test_ddl_between_two_partials_is_compared_with_the_definition_of_the_first(
    filled: TwoSites,
) -> None:
    too_large(filled, "app_child")
    filled.complete()
    filled.load()
    for alter in (filled.at_sender, filled.at_receiver):
        alter("ALTER TABLE app_child ADD note text DEFAULT 'n'")
    assert partial_loads(filled, CHANGE_A_PARENT) == ("app_child",)
    filled.complete()
    assert filled.load().unverified == ()
    filled.at_sender("ALTER TABLE app_child ALTER note DROP DEFAULT")
    assert partial_loads(filled, CHANGE_A_PARENT) == ()


@pytest.mark.long
def test_loss_of_the_scratch_folder_makes_no_table_unverified(filled: TwoSites) -> None:
    too_large(filled, "app_child")
    filled.complete()
    assert filled.load().unverified == ()
    rmtree(filled.folder / "scratch")
    (filled.folder / "scratch").mkdir()
    assert partial_loads(filled, CHANGE_A_PARENT) == ()
    rmtree(filled.folder / "scratch")
    (filled.folder / "scratch").mkdir()
    filled.at_sender("ALTER TABLE app_child ADD level integer DEFAULT 7")
    assert partial_loads(filled, CHANGE_A_PARENT) == ("app_child",)


@pytest.mark.long
def test_table_that_is_sent_by_other_rules_is_unverified(filled: TwoSites) -> None:
    too_large(filled, "app_child")
    filled.complete()
    assert filled.load().unverified == ()
    rules = filled.catalog.rules("app_child").model_copy(update={"exclude": ("amount",)})
    tables = {**filled.catalog.table, "app_child": rules}
    filled.catalog = filled.catalog.model_copy(update={"table": tables})
    assert partial_loads(filled, CHANGE_A_PARENT) == ("app_child",)
    shown = receiver_status(filled.settings, filled.catalog, filled.clock())
    assert "or altered or sent by other rules at the sender" in shown.lag.because


@pytest.mark.long
def test_it_is_unverified_after_a_complete_of_the_time_before(filled: TwoSites) -> None:
    too_large(filled, "app_parent")
    since = watermark_of(filled.complete())
    filled.load()
    late = filled.complete()
    aside = late.rename(late.with_suffix(".aside"))
    for alter in (filled.at_sender, filled.at_receiver):
        alter("ALTER TABLE app_parent ADD level integer DEFAULT random() * 1000000")
    filled.partial(recent_window(), since=since)
    assert filled.load().unverified == ("app_parent",)
    aside.rename(late)
    assert filled.load().unverified == ("app_parent",)
    filled.complete()
    assert filled.load().unverified == ()


@pytest.mark.long
@pytest.mark.parametrize(
    "statement",
    [
        "VACUUM app_child",
        "ANALYZE app_child",
        "CREATE INDEX ON app_child (amount)",
        "ALTER TABLE app_child ALTER amount SET DEFAULT 0",
        "ALTER TABLE app_child ALTER amount SET NOT NULL",
        "ALTER TABLE app_child ADD COLUMN own text",
        "ALTER TABLE app_child ADD COLUMN own double precision DEFAULT random()",
        "ALTER TABLE app_child ADD COLUMN own integer, DROP COLUMN own2",
        "ALTER TABLE app_child ALTER own2 TYPE bigint",
        "GRANT SELECT ON app_child TO PUBLIC",
        "DELETE FROM app_child WHERE id = 8",
    ],
)
def test_what_changes_no_replicated_row_by_ddl_is_none(loaded: TwoSites, statement: str) -> None:
    loaded.at_receiver("ALTER TABLE app_child ADD COLUMN own2 integer")
    assert partial_loads(loaded) == ()
    loaded.at_receiver(statement)
    assert partial_loads(loaded) == ()
    assert partial_loads(loaded) == ()


@pytest.mark.long
@pytest.mark.parametrize(
    "statements",
    [AGAIN, ("TRUNCATE app_child CASCADE", "INSERT INTO app_child SELECT * FROM child_copy")],
    ids=["column again", "truncated and filled"],
)
def test_ddl_while_a_complete_is_staged_is_not_verified_by_it(
    loaded: TwoSites, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    stage = ArchiveStager.stage

    def stage_during_ddl(stager: ArchiveStager, number: int, archive_id: UUID) -> StagedArchive:
        staged = stage(stager, number, archive_id)
        loaded.at_receiver(*statements)
        return staged

    loaded.complete()
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveStager, "stage", stage_during_ddl)
        assert loaded.load().unverified == ("app_child",)
    loaded.complete()
    assert loaded.load().unverified == ()
    assert equal(loaded)


@pytest.mark.long
def test_column_of_parked_archives_that_is_added_again_is_reported(loaded: TwoSites) -> None:
    loaded.at_receiver(AGAIN[0])
    for _ in range(2):
        assert partial_loads(loaded) == ()
    assert len(list_parked(loaded.spool)) == 2
    loaded.at_receiver(AGAIN[1])
    assert loaded.load().unverified == ("app_child",)
    assert list_parked(loaded.spool) == []


MOODS = (
    "CREATE TYPE mood AS ENUM ('a', 'b')",
    "ALTER TABLE app_child ADD mood mood NOT NULL DEFAULT 'a'",
)
SWAP = (
    "ALTER TYPE mood RENAME VALUE 'a' TO 'x'",
    "ALTER TYPE mood RENAME VALUE 'b' TO 'a'",
    "ALTER TYPE mood RENAME VALUE 'x' TO 'b'",
)


@pytest.mark.long
def test_labels_that_swap_at_one_side_and_later_at_the_other_swap_nothing(
    filled: TwoSites,
) -> None:
    for at_side in (filled.at_sender, filled.at_receiver):
        at_side(*MOODS)
    filled.complete()
    filled.load()
    moods = "SELECT mood::text, count(*) FROM app_child GROUP BY 1"

    filled.at_sender(*SWAP)
    assert partial_loads(filled) == ()
    assert rows(filled.sender, moods) == rows(filled.receiver, moods) == [("b", 2000)]

    filled.at_receiver(*SWAP)
    assert partial_loads(filled) == ("app_child",)
    filled.complete()
    assert filled.load().unverified == ()
    assert rows(filled.receiver, moods) == [("b", 2000)]
    filled.at_receiver("ALTER TYPE mood ADD VALUE 'c'")
    assert partial_loads(filled) == ()


def test_load_of_empty_archives_finds_it(loaded: TwoSites) -> None:
    loaded.at_receiver(*AGAIN)
    loaded.partial(recent_window(0.01), minutes=0)
    report = load_empty_archives(loaded.settings, loaded.catalog, loaded.clock)
    assert report is not None
    assert report.report.unverified == ("app_child",)


def test_column_that_the_sender_adds_comes_whole_and_is_verified(loaded: TwoSites) -> None:
    since = watermark_of(next((loaded.spool / "complete").iterdir()))
    loaded.at_sender("ALTER TABLE app_parent ADD size integer DEFAULT 7")
    loaded.at_receiver("ALTER TABLE app_parent ADD size integer DEFAULT 0")
    loaded.partial(recent_window(), since=since)
    assert loaded.load().unverified == ()
    assert rows(loaded.receiver, "SELECT DISTINCT size FROM app_parent") == [(7,)]


@pytest.mark.long
def test_column_that_archives_carry_only_for_some_rows_is_reported(loaded: TwoSites) -> None:
    """A partial without a watermark has the rows of its window only."""
    loaded.at_sender("ALTER TABLE app_child ADD size integer DEFAULT 7")
    loaded.at_receiver("ALTER TABLE app_child ADD size integer DEFAULT 0")
    loaded.at_sender(CHANGE_A_CHILD)
    loaded.partial(recent_window())
    assert loaded.load().unverified == ("app_child",)
    loaded.complete()
    assert loaded.load().unverified == ()
    assert rows(loaded.receiver, "SELECT DISTINCT size FROM app_child") == [(7,)]


def test_ledger_of_an_earlier_version_reports_nothing(loaded: TwoSites) -> None:
    loaded.at_receiver("DROP TABLE ar_sync.table_definition")
    assert partial_loads(loaded) == ()
    loaded.at_receiver(*AGAIN)
    assert partial_loads(loaded) == ("app_child",)


@pytest.mark.long
def test_partition_that_is_created_again_is_reported(small_sites: TwoSites) -> None:
    parted = (
        "CREATE TABLE app_event (id integer PRIMARY KEY, t text) PARTITION BY RANGE (id)",
        "CREATE TABLE event_1 PARTITION OF app_event FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE event_2 PARTITION OF app_event FOR VALUES FROM (100) TO (200)",
    )
    small_sites.at_sender(
        *parted, "INSERT INTO app_event SELECT n, 't' FROM generate_series(1, 150) n"
    )
    small_sites.at_receiver(*parted)
    small_sites.complete()
    assert small_sites.load().unverified == ()
    small_sites.at_receiver(
        "CREATE TABLE event_3 PARTITION OF app_event FOR VALUES FROM (200) TO (300)"
    )
    small_sites.partial(recent_window())
    assert small_sites.load().unverified == ()
    small_sites.at_receiver("TRUNCATE event_2")
    small_sites.partial(recent_window())
    assert small_sites.load().unverified == ("app_event",)
    small_sites.complete()
    assert small_sites.load().unverified == ()
    small_sites.at_receiver("DROP TABLE event_1", parted[1])
    small_sites.partial(recent_window())
    assert small_sites.load().unverified == ("app_event",)
