"""The sender's values of columns that the transform changes in place follow the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.checks.receiver_checks import check_receiver_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)

TRANSFORM = "UPDATE app_parent SET label = upper(label), transformed = true"
UNTRANSFORMED = "SELECT label FROM app_parent WHERE transformed IS NOT true"
PARENTS_WITHOUT_CASE = "SELECT id, code, upper(label) FROM app_parent ORDER BY id"
SHOWN = "SELECT DISTINCT label = upper(label), transformed FROM app_parent"


@pytest.fixture
def transformed(filled: TwoSites) -> TwoSites:
    filled.complete()
    filled.load()
    filled.at_receiver(TRANSFORM)
    return filled


@pytest.mark.parametrize(
    "migration",
    [
        "ALTER TABLE app_parent ALTER label TYPE varchar(60)",
        'ALTER TABLE app_parent ALTER label TYPE text COLLATE "C"',
    ],
)
def test_migration_of_such_a_column(transformed: TwoSites, migration: str) -> None:
    transformed.at_sender(migration, "UPDATE app_parent SET label = 'as new' WHERE id = 7")
    transformed.at_receiver(migration)
    transformed.complete()
    assert transformed.load().refused == ()
    assert equal(transformed, PARENTS)
    transformed.at_receiver(TRANSFORM)
    transformed.complete()
    assert transformed.load().refused == ()
    assert rows(transformed.receiver, SHOWN) == [(True, True)]


@pytest.mark.long
@pytest.mark.parametrize("change", ["UPDATE app_parent SET code = 'new' WHERE id = 7", ""])
@pytest.mark.parametrize("marks", [True, False])
def test_changed_row_that_is_transformed_again_gets_the_senders_value(
    filled: TwoSites, change: str, marks: bool
) -> None:
    """The transform would add another mark to its own result."""
    if not marks:
        catalog = filled.catalog.model_dump(exclude_unset=True)
        del catalog["table"]["app_parent"]["reset_on_change"]
        filled.catalog = Catalog.model_validate(catalog)
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET label = label || '!', transformed = true")
    filled.at_sender(change or "SELECT")
    filled.complete()
    assert filled.load().refused == ()
    again = [("label 7",)] if change and marks else []
    assert rows(filled.receiver, UNTRANSFORMED) == again
    kept = rows(filled.receiver, "SELECT label FROM app_parent WHERE id = 7 AND transformed")
    assert kept == ([] if again else [("label 7!",)])
    filled.complete()
    assert [(net.added, net.changed) for net in filled.load().net.values()] == [(0, 0)] * 2


def test_values_of_another_hand_are_replaced_by_the_statement_of_the_runbook(
    transformed: TwoSites,
) -> None:
    page = Path(__file__).parents[2] / "docs" / "runbook" / "digests_differ.md"
    (statement,) = re.findall("```sql\n(UPDATE .*?)```", page.read_text(), re.DOTALL)
    statement = statement.replace("shop_item", "app_parent").replace("title", "label")
    transformed.at_receiver("CREATE TABLE old AS TABLE app_parent")
    transformed.at_sender("UPDATE app_parent SET label = 'as new' WHERE id < 3")
    transformed.complete()
    transformed.load()
    transformed.at_receiver(
        TRANSFORM,
        "DELETE FROM app_parent; INSERT INTO app_parent TABLE old",
        "UPDATE app_parent SET label = 'by hand' WHERE id = 7",
        statement,
    )
    assert equal(transformed, PARENTS)
    assert rows(transformed.receiver, "SELECT count(*) FROM app_parent WHERE transformed") == [(0,)]
    transformed.at_receiver(TRANSFORM)
    transformed.complete()
    assert [net.changed for net in transformed.load().net.values()] == [0, 0]
    assert rows(transformed.receiver, SHOWN) == [(True, True)]


def test_further_column_of_this_kind(transformed: TwoSites) -> None:
    transformed.at_receiver("ALTER TABLE app_parent DROP CONSTRAINT app_parent_code_key")
    rules = transformed.catalog.table["app_parent"]
    more = rules.model_copy(update={"rewritten_by_transform": ("label", "code")})
    tables = {**transformed.catalog.table, "app_parent": more}
    transformed.catalog = transformed.catalog.model_copy(update={"table": tables})
    transformed.complete()
    assert transformed.load().refused == ()
    transformed.at_receiver("UPDATE app_parent SET code = 'C' || id, transformed = true")
    transformed.complete()
    assert transformed.load().refused == ()
    assert rows(transformed.receiver, "SELECT code FROM app_parent WHERE id = 3") == [("C3",)]


def test_other_key_of_the_sender_waits_for_the_receivers(transformed: TwoSites) -> None:
    for url in (transformed.at_sender, transformed.at_receiver):
        url(
            "ALTER TABLE app_parent ALTER code SET NOT NULL, ADD UNIQUE (code)",
            "ALTER TABLE app_child DROP CONSTRAINT app_child_parent_id_fkey",
        )
    change = "ALTER TABLE app_parent DROP CONSTRAINT app_parent_pkey, ADD PRIMARY KEY (code)"
    transformed.at_sender(change, "UPDATE app_parent SET label = 'as new' WHERE id = 7")
    transformed.complete()
    assert transformed.load().loaded == ()
    (parked,) = list_parked(transformed.spool)
    assert "app_parent has the key (code) at the sender and (id) at the receiver" in str(
        read_reason(parked.path)
    )
    transformed.at_receiver("ALTER TABLE app_note DROP CONSTRAINT app_note_parent_id_fkey", change)
    assert transformed.load().refused == ()
    assert list_parked(transformed.spool) == []
    assert equal(transformed, PARENTS_WITHOUT_CASE)
    assert rows(transformed.receiver, UNTRANSFORMED) == [("as new",)]


@pytest.mark.parametrize(("key", "no_key"), [("", "no key"), ("label", "no key without label")])
def test_table_without_a_key_of_other_columns_is_named_and_parked(
    filled: TwoSites, key: str, no_key: str
) -> None:
    for url in (filled.at_sender, filled.at_receiver):
        url(f"CREATE TABLE app_log (id int, label text{f', PRIMARY KEY ({key})' if key else ''})")
    filled.at_receiver("INSERT INTO app_log VALUES (1, 'old')")
    filled.at_sender("INSERT INTO app_log VALUES (1, 'new')")
    catalog = filled.catalog.model_dump(exclude_unset=True)
    catalog["table"]["app_log"] = {"rewritten_by_transform": ["label"]}
    filled.catalog = Catalog.model_validate(catalog)
    findings = receiver_findings(filled)
    said = f"app_log has {no_key} at the receiver, by which the sender's values of label are"
    assert [f.level for f in findings if said in f.problem] == [Level.ERROR]
    since = watermark_of(filled.complete())
    filled.load()
    (parked,) = list_parked(filled.spool)
    assert said in str(read_reason(parked.path))
    filled.at_sender("UPDATE app_parent SET label = 'as new' WHERE id = 7")
    for url in (filled.at_sender, filled.at_receiver):
        url("ALTER TABLE app_log DROP CONSTRAINT IF EXISTS app_log_pkey, ADD PRIMARY KEY (id)")
    filled.complete(since)
    assert filled.load().refused == ()
    assert equal(filled, PARENTS)
    assert equal(filled, "TABLE app_log")


LONG = (
    "ALTER TABLE app_parent ADD long int GENERATED ALWAYS AS (length(label)) STORED,"
    " ADD CONSTRAINT app_x EXCLUDE USING btree (id WITH =, long WITH =)"
)
PLABEL = (
    "ALTER TABLE app_parent ADD UNIQUE (id, label); ALTER TABLE app_child ADD plabel text,"
    " ADD CONSTRAINT app_x FOREIGN KEY (parent_id, plabel) REFERENCES app_parent (id, label)"
)
IN_KEYS = [
    ("ALTER TABLE app_parent ADD CONSTRAINT app_x UNIQUE (label)", "unique key app_x of app_pare"),
    ("CREATE UNIQUE INDEX app_x ON app_parent (lower(label)) WHERE code > ''", "unique key app_x"),
    (LONG, "unique key app_x of app_parent uses label at the receiver"),
    (PLABEL, "app_child refers by app_x to label of app_parent at the receiver"),
]
DROP_KEY = """
DO $$ BEGIN
  ALTER TABLE app_parent DROP CONSTRAINT IF EXISTS app_x;
  ALTER TABLE app_child DROP CONSTRAINT IF EXISTS app_x;
  DROP INDEX IF EXISTS app_x;
END $$
"""


@pytest.mark.parametrize(("made", "said"), IN_KEYS)
@pytest.mark.parametrize("drift", ["park", "ignore"])
def test_such_a_column_in_a_key_is_named_and_parks(
    filled: TwoSites, made: str, said: str, drift: str
) -> None:
    """A green load would delete a live row whose transformed value another row gets."""
    filled.environ["AR_SYNC_SCHEMA_DRIFT"] = drift
    for url in (filled.at_sender, filled.at_receiver):
        url(made)
    assert [f.level for f in receiver_findings(filled) if said in f.problem] == [Level.ERROR]
    filled.complete()
    assert filled.load().loaded == ()
    (parked,) = list_parked(filled.spool)
    reason = read_reason(parked.path)
    assert reason is not None
    assert said in reason.reason
    assert reason.remedy.startswith("drop the key at the receiver")
    filled.at_receiver(DROP_KEY)
    assert [f for f in receiver_findings(filled) if said in f.problem] == []
    assert len(filled.load().loaded) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["partial", "complete", "complete with the row"])
def test_row_that_the_transform_lets_refer_to_a_deleted_one_is_not_deleted(
    filled: TwoSites, kind: str
) -> None:
    """The sender's row refers to another one and is alive."""
    for url in (filled.at_sender, filled.at_receiver):
        url(
            "CREATE TABLE app_kind (id int PRIMARY KEY, code text UNIQUE)",
            "CREATE TABLE app_item (id int PRIMARY KEY, kind int REFERENCES app_kind, v int)",
        )
    catalog = filled.catalog.model_dump(exclude_unset=True)
    catalog["table"]["app_item"] = {"rewritten_by_transform": ["kind"]}
    filled.catalog = Catalog.model_validate(catalog)
    filled.at_sender(
        "INSERT INTO app_kind VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO app_item VALUES (1, 1, 1), (2, 1, 1)",
    )
    since = watermark_of(filled.complete())
    filled.load()
    filled.at_receiver("UPDATE app_item SET kind = 2 WHERE id = 1")
    filled.at_sender("DELETE FROM app_kind WHERE id = 2; INSERT INTO app_kind VALUES (3, 'b')")
    if kind == "partial":
        filled.partial(recent_window(), since=since)
    else:
        filled.at_sender(f"UPDATE app_item SET v = {2 if 'with' in kind else 1} WHERE id = 2")
        filled.complete()
    (refused,) = filled.load().refused
    said = "would refer to rows" if "with" in kind else "refer in kind, which the transform changed"
    assert f"rows of app_item {said}" in str(refused)
    assert refused.remedy.startswith("let these rows refer to others, or drop app_item_kind_fkey")
    items = rows(filled.receiver, "SELECT id, kind FROM app_item ORDER BY id")
    assert items == [(1, 2), (2, 1)]
    filled.at_receiver("UPDATE app_item SET kind = 1")
    assert filled.load().refused == ()
    assert equal(filled, "SELECT * FROM app_kind ORDER BY id")
    assert rows(filled.receiver, "SELECT id FROM app_item ORDER BY id") == [(1,), (2,)]


def test_harmless_keys_of_such_a_column_are_not_named(filled: TwoSites) -> None:
    """The key implies the first; the receiver's own reference follows or becomes NULL."""
    filled.at_receiver(
        "ALTER TABLE app_parent ADD UNIQUE (id, label)",
        "ALTER TABLE app_note ADD label text, ADD FOREIGN KEY (parent_id, label)"
        " REFERENCES app_parent (id, label) ON UPDATE CASCADE",
        "CREATE UNIQUE INDEX ON app_parent (code) INCLUDE (label)",
    )
    assert [f for f in receiver_findings(filled) if "rewritten_by_transform" in f.problem] == []
    filled.complete()
    assert len(filled.load().loaded) == 1


def test_other_key(transformed: TwoSites) -> None:
    for url in (transformed.at_sender, transformed.at_receiver):
        url(
            "ALTER TABLE app_child DROP CONSTRAINT app_child_parent_id_fkey",
            "ALTER TABLE app_parent ALTER code SET NOT NULL",
        )
    transformed.at_receiver("ALTER TABLE app_note DROP CONSTRAINT app_note_parent_id_fkey")
    for url in (transformed.at_sender, transformed.at_receiver):
        url("ALTER TABLE app_parent DROP CONSTRAINT app_parent_pkey, ADD PRIMARY KEY (code)")
    transformed.complete()
    assert transformed.load().refused == ()
    assert equal(transformed, PARENTS_WITHOUT_CASE)
    assert rows(transformed.receiver, UNTRANSFORMED) == []


def receiver_findings(sites: TwoSites) -> list[Finding]:
    with connect(sites.receiver, application="test") as connection:
        tables = read_tables(connection, "public", sites.catalog.replicates)
        return check_receiver_tables(connection, sites.catalog, tables)
