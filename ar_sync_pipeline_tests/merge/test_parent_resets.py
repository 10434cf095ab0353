"""A row is transformed again when its children change, whatever archive brings them."""

from __future__ import annotations

import threading

import pytest

from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline_tests.fix_sites import (
    PARENTS,
    TwoSites,
    equal,
    recent_window,
    rows,
    watermark_of,
)

WAITING = "SELECT id FROM app_parent WHERE transformed IS NOT TRUE ORDER BY id"
VERSIONS = "SELECT xmin::text, ctid::text, id FROM app_parent ORDER BY id"


@pytest.fixture
def transformed(filled: TwoSites) -> TwoSites:
    """Two equal servers whose parents have children by the catalog, all of them transformed."""
    parent = filled.catalog.table["app_parent"].model_copy(update={"children": ("app_child",)})
    tables = {**filled.catalog.table, "app_parent": parent}
    filled.catalog = filled.catalog.model_copy(update={"table": tables})
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET seen = true, transformed = true")
    return filled


def _waiting(sites: TwoSites) -> list[object]:
    return [row[0] for row in rows(sites.receiver, WAITING)]


@pytest.mark.parametrize(
    ("change", "waiting"),
    [
        ("INSERT INTO app_child (parent_id) VALUES (7)", [7]),
        ("UPDATE app_child SET amount = 42 WHERE id IN (3, 53)", [4]),
        ("UPDATE app_child SET parent_id = 9 WHERE id = 3", [4, 9]),
        ("DELETE FROM app_child WHERE id = 3", [4]),
        ("DELETE FROM app_child WHERE parent_id = 4; DELETE FROM app_parent WHERE id = 4", []),
    ],
)
def test_child_that_a_complete_changes_resets_its_parents(
    transformed: TwoSites, change: str, waiting: list[int]
) -> None:
    transformed.at_sender(change)
    transformed.complete()
    report = transformed.load()
    assert _waiting(transformed) == waiting
    assert equal(transformed)
    assert equal(transformed, PARENTS)
    # The parent has what the sender has: the plan, the ledger and drift do not count it.
    assert {plan.table: plan.changed for plan in report.loaded[0].tables}["app_parent"] == 0


def test_child_that_comes_with_a_later_partial_than_its_parent_resets_it(
    transformed: TwoSites,
) -> None:
    base = watermark_of(transformed.complete())
    transformed.load()
    transformed.at_sender("INSERT INTO app_parent (id, code) VALUES (900, 'new')")
    since = watermark_of(transformed.partial(recent_window(), since=base))
    transformed.load()
    transformed.at_receiver("UPDATE app_parent SET transformed = true")
    before = rows(transformed.receiver, VERSIONS)
    transformed.at_sender("INSERT INTO app_child (parent_id) VALUES (900)")
    transformed.partial(recent_window(), since=since)
    transformed.load()
    assert _waiting(transformed) == [900]
    assert [row for row in rows(transformed.receiver, VERSIONS) if row[2] != 900] == before[:-1]


def test_parent_of_unchanged_children_is_not_written(transformed: TwoSites) -> None:
    before = rows(transformed.receiver, VERSIONS)
    transformed.at_sender("UPDATE app_child SET amount = amount")
    transformed.complete()
    transformed.load()
    assert rows(transformed.receiver, VERSIONS) == before


def test_child_of_a_table_that_the_catalog_does_not_name_resets_nothing(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver("UPDATE app_parent SET transformed = true")
    filled.at_sender("INSERT INTO app_child (parent_id) VALUES (7)")
    filled.complete()
    filled.load()
    assert _waiting(filled) == []


@pytest.mark.parametrize("null", ["DROP NOT NULL", "SET NOT NULL"])
def test_lost_result_of_a_live_row_resets_it(filled: TwoSites, null: str) -> None:
    """The result refers to a deleted row, and is deleted with it or loses the reference."""
    filled.complete()
    filled.load()
    filled.at_receiver(
        "INSERT INTO app_note (parent_id, maybe_id) VALUES (7, 3), (8, 4), (9, 3), (4, 3)",
        f"ALTER TABLE app_note ALTER maybe_id {null}",
        "UPDATE app_parent SET transformed = true",
    )
    filled.at_sender(
        "DELETE FROM app_child WHERE id = 3 OR parent_id = 9", "DELETE FROM app_parent WHERE id = 9"
    )
    filled.complete()
    assert filled.load().refused == ()
    assert _waiting(filled) == [4, 7]
    left = rows(filled.receiver, "SELECT parent_id, maybe_id FROM app_note ORDER BY 1")
    assert left == ([(8, 4)] if null == "SET NOT NULL" else [(4, None), (7, None), (8, 4)])


def test_live_row_whose_own_result_becomes_null_is_reset(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(
        "ALTER TABLE app_parent ADD largest integer REFERENCES app_child",
        "UPDATE app_parent SET transformed = true, largest = CASE WHEN id < 4 THEN 3 ELSE 4 END",
    )
    filled.at_sender(
        "DELETE FROM app_child WHERE id = 3", "UPDATE app_parent SET code = 'new' WHERE id = 2"
    )
    filled.complete()
    assert filled.load().refused == ()
    assert _waiting(filled) == [1, 2, 3]
    lost = rows(filled.receiver, "SELECT id FROM app_parent WHERE largest IS NULL ORDER BY id")
    assert lost == [(1,), (2,), (3,)]


def test_reset_waits_for_a_transform_that_does_not_see_the_child(transformed: TwoSites) -> None:
    transformed.at_receiver("UPDATE app_parent SET transformed = false WHERE id = 7")
    transformed.at_sender("INSERT INTO app_child (parent_id) VALUES (7)")
    transformed.complete()
    load = threading.Thread(target=transformed.load)
    with connect(transformed.receiver, application="transform") as transform:
        with transform.transaction():
            transform.execute("UPDATE public.app_parent SET transformed = true WHERE id = 7")
            load.start()
            load.join(timeout=1)
            assert load.is_alive()
        load.join(timeout=60)
    assert _waiting(transformed) == [7]


def test_key_to_the_parents_that_the_receiver_lacks_is_an_error_until_it_is_added(
    transformed: TwoSites,
) -> None:
    def found() -> list[str]:
        newest = verify_archive(transformed.complete(), signing_keys=())
        said = check_receiver(transformed.receiver, transformed.catalog, newest)
        return [str(one) for one in said if one.level is Level.ERROR]

    assert found() == []
    transformed.at_receiver(
        "ALTER TABLE app_child DROP CONSTRAINT app_child_parent_id_fkey;"
        " INSERT INTO app_child (id, parent_id) VALUES (999999, 123456)"
    )
    (error,) = found()
    assert "table app_child of `children` has no foreign key to app_parent" in error
    assert "as the sender has it: app_child (parent_id) -> app_parent (id);" in error
    # The remedy takes rows that violate it, which the load then replaces.
    transformed.at_receiver(
        "ALTER TABLE app_child ADD FOREIGN KEY (parent_id) REFERENCES app_parent NOT VALID"
    )
    assert found() == []
    transformed.at_sender("INSERT INTO app_child (parent_id) VALUES (7)")
    transformed.complete()
    transformed.load()
    assert _waiting(transformed) == [7]
    assert equal(transformed)


def test_children_of_parents_without_results_need_no_key_at_the_receiver(
    transformed: TwoSites,
) -> None:
    transformed.at_receiver("ALTER TABLE app_child DROP CONSTRAINT app_child_parent_id_fkey")
    rules = transformed.catalog.table["app_parent"].model_copy(
        update={"reset_on_change": {}, "clear_on_change": ()}
    )
    catalog = transformed.catalog.model_copy(
        update={"table": {**transformed.catalog.table, "app_parent": rules}}
    )
    said = check_receiver(transformed.receiver, catalog)
    assert [one for one in said if "`children`" in str(one)] == []


@pytest.mark.long
@pytest.mark.parametrize("own_type", [False, True])
def test_reset_row_has_the_senders_values_again(filled: TwoSites, *, own_type: bool) -> None:
    """The transform is not idempotent, and would be applied to its own result."""
    if own_type:
        for execute in (filled.at_sender, filled.at_receiver):
            execute("CREATE DOMAIN words AS text; ALTER TABLE app_parent ALTER label TYPE words")
    filled.at_sender(
        r"""UPDATE app_parent SET label = E'"a\\\'(,' WHERE id = 7""",
        "UPDATE app_parent SET label = NULL WHERE id = 8",
        "UPDATE app_parent SET label = '' WHERE id = 9",
    )
    filled.complete()
    filled.load()
    filled.at_receiver(
        "UPDATE app_parent SET label = concat(label, '!'), transformed = true",
        "INSERT INTO app_note (parent_id, maybe_id) VALUES (7, 3), (8, 3), (9, 3)",
    )
    filled.at_sender("DELETE FROM app_child WHERE id = 3")
    filled.complete()
    assert filled.load().refused == ()
    assert _waiting(filled) == [7, 8, 9]
    reset = "SELECT label FROM app_parent WHERE id BETWEEN 6 AND 9 ORDER BY id"
    assert rows(filled.receiver, reset) == [("label 6!",), ("\"a\\'(,",), (None,), ("",)]
    filled.complete()
    assert filled.load().net["app_parent"].changed == 0


def test_reset_leaves_values_to_which_own_rows_refer(transformed: TwoSites) -> None:
    transformed.at_receiver(
        "UPDATE app_parent SET label = upper(label)",
        "ALTER TABLE app_parent ADD UNIQUE (id, label)",
        "CREATE TABLE own (id integer, label text,"
        " FOREIGN KEY (id, label) REFERENCES app_parent (id, label) ON UPDATE CASCADE)",
        "INSERT INTO own VALUES (7, 'LABEL 7')",
    )
    transformed.at_sender("INSERT INTO app_child (parent_id) VALUES (7)")
    transformed.complete()
    assert transformed.load().refused == ()
    assert _waiting(transformed) == [7]
    assert rows(transformed.receiver, "SELECT label FROM own JOIN app_parent USING (id, label)")
