"""The key of a table changes: archives of both keys, of one side first, or of no key at all."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import StartSituation
from ar_sync_pipeline_tests.situations.running import run_sql
from ar_sync_pipeline_tests.situations.situation import Mode, Situation, complete, partial

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
