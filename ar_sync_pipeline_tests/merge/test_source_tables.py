"""Tables of the sender's values follow migrations and stand in the way of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.spool.states import list_applied
from ar_sync_pipeline.sync.load.load_session import LoadSession
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive
from ar_sync_pipeline.sync.watch.compare import compare_archive, compare_databases
from ar_sync_pipeline.sync.watch.row_differences import TableDifference
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, recent_window, rows, watermark_of

WORDS = "CREATE TABLE app_word (id int PRIMARY KEY, n int NOT NULL UNIQUE, u text)"
FILL = "INSERT INTO app_word SELECT n, n + 100, 'u' || n FROM generate_series(1, 20) n"
TRANSFORM = "UPDATE app_word SET u = 'T' || u, done = true WHERE done IS NOT true"
TRANSFORMED = "SELECT count(*) FROM app_word WHERE done AND u LIKE 'Tu%'"
SENT = "SELECT id, n, u FROM app_word ORDER BY id"
OTHERS = """
SELECT t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = to_regclass('ar_sync.source_app_word') AND a.atttypid >= 16384
 UNION ALL
SELECT l.collname FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation
 WHERE a.attrelid = to_regclass('ar_sync.source_app_word') AND l.oid >= 16384
"""
RULES = {
    "receiver_columns": ["done"],
    "reset_on_change": {"done": False},
    "rewritten_by_transform": ["u"],
}


TYPES = {"id": "bigint", "u": "varchar(60)"}
OF_AN_EARLIER_VERSION = (
    "DROP TABLE ar_sync.source_app_word",
    "CREATE TABLE ar_sync.source_app_word AS SELECT id, u FROM app_word",
    "ALTER TABLE ar_sync.source_app_word ADD PRIMARY KEY (id)",
)
SETTINGS = tuple(
    f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {setting}', current_database()); END $$"
    for setting in (
        "DateStyle = ''German''",
        "TimeZone = ''America/Santiago''",
        "extra_float_digits = 0",
        "bytea_output = escape",
    )
)
"""By them the application's sessions print values otherwise."""


def of_words(sites: TwoSites, **rules: object) -> Catalog:
    """Return the catalog with a table of words."""
    catalog = sites.catalog.model_dump(exclude_unset=True)
    catalog["table"]["app_word"] = {**RULES, **rules}
    return Catalog.model_validate(catalog)


def at_both(sites: TwoSites, *statements: str) -> None:
    sites.at_sender(*statements)
    sites.at_receiver(*statements)


def load_complete(sites: TwoSites) -> TablePlan:
    """Load a complete; return the plan of the table of words."""
    applied = list_applied(sites.spool)
    newest = max(applied, key=lambda archive: archive.name.snapshot_at, default=None)
    sites.complete(watermark_of(newest.path) if newest else None)
    report = sites.load()
    assert report.refused == ()
    (plan,) = (p for a in report.loaded for p in a.tables if p.table == "app_word")
    return plan


def load_partial(sites: TwoSites) -> None:
    newest = max(list_applied(sites.spool), key=lambda archive: archive.name.snapshot_at)
    sites.partial(recent_window(), since=watermark_of(newest.path))
    assert sites.load().refused == ()


@pytest.fixture
def words(small_sites: TwoSites) -> TwoSites:
    """Two servers of a table with a column that is transformed in place."""
    at_both(small_sites, WORDS)
    small_sites.catalog = of_words(small_sites)
    small_sites.at_sender(FILL)
    small_sites.at_receiver("ALTER TABLE app_word ADD done boolean")
    load_complete(small_sites)
    small_sites.at_receiver(TRANSFORM)
    return small_sites


LOSES_VALUES = {
    "column dropped and added again": (
        "ALTER TABLE app_word DROP u",
        "ALTER TABLE app_word ADD u text DEFAULT 'lost'",
    ),
    "table created again": (
        "ALTER TABLE app_word RENAME TO word_before",
        "CREATE TABLE app_word (id int PRIMARY KEY, n int NOT NULL UNIQUE, u text, done boolean)",
        "INSERT INTO app_word SELECT id, n, NULL, done FROM word_before",
    ),
    "table truncated and filled by others": (
        "CREATE TABLE word_before AS TABLE app_word",
        "TRUNCATE app_word",
        "INSERT INTO app_word (id, n, done) SELECT id, n, done FROM word_before",
    ),
    "column written by its migration": (
        "ALTER TABLE app_word ALTER u TYPE text USING left(u, 0)",
        "ALTER TABLE app_word ALTER u TYPE varchar(9)",
        "ALTER TABLE app_word ALTER u TYPE text",
    ),
    "key written by its migration": ("ALTER TABLE app_word ALTER id TYPE int USING 21 - id",),
}


@pytest.mark.long
@pytest.mark.parametrize("migration", LOSES_VALUES.values(), ids=LOSES_VALUES.keys())
def test_values_that_ddl_at_the_receiver_takes_away_come_back(
    words: TwoSites, migration: tuple[str, ...]
) -> None:
    words.at_receiver(*migration)
    words.at_sender("UPDATE app_word SET n = 0 WHERE id = 1")
    load_partial(words)
    load_complete(words)
    assert equal(words, SENT)
    assert rows(words.receiver, "SELECT DISTINCT done FROM app_word") == [(False,)]


@pytest.mark.long
def test_column_added_again_at_both_sides_is_not_taken_for_the_former_one(words: TwoSites) -> None:
    again = ("ALTER TABLE app_word DROP u", "ALTER TABLE app_word ADD u text NOT NULL DEFAULT ''")
    at_both(words, *again)
    words.at_sender("UPDATE app_word SET u = 'u' || id")
    load_partial(words)
    assert equal(words, SENT)


@pytest.mark.long
@pytest.mark.parametrize(
    "migration",
    [
        "ALTER TABLE app_word ADD twice int GENERATED ALWAYS AS (n * 2) STORED",
        "ALTER TABLE app_word DROP CONSTRAINT app_word_pkey, ADD PRIMARY KEY (n)",
        "ALTER TABLE app_word DROP CONSTRAINT app_word_pkey, ADD PRIMARY KEY (n, id)",
        "ALTER TABLE app_word RENAME id TO pk",
    ],
)
def test_values_survive_other_migrations(words: TwoSites, migration: str) -> None:
    at_both(words, migration)
    words.at_sender("UPDATE app_word SET u = 'new' WHERE n = 107")
    load_partial(words)
    assert rows(words.receiver, TRANSFORMED) == [(19,)]
    plan = load_complete(words)
    assert (plan.changed, plan.drift) == (0, 0)
    assert rows(words.receiver, "SELECT n, u, done FROM app_word WHERE NOT done") == [
        (107, "new", False)
    ]


@pytest.mark.long
def test_values_survive_a_new_name_of_their_column(words: TwoSites) -> None:
    at_both(words, "ALTER TABLE app_word RENAME u TO word")
    words.catalog = of_words(words, rewritten_by_transform=["word"])
    assert load_complete(words).changed == 0
    assert rows(words.receiver, "SELECT count(*) FROM app_word WHERE done") == [(20,)]


def fail_to_load(sites: TwoSites, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Dump a partial, whose load ends as if it were killed in a method of the session."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    newest = max(list_applied(sites.spool), key=lambda archive: archive.name.snapshot_at)
    sites.partial(recent_window(), since=watermark_of(newest.path))
    with monkeypatch.context() as patch:
        patch.setattr(LoadSession, method, kill)
        with pytest.raises(KeyboardInterrupt):
            sites.load()


@pytest.mark.long
@pytest.mark.parametrize(
    "kills", [("_stage",), ("_record_definitions",), ("_check_deletions", "_stage")]
)
@pytest.mark.parametrize("column", ["id", "u"])
def test_values_survive_a_new_name_and_loads_that_fail(
    words: TwoSites, monkeypatch: pytest.MonkeyPatch, column: str, kills: tuple[str, ...]
) -> None:
    at_both(words, f"ALTER TABLE app_word RENAME {column} TO word")
    words.catalog = of_words(words, rewritten_by_transform=["word" if column == "u" else "u"])
    for method in kills:
        fail_to_load(words, monkeypatch, method)
    assert load_complete(words).changed == 0
    assert rows(words.receiver, "SELECT count(*) FROM app_word WHERE done") == [(20,)]


EXCHANGE = (
    "ALTER TABLE app_word RENAME u TO x",
    "ALTER TABLE app_word RENAME v TO u",
    "ALTER TABLE app_word RENAME x TO v",
)


@pytest.fixture
def pairs(small_sites: TwoSites) -> TwoSites:
    """Two servers of a table with two columns of a type that are transformed in place."""
    at_both(small_sites, "CREATE TABLE app_word (id int PRIMARY KEY, n int, u text, v text)")
    small_sites.catalog = of_words(small_sites, rewritten_by_transform=["u", "v"])
    small_sites.at_sender("INSERT INTO app_word VALUES (1, 1, 'u1', 'v1'), (2, 2, 'u2', 'v2')")
    small_sites.at_receiver("ALTER TABLE app_word ADD done boolean")
    load_complete(small_sites)
    small_sites.at_receiver("UPDATE app_word SET u = 'T' || u, v = 'T' || v, done = true")
    return small_sites


PAIRS = "SELECT id, u, v, done FROM app_word ORDER BY id"
# Row 1 has changed: its mark is unset, and it has the values of the sender.
CHANGED_PAIRS = [(1, "u1", "u1", False), (2, "Tv2", "Tu2", True)]


@pytest.mark.long
@pytest.mark.parametrize(
    "kills", [(), ("_stage",), ("_record_definitions",), ("_check_deletions", "_stage")]
)
def test_columns_that_exchange_their_names_have_their_values_after_loads_that_fail(
    pairs: TwoSites, monkeypatch: pytest.MonkeyPatch, kills: tuple[str, ...]
) -> None:
    at_both(pairs, *EXCHANGE)
    pairs.at_sender("UPDATE app_word SET u = 'u1' WHERE id = 1")
    for method in kills:
        fail_to_load(pairs, monkeypatch, method)
    load_partial(pairs)
    assert rows(pairs.receiver, PAIRS) == CHANGED_PAIRS
    assert load_complete(pairs).changed == 0


@pytest.mark.long
def test_columns_that_exchange_their_names_during_a_load_lose_their_values(
    pairs: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = LoadSession._stage  # noqa: SLF001

    def migrate_then_stage(session: LoadSession) -> list[StagedArchive]:
        pairs.at_receiver(*EXCHANGE)
        return stage(session)

    with monkeypatch.context() as patch:
        patch.setattr(LoadSession, "_stage", migrate_then_stage)
        load_partial(pairs)
    pairs.at_sender(*EXCHANGE, "UPDATE app_word SET u = 'u1' WHERE id = 1")
    load_complete(pairs)
    assert rows(pairs.receiver, PAIRS) == [(1, "u1", "u1", False), (2, "v2", "u2", False)]


@pytest.mark.long
@pytest.mark.parametrize("column", ["id", "u"])
def test_rows_whose_values_a_migration_took_are_no_drift(words: TwoSites, column: str) -> None:
    at_both(words, f"ALTER TABLE app_word ALTER {column} TYPE {TYPES[column]}")
    plan = load_complete(words)
    assert (plan.changed, plan.drift or 0) == (20, 0)
    assert equal(words, SENT)


@pytest.mark.long
def test_missing_change_is_drift_though_values_are_unknown(words: TwoSites) -> None:
    words.at_receiver(
        "DELETE FROM ar_sync.source_app_word", "UPDATE app_word SET n = 0 WHERE id = 3"
    )
    plan = load_complete(words)
    assert (plan.changed, plan.drift) == (20, 1)


OWN_TYPES = {
    "enum": ("CREATE TYPE own AS ENUM ('u', 'T')", "'u'", "'T'"),
    "domain over text": ("CREATE DOMAIN own AS char(9)", "'u '", "'T'"),
    "composite": (
        "CREATE TYPE own AS (at timestamptz, amount float8, raw bytea)",
        "ROW('2024-02-29 03:04:05.6+00', 1 / 3.0::float8, '\\x00ff'::bytea)::own",
        "ROW('2024-07-01 12:00+00', -0.0, NULL)::own",
    ),
    "NULL and empty composite": ("CREATE TYPE own AS (a int)", "'()'", "NULL"),
    "range": ("CREATE TYPE own AS RANGE (subtype = float8)", "'[0.1,2)'", "'empty'"),
    "array": (
        "CREATE TYPE own_one AS ENUM ('u', 'T'); CREATE DOMAIN own AS own_one[]",
        "'{u}'",
        "'{T}'",
    ),
    "collation": (
        "CREATE COLLATION own_c (provider = icu, locale = 'und', deterministic = false)",
        "'u'",
        "'T'",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("earlier", [False, True], ids=["", "of an earlier version"])
@pytest.mark.parametrize("case", OWN_TYPES.values(), ids=OWN_TYPES.keys())
def test_values_of_own_types_are_compared_and_depend_on_nothing(
    small_sites: TwoSites, case: tuple[str, str, str], *, earlier: bool
) -> None:
    create, sent, transformed = case
    column = "u text COLLATE own_c" if "own_c" in create else "u own"
    at_both(small_sites, create, f"CREATE TABLE app_word (id int PRIMARY KEY, n int, {column})")
    small_sites.at_sender(f"INSERT INTO app_word SELECT n, n, {sent} FROM generate_series(1, 9) n")
    small_sites.at_receiver("ALTER TABLE app_word ADD done boolean", *SETTINGS)
    small_sites.catalog = of_words(small_sites)
    load_complete(small_sites)
    if earlier:
        small_sites.at_receiver(*OF_AN_EARLIER_VERSION)
    small_sites.at_receiver(f"UPDATE app_word SET u = {transformed}, done = true")
    # Without a mark the changed row keeps the transformed value.
    small_sites.catalog = of_words(small_sites, reset_on_change={})
    small_sites.at_sender("UPDATE app_word SET n = 0 WHERE id = 4")
    load_partial(small_sites)
    small_sites.catalog = of_words(small_sites)
    assert rows(
        small_sites.receiver,
        f"SELECT count(*) FROM app_word WHERE u::text IS DISTINCT FROM ({transformed})::text",
    ) == [(0,)]
    assert load_complete(small_sites).changed == 0
    assert rows(small_sites.receiver, OTHERS) == []
    assert [t.equal for t in compared(small_sites) if t.table == "app_word"] == [True]
    small_sites.at_sender(
        f"UPDATE app_word SET u = {transformed} WHERE id = 5",
        "UPDATE app_word SET n = 1 WHERE id = 4",
    )
    load_partial(small_sites)
    assert equal(small_sites, "SELECT u::text FROM app_word WHERE id IN (4, 5) ORDER BY id")
    assert rows(small_sites.receiver, "SELECT id FROM app_word WHERE NOT done ORDER BY id") == [
        (4,),
        (5,),
    ]
    assert load_complete(small_sites).changed == 0


OWN_KEYS = {
    "enum": ("CREATE TYPE own AS ENUM ('1', '2', '3')", "own"),
    "domain": ("CREATE DOMAIN own AS int", "own"),
    "composite": ("CREATE TYPE own AS (a int, b text)", "own"),
    "collation": (
        "CREATE COLLATION own (provider = icu, locale = 'und', deterministic = false)",
        "text COLLATE own",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("earlier", [False, True], ids=["", "of an earlier version"])
@pytest.mark.parametrize("case", OWN_KEYS.values(), ids=OWN_KEYS.keys())
def test_keys_of_own_types_lead_to_the_values(
    small_sites: TwoSites, case: tuple[str, str], *, earlier: bool
) -> None:
    create, type_ = case
    at_both(small_sites, create, f"CREATE TABLE app_word (id {type_} PRIMARY KEY, n int, u text)")
    keys = (
        ["'(1,)'::own", "'(2,x)'::own", "'(,)'::own"]
        if "(a int" in create
        else ["'1'", "'2'", "'3'"]
    )
    small_sites.at_sender(*(f"INSERT INTO app_word VALUES ({k}, 1, 'u')" for k in keys))
    small_sites.at_receiver("ALTER TABLE app_word ADD done boolean")
    small_sites.catalog = of_words(small_sites)
    load_complete(small_sites)
    if earlier:
        small_sites.at_receiver(*OF_AN_EARLIER_VERSION)
    small_sites.at_receiver(TRANSFORM)
    assert load_complete(small_sites).changed == 0
    small_sites.at_sender(
        f"UPDATE app_word SET n = 2 WHERE id = {keys[0]}",
        f"DELETE FROM app_word WHERE id = {keys[1]}",
    )
    load_complete(small_sites)
    assert rows(small_sites.receiver, "SELECT n, u, done FROM app_word ORDER BY 1") == [
        (1, "Tu", True),
        (2, "u", False),  # transformed again
    ]
    assert rows(small_sites.receiver, "SELECT count(*) FROM ar_sync.source_app_word") == [(2,)]
    assert rows(small_sites.receiver, OTHERS) == []


def test_table_of_an_earlier_version_without_own_types_is_left_as_it_is(words: TwoSites) -> None:
    file = "SELECT 'ar_sync.source_app_word'::regclass::oid"
    before = rows(words.receiver, file)
    load_complete(words)
    assert rows(words.receiver, file) == before


@pytest.mark.long
def test_table_that_is_no_longer_needed_is_dropped(words: TwoSites) -> None:
    exists = "SELECT to_regclass('ar_sync.source_app_word') IS NOT NULL"
    assert rows(words.receiver, exists) == [(True,)]
    at_both(words, "ALTER TABLE app_word DROP u")
    load_complete(words)
    assert rows(words.receiver, exists) == [(False,)]
    at_both(words, "ALTER TABLE app_word ADD u text")
    load_complete(words)
    assert rows(words.receiver, exists) == [(True,)]
    words.catalog = of_words(words, rewritten_by_transform=[])
    load_complete(words)
    assert rows(words.receiver, exists) == [(False,)]


@pytest.mark.long
def test_values_that_ddl_takes_away_during_a_load_come_back(
    words: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = LoadSession._stage  # noqa: SLF001

    def migrate_then_stage(session: LoadSession) -> list[StagedArchive]:
        words.at_receiver(*LOSES_VALUES["column dropped and added again"])
        return stage(session)

    words.at_sender("UPDATE app_word SET n = 0 WHERE id = 1")
    with monkeypatch.context() as patch:
        patch.setattr(LoadSession, "_stage", migrate_then_stage)
        load_partial(words)
    load_complete(words)
    assert equal(words, SENT)


@pytest.mark.long
def test_comparison_does_not_use_values_of_other_rows(words: TwoSites) -> None:
    assert [t.equal for t in compared(words) if t.table == "app_word"] == [True]
    words.at_receiver(*LOSES_VALUES["column dropped and added again"])
    assert [t.equal for t in compared(words) if t.table == "app_word"] == [False]


@pytest.mark.long
@pytest.mark.parametrize(
    ("migration", "transformed"),
    [
        ("ALTER TABLE app_word RENAME u TO word", "word"),
        ("ALTER TYPE own RENAME TO other", "u"),
        ("ALTER TABLE app_word DROP CONSTRAINT app_word_pkey, ADD PRIMARY KEY (n)", "u"),
    ],
    ids=["column", "type", "key"],
)
def test_comparison_waits_for_values_that_the_next_load_converts(
    small_sites: TwoSites, migration: str, transformed: str
) -> None:
    """Each transformed row was reported as a different one."""
    at_both(
        small_sites,
        "CREATE DOMAIN own AS text",
        "CREATE TABLE app_word (id int PRIMARY KEY, n int NOT NULL UNIQUE, u own)",
    )
    small_sites.catalog = of_words(small_sites)
    small_sites.at_sender(FILL)
    small_sites.at_receiver("ALTER TABLE app_word ADD done boolean")
    load_complete(small_sites)
    small_sites.at_receiver(TRANSFORM)
    at_both(small_sites, migration)
    small_sites.catalog = of_words(small_sites, rewritten_by_transform=[transformed])
    archive = small_sites.complete()
    found = [*compared(small_sites), *compared_with(small_sites, archive)]
    words = [t for t in found if t.table == "app_word"]
    assert [("the next one converts" in t.problem, t.counts) for t in words] == [(True, {})] * 2
    assert small_sites.load().refused == ()
    assert [t.equal for t in compared(small_sites) if t.table == "app_word"] == [True]


def compared_with(sites: TwoSites, archive: Path) -> list[TableDifference]:
    return compare_archive(archive, sites.receiver, sites.catalog, signing_keys=[])


def compared(sites: TwoSites) -> list[TableDifference]:
    return compare_databases(sites.sender, sites.receiver, sites.catalog)
