"""A parent row is replaced by another row with the same referenced value: its children stay."""

from __future__ import annotations

import pytest

from ar_sync_pipeline_tests.situations.fix_situations import RunSituation
from ar_sync_pipeline_tests.situations.situation import (
    EVERY_MODE,
    Mode,
    Situation,
    ask,
    cases,
    complete,
    partial,
)

KEYLESS = "CREATE TABLE t_a (code text UNIQUE, v int);"
WITH_ID = "CREATE TABLE t_a (id int PRIMARY KEY, code text UNIQUE);"
CHILD = "CREATE TABLE t_b (id int PRIMARY KEY, code text REFERENCES t_a (code) {});"
OWN = (
    "CREATE TABLE own_needs (code text NOT NULL REFERENCES t_a (code) {0}, note text);"
    "CREATE TABLE own_may (code text REFERENCES t_a (code) {0}, note text)"
)
WRITE_OWN = (
    "INSERT INTO own_needs VALUES ('x', 'needs x'); INSERT INTO own_may VALUES ('x', 'may x')"
)
OWN_STAYS = (
    ask("SELECT code, note FROM own_needs", ("x", "needs x")),
    ask("SELECT code, note FROM own_may", ("x", "may x")),
)
CHILDREN = "INSERT INTO t_b VALUES (1, 'x'), (2, 'x'), (3, 'y')"
# No order of statements avoids the server's own checks and actions.
NOT_WITHOUT_REPLICA_MODE = {Mode.LEAST: ["GRANT SET ON PARAMETER"]}
ACTIONS = (
    "",
    "ON DELETE CASCADE DEFERRABLE",
    "ON UPDATE CASCADE ON DELETE SET NULL",
)

REPLACED = (
    *(
        Situation(
            f"row_without_a_key_changes_and_is_a_parent_{action.lower().replace(' ', '_')}",
            KEYLESS + CHILD.format(action),
            rows="INSERT INTO t_a VALUES ('x', 1), ('y', 1);" + CHILDREN,
            receiver=OWN.format(action),
            own=WRITE_OWN,
            steps=(
                partial(
                    "UPDATE t_a SET v = 2 WHERE code = 'x'",
                    deletes={"t_a": 1},
                    may_wait=NOT_WITHOUT_REPLICA_MODE,
                    finds=OWN_STAYS,
                ),
                complete("UPDATE t_a SET v = 3", deletes={"t_a": 2}, finds=OWN_STAYS),
            ),
            modes=EVERY_MODE,
        )
        for action in ACTIONS
    ),
    *(
        Situation(
            f"row_with_another_key_takes_over_children_{action.lower().replace(' ', '_')}",
            WITH_ID + CHILD.format(action),
            rows="INSERT INTO t_a VALUES (1, 'x'), (2, 'y');" + CHILDREN,
            receiver=OWN.format(action),
            own=WRITE_OWN,
            steps=(
                partial(
                    "UPDATE t_a SET id = 101 WHERE id = 1",
                    deletes={"t_a": 1},
                    may_wait=NOT_WITHOUT_REPLICA_MODE,
                    finds=OWN_STAYS,
                ),
                complete("UPDATE t_a SET id = id + 1000", deletes={"t_a": 2}, finds=OWN_STAYS),
            ),
            modes=EVERY_MODE,
        )
        for action in ACTIONS
    ),
    *(
        Situation(
            f"written_child_with_an_own_reference_{action.lower().replace(' ', '_')}",
            WITH_ID + "CREATE TABLE t_b (id int PRIMARY KEY, v int);",
            rows="INSERT INTO t_a VALUES (1, 'x'), (2, 'y'); INSERT INTO t_b VALUES (1, 1), (2, 1)",
            receiver=f"ALTER TABLE t_b ADD own_code text REFERENCES t_a (code) {action}",
            own="UPDATE t_b SET own_code = 'x'",
            rules={"t_b": {"receiver_columns": ["own_code"]}},
            steps=(
                partial(
                    "UPDATE t_a SET id = 101 WHERE id = 1; UPDATE t_b SET v = 2",
                    deletes={"t_a": 1},
                    may_wait=NOT_WITHOUT_REPLICA_MODE,
                    finds=[ask("SELECT own_code, count(*) FROM t_b GROUP BY 1", ("x", 2))],
                ),
            ),
            modes=EVERY_MODE,
        )
        for action in (
            "ON UPDATE SET NULL",
            "ON UPDATE CASCADE ON DELETE SET NULL",
            "ON UPDATE CASCADE ON DELETE CASCADE",
        )
    ),
    Situation(
        "row_takes_over_the_code_of_a_deleted_one",
        WITH_ID + CHILD.format(""),
        rows="INSERT INTO t_a VALUES (1, 'x'), (2, 'y'), (3, 'z');" + CHILDREN,
        receiver=OWN.format(""),
        own=WRITE_OWN,
        steps=(
            partial(
                "UPDATE t_b SET code = NULL; DELETE FROM t_a WHERE id = 1;"
                "UPDATE t_a SET code = 'x' WHERE id = 2;"
                "UPDATE t_b SET code = 'x'",
                deletes={"t_a": 1},
                may_wait=NOT_WITHOUT_REPLICA_MODE,
                finds=OWN_STAYS,
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "replaced_parent_whose_code_changes_away",
        KEYLESS + CHILD.format("ON UPDATE CASCADE"),
        rows="INSERT INTO t_a VALUES ('x', 1), ('y', 1);" + CHILDREN,
        receiver="CREATE TABLE own (code text REFERENCES t_a (code), note text)",
        own="INSERT INTO own VALUES ('x', 'on x'), ('y', 'on y')",
        steps=(
            partial(
                "UPDATE t_a SET code = 'z' WHERE code = 'x'; UPDATE t_a SET v = 2 WHERE code = 'y'",
                deletes={"t_a": 2},
                finds=[ask("SELECT code, note FROM own ORDER BY 2", (None, "on x"), ("y", "on y"))],
            ),
        ),
    ),
)


@pytest.mark.long
@cases(REPLACED)
def test_children_keep_a_parent_with_the_same_value(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
