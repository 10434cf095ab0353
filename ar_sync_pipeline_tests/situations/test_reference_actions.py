"""References under every action while values move: no action fires that nobody asked for."""

from __future__ import annotations

from itertools import product

import pytest

from ar_sync_pipeline_tests.situations.exchanged_values import HAS_MANY, THREE, WRITE_NOTES, swap
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

ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION")
TIMES = ("", "DEFERRABLE INITIALLY DEFERRED")
ALL_ACTIONS = tuple(
    f"ON DELETE {delete} ON UPDATE {update} {time}"
    for delete, update, time in product(ACTIONS, ACTIONS, TIMES)
)
TWO = (Mode.SUPERUSER, Mode.LEAST)


def of_every_action(prefix: str) -> str:
    """A table for each combination of actions, numbered from 1."""
    return "".join(
        f"CREATE TABLE {prefix}{number} (id int PRIMARY KEY,"
        f" a int DEFAULT 3 REFERENCES t_a {actions});"
        for number, actions in enumerate(ALL_ACTIONS, 1)
    )


def in_each(prefix: str, statement: str) -> str:
    return "".join(
        statement.format(table=f"{prefix}{number}") + ";"
        for number in range(1, len(ALL_ACTIONS) + 1)
    )


EVERY_NOTE = [
    ask(f"SELECT id, a FROM own{number} ORDER BY id", (1, 1), (2, 2))
    for number in range(1, len(ALL_ACTIONS) + 1)
]

BY_ACTION = (
    Situation(
        "S1_S2_own_rows_under_every_action",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)",
        rows=THREE,
        receiver=of_every_action("own"),
        own=in_each("own", "INSERT INTO {table} VALUES (1, 1), (2, 2)"),
        steps=(
            partial(swap("u"), finds=EVERY_NOTE),
            complete(swap("u", "b", "a"), deletes={}, finds=EVERY_NOTE),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "S1_S2_shared_rows_under_every_action",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);" + of_every_action("t_b"),
        rows=THREE + in_each("t_b", "INSERT INTO {table} VALUES (1, 1), (2, 2), (3, 3)"),
        steps=(
            partial(swap("u")),
            # A row goes, whatever the action makes of its children at the sender: nothing here.
            complete(
                in_each(
                    "t_b", "DELETE FROM {table} WHERE id = 2; UPDATE {table} SET a = 1 WHERE id = 3"
                )
                + "DELETE FROM t_a WHERE id = 2"
            ),
        ),
        modes=TWO,
    ),
    *(
        Situation(
            f"delete_{action.lower().replace(' ', '_')}_at_the_sender",
            "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
            f"CREATE TABLE t_b (id int PRIMARY KEY, a int DEFAULT 3 REFERENCES t_a"
            f" ON DELETE {action});"
            "CREATE TABLE t_c (id int PRIMARY KEY, b int REFERENCES t_b ON DELETE CASCADE)",
            rows=THREE + "INSERT INTO t_b VALUES (1, 1), (2, 2), (3, 3);"
            "INSERT INTO t_c SELECT id, id FROM t_b",
            receiver=HAS_MANY,
            own=WRITE_NOTES,
            steps=(
                # What the action changed is brought by the partial, what it deleted is not.
                partial(
                    "DELETE FROM t_a WHERE id = 2; UPDATE t_a SET u = 'b' WHERE id = 1",
                    deletes={"t_a": 1, "t_b": 1, "t_c": 1} if action == "CASCADE" else {"t_a": 1},
                    finds=[ask("SELECT a FROM own WHERE a IS NOT NULL", (1,))],
                ),
                complete(
                    "DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (1, 'b')",
                    finds=[ask("SELECT a FROM own WHERE a IS NOT NULL", (1,))],
                ),
            ),
            modes=TWO if action == "CASCADE" else (Mode.SUPERUSER,),
        )
        for action in ("CASCADE", "SET NULL", "SET DEFAULT")
    ),
)

OWN_MAY_BE_NAMED = dict.fromkeys(EVERY_MODE, ("own",))

BY_UNIQUE_KEY = (
    *(
        Situation(
            f"S3_own_rows_refer_to_the_value_on_update_{action.lower().replace(' ', '_')}",
            "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
            "CREATE TABLE t_b (id int PRIMARY KEY, a int REFERENCES t_a)",
            rows=THREE + "INSERT INTO t_b VALUES (1, 1), (2, 2)",
            receiver="CREATE TABLE own (u text DEFAULT 'c' REFERENCES t_a (u)"
            f" ON UPDATE {action}, note text)",
            own="INSERT INTO own VALUES ('a', 'on 1'), ('b', 'on 2')",
            steps=(
                partial(
                    swap("u"),
                    may_wait=OWN_MAY_BE_NAMED,
                    finds=[
                        ask("SELECT note FROM own ORDER BY note", ("on 1",), ("on 2",)),
                        ask(
                            "SELECT count(*) FROM own LEFT JOIN t_a USING (u)"
                            " WHERE own.u IS NOT NULL AND t_a.id IS NULL",
                            (0,),
                        ),
                    ],
                ),
            ),
            modes=TWO,
        )
        for action in ACTIONS
    ),
    Situation(
        "own_rows_refer_to_a_value_that_is_renamed",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE)",
        rows=THREE,
        receiver="CREATE TABLE own (u text REFERENCES t_a (u) ON UPDATE CASCADE"
        " ON DELETE CASCADE, note text)",
        own="INSERT INTO own VALUES ('a', 'on 1'), ('b', 'on 2')",
        steps=(
            partial(
                "UPDATE t_a SET u = 'new' WHERE id = 1",
                may_wait=OWN_MAY_BE_NAMED,
                finds=[ask("SELECT note FROM own ORDER BY note", ("on 1",), ("on 2",))],
            ),
            partial(
                "UPDATE t_a SET u = 'c2' WHERE id = 3",
                finds=[ask("SELECT note FROM own ORDER BY note", ("on 1",), ("on 2",))],
            ),
        ),
        modes=TWO,
    ),
    Situation(
        "children_refer_to_a_value_that_cascades",
        "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE);"
        "CREATE TABLE t_b (id int PRIMARY KEY, u text NOT NULL REFERENCES t_a (u)"
        " ON UPDATE CASCADE ON DELETE CASCADE)",
        rows=THREE + "INSERT INTO t_b VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        receiver="CREATE TABLE own (b int REFERENCES t_b ON DELETE CASCADE, note text)",
        own="INSERT INTO own VALUES (1, 'on 1'), (2, 'on 2')",
        steps=(
            partial(
                swap("u"),
                finds=[ask("SELECT b, note FROM own ORDER BY 1", (1, "on 1"), (2, "on 2"))],
            ),
            # The child is not among the changed rows' own changes: it changed by the cascade.
            partial("UPDATE t_a SET u = 'd' WHERE id = 3"),
            partial(
                "UPDATE t_a SET u = 'x' WHERE id = 1; UPDATE t_b SET u = 'd' WHERE id = 1;"
                "UPDATE t_a SET u = 'b' WHERE id = 1"
            ),
            complete("UPDATE t_a SET u = 'y' || u; DELETE FROM t_a WHERE id = 2"),
        ),
        modes=TWO,
    ),
    *(
        Situation(
            f"children_follow_a_swapped_value_{number}_{update.lower().replace(' ', '_')}",
            "CREATE TABLE t_a (id int PRIMARY KEY, u text NOT NULL UNIQUE);"
            "CREATE TABLE t_b (id int PRIMARY KEY, u text DEFAULT 'c' REFERENCES t_a (u)"
            f" ON UPDATE {update} {time})",
            rows=THREE + "INSERT INTO t_b VALUES (1, 'a'), (2, 'b'), (3, 'c')",
            steps=(
                # At the sender children step back, and some come to the other value.
                partial(
                    "UPDATE t_b SET u = 'c';" + swap("u") + "UPDATE t_b SET u = 'b'"
                    " WHERE id = 1; UPDATE t_b SET u = 'b' WHERE id = 2",
                    may_wait={Mode.LEAST: ["t_b_u_fkey"]},
                ),
                complete(
                    "UPDATE t_b SET u = 'c';" + swap("u", "b", "a") + "UPDATE t_b SET u ="
                    " 'a' WHERE id < 3"
                ),
            ),
            modes=TWO,
        )
        for number, (update, time) in enumerate(
            [
                ("NO ACTION", ""),
                ("NO ACTION", "DEFERRABLE"),
                ("SET NULL", ""),
                ("CASCADE", "DEFERRABLE INITIALLY DEFERRED"),
                ("RESTRICT", ""),
            ]
        )
    ),
    Situation(
        "composite_reference_match_full",
        "CREATE TABLE t_a (id int PRIMARY KEY, x int NOT NULL, y int NOT NULL, UNIQUE (x, y));"
        "CREATE TABLE t_b (id int PRIMARY KEY, x int, y int, FOREIGN KEY (x, y)"
        " REFERENCES t_a (x, y) MATCH FULL ON UPDATE CASCADE ON DELETE SET NULL)",
        rows="INSERT INTO t_a VALUES (1, 1, 1), (2, 1, 2), (3, 2, 1);"
        "INSERT INTO t_b VALUES (1, 1, 1), (2, 1, 2), (3, NULL, NULL)",
        steps=(
            partial(
                "UPDATE t_a SET x = 9 WHERE id = 1; UPDATE t_a SET y = 1 WHERE id = 2;"
                "UPDATE t_a SET x = 1, y = 2 WHERE id = 1"
            ),
            partial("UPDATE t_b SET x = 2, y = 1 WHERE id = 3; UPDATE t_a SET y = 7 WHERE id = 3"),
            complete("DELETE FROM t_a WHERE id = 3; UPDATE t_a SET x = x + 1"),
        ),
        modes=TWO,
    ),
    Situation(
        "composite_reference_match_simple_with_column_list",
        "CREATE TABLE t_a (tenant int, id int, u text, PRIMARY KEY (tenant, id),"
        " UNIQUE (tenant, u));"
        "CREATE TABLE t_b (tenant int, id int, a int, PRIMARY KEY (tenant, id),"
        " FOREIGN KEY (tenant, a) REFERENCES t_a ON DELETE SET NULL (a))",
        rows="INSERT INTO t_a SELECT t, n, 'v' || n FROM generate_series(1, 2) t,"
        " generate_series(1, 4) n; INSERT INTO t_b SELECT tenant, id, id FROM t_a;"
        "INSERT INTO t_b VALUES (3, 1, NULL)",
        receiver="CREATE TABLE own (tenant int, a int, note text, FOREIGN KEY (tenant, a)"
        " REFERENCES t_a ON DELETE CASCADE)",
        own="INSERT INTO own SELECT tenant, id, u FROM t_a",
        steps=(
            partial(
                "UPDATE t_a SET u = 'x' || u WHERE tenant = 1; UPDATE t_a SET u = 'v' || 5 - id"
                " WHERE tenant = 1",
                finds=[ask("SELECT count(*) FROM own", (8,))],
            ),
            partial(
                "DELETE FROM t_a WHERE (tenant, id) = (2, 4); UPDATE t_a SET u = 'v4'"
                " WHERE (tenant, id) = (2, 1)",
                deletes={"t_a": 1},
            ),
            complete("DELETE FROM t_a WHERE id = 3"),
        ),
        modes=TWO,
    ),
)


@pytest.mark.long
@cases(BY_ACTION)
def test_no_action_fires_when_values_move(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(BY_UNIQUE_KEY)
def test_references_to_a_unique_value_follow_it(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
