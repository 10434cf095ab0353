"""The key of a table changes: archives of both keys, of one side first, or of no key at all."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation, StartSituation
from ar_sync_pipeline_tests.situations.running import run_sql
from ar_sync_pipeline_tests.situations.situation import (
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

ITEMS = (
    "CREATE TABLE t_item (code text PRIMARY KEY, name text);"
    "CREATE TABLE t_part (id int PRIMARY KEY, n int NOT NULL UNIQUE, name text)"
)
ROWS = (
    "INSERT INTO t_item SELECT 'c' || n, 'n' || n FROM generate_series(1, 6) n;"
    "INSERT INTO t_part SELECT n, 100 - n, 'n' || n FROM generate_series(1, 6) n"
)
UPDATES = (
    "UPDATE t_item SET name = 'new' WHERE code IN ('c2', 'c3');"
    "UPDATE t_part SET name = 'new' WHERE id IN (2, 3)"
)
KEYS = {
    "to_a_new_column": "ALTER TABLE t_item ADD COLUMN id bigserial, DROP CONSTRAINT t_item_pkey,"
    " ADD PRIMARY KEY (id), ADD UNIQUE (code)",
    "to_a_new_column_without_the_old_one": "ALTER TABLE t_item ADD COLUMN id bigserial,"
    " DROP CONSTRAINT t_item_pkey, ADD PRIMARY KEY (id), ADD UNIQUE (code);"
    "ALTER TABLE t_part DROP CONSTRAINT t_part_pkey, DROP CONSTRAINT t_part_n_key,"
    " ADD PRIMARY KEY (n), ADD UNIQUE (id)",
    "to_another_column": "ALTER TABLE t_part DROP CONSTRAINT t_part_pkey,"
    " DROP CONSTRAINT t_part_n_key, ADD PRIMARY KEY (n), ADD UNIQUE (id)",
}
LATER = (
    "UPDATE t_item SET name = 'newer' WHERE code IN ('c3', 'c4');"
    "DELETE FROM t_item WHERE code = 'c5'; INSERT INTO t_item (code, name) VALUES ('c9', 'nine');"
    "UPDATE t_part SET name = 'newer' WHERE id IN (3, 4)"
)


@pytest.mark.long
@pytest.mark.parametrize("late", ["a partial", "a complete"])
@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in KEYS.items()])
def test_archives_of_before_and_after_a_new_key_load_together(
    start_situation: StartSituation, change: str, late: str
) -> None:
    """The receiver is stopped for its migration while the sender continues."""
    running = start_situation(Situation("keys", ITEMS, rows=ROWS), Mode.SUPERUSER)
    running.begin()
    running.dump_after(complete(UPDATES) if late == "a complete" else partial(UPDATES))
    for side in (running.servers.sender, running.servers.receiver):
        run_sql(side, change)
    steps = (partial(LATER, keeps=True), partial("UPDATE t_part SET name = 'last' WHERE id = 6"))
    for step in steps:
        running.dump_after(step)
    running.load_together(steps)
    running.step(complete())


@pytest.mark.long
@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in KEYS.items()])
def test_a_late_archive_of_before_a_new_key_is_loaded_after_it(
    start_situation: StartSituation, change: str
) -> None:
    running = start_situation(Situation("keys", ITEMS, rows=ROWS), Mode.SUPERUSER)
    running.begin()
    late = running.dump_after(partial(UPDATES))
    withheld = late.rename(late.with_name(late.name + ".late"))
    for side in (running.servers.sender, running.servers.receiver):
        run_sql(side, change)
    running.dump_after(partial(LATER))
    running.sites.load()
    withheld.rename(late)
    running.load_together((partial(keeps=True),))
    running.step(complete())


NOTED = "CREATE TABLE t_noted (id int PRIMARY KEY, v int)"
NOTED_ROWS = "INSERT INTO t_noted SELECT n, n FROM generate_series(1, 4) n"
OWN = (
    "ALTER TABLE t_noted ADD note text DEFAULT 'none';"
    "CREATE TABLE own (a int NOT NULL REFERENCES t_noted ON DELETE CASCADE, about text);"
    "CREATE TABLE own_free (a int REFERENCES t_noted, about text)"
)
NOTES = (
    "UPDATE t_noted SET note = 'note ' || id; INSERT INTO own SELECT id, 'own' FROM t_noted;"
    "INSERT INTO own_free SELECT id, 'free' FROM t_noted"
)
KEPT = (
    ask("SELECT id, note FROM t_noted ORDER BY id", *((n, f"note {n}") for n in (1, 2, 3, 4))),
    ask("SELECT a FROM own ORDER BY a", (1,), (2,), (3,), (4,)),
    ask("SELECT a FROM own_free ORDER BY a", (1,), (2,), (3,), (4,)),
)
DROPPED = "ALTER TABLE t_noted DROP CONSTRAINT t_noted_pkey"

LOST_KEYS = (
    Situation(
        "the_sender_drops_its_key",
        NOTED,
        NOTED_ROWS,
        OWN,
        NOTES,
        (
            partial(f"{DROPPED};; UPDATE t_noted SET v = 5 WHERE id = 1", finds=KEPT),
            complete("UPDATE t_noted SET v = 6 WHERE id = 2", finds=KEPT),
            partial(
                "ALTER TABLE t_noted ADD PRIMARY KEY (id);; UPDATE t_noted SET v = 7 WHERE id = 3",
                finds=KEPT,
            ),
            partial("DELETE FROM t_noted WHERE id = 4", keeps=True, finds=KEPT),
        ),
    ),
    Situation(
        "rows_no_longer_fit_the_receivers_key",
        NOTED,
        NOTED_ROWS,
        "ALTER TABLE t_noted ADD note text DEFAULT 'none'",
        "",
        (
            partial(
                f"{DROPPED};; INSERT INTO t_noted VALUES (4, 5)",
                waits_for=("t_noted", "the key (id)"),
                then=DROPPED,
            ),
        ),
    ),
    Situation(
        "the_receivers_key_has_a_column_of_its_own",
        "CREATE TABLE t_noted (v int)",
        "INSERT INTO t_noted VALUES (1), (2), (2)",
        "ALTER TABLE t_noted ADD id serial PRIMARY KEY",
        "",
        (partial("INSERT INTO t_noted VALUES (2)"), complete("DELETE FROM t_noted WHERE v = 1")),
    ),
)


@pytest.mark.long
@cases(LOST_KEYS)
def test_rows_are_known_by_the_receivers_key_if_the_sender_has_none(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


WITH_UID = "CREATE TABLE t_uid (id int PRIMARY KEY, v int UNIQUE)"
UIDS = "UPDATE t_uid SET uid = md5(id::text)::uuid"
SENDER_FIRST = (
    f"ALTER TABLE t_uid ADD uid uuid;; {UIDS};;"
    "ALTER TABLE t_uid DROP CONSTRAINT t_uid_pkey, ADD PRIMARY KEY (uid)"
)
NULL_KEYS = (
    Situation(
        "receivers_key_has_nulls",
        WITH_UID,
        rows="INSERT INTO t_uid VALUES (1, 1), (2, 2)",
        steps=(
            partial(
                SENDER_FIRST,
                receiver="ALTER TABLE t_uid ADD uid uuid UNIQUE",
                waits_for=("NULL in uid", "fill uid with the sender's values", "set NOT NULL"),
                then=UIDS,
            ),
        ),
    ),
    Situation(
        "receivers_key_may_be_null_and_is_not",
        WITH_UID,
        rows="INSERT INTO t_uid VALUES (1, 1), (2, 2)",
        steps=(
            partial(
                SENDER_FIRST,
                receiver="ALTER TABLE t_uid ADD uid uuid",
                waits_for=("t_uid has no unique key (uid) without NULL in uid",),
                then=f"{UIDS};;ALTER TABLE t_uid ADD UNIQUE (uid)",
            ),
            partial("UPDATE t_uid SET v = 3 WHERE id = 1"),
        ),
    ),
    Situation(
        "row_with_a_null_key_that_is_in_the_way",
        "CREATE TABLE t_uid (uid int, v int UNIQUE)",
        rows="INSERT INTO t_uid VALUES (1, 1), (2, 2)",
        receiver="ALTER TABLE t_uid ADD UNIQUE (uid)",
        steps=(
            partial(
                "ALTER TABLE t_uid ADD PRIMARY KEY (uid);; INSERT INTO t_uid VALUES (3, 3)",
                receiver="INSERT INTO t_uid VALUES (NULL, 3)",
                waits_for=("t_uid", "NULL in uid", "delete these rows"),
                then="DELETE FROM t_uid WHERE uid IS NULL",
            ),
        ),
    ),
)


@pytest.mark.long
@cases(NULL_KEYS)
def test_rows_without_a_key_at_the_receiver_are_named(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
