"""Parents whose triggers fire: the server's own actions are part of what the load does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

A = "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE);"
FIRES = {"t_a": {"triggers": "fire"}}
CHAIN = "UPDATE t_a SET u = 'c' WHERE id = 2; UPDATE t_a SET u = 'b' WHERE id = 1"
CYCLE = (
    "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 3;"
    "UPDATE t_a SET u = 'd' WHERE id = 2; UPDATE t_a SET u = 'c' WHERE id = 1"
)


def followers(
    own: str,
    action: str,
    *answers: tuple[str | None, str | None],
    rules: Mapping[str, Mapping[str, object]] = FIRES,
    late_waits_for: Sequence[str] = (),
) -> Situation:
    """Rows of the receiver that refer to values which are passed on from row to row."""
    notes = "SELECT u FROM own ORDER BY note"
    how = "" if rules else "_in_silence"
    chained, turned = zip(*answers, strict=True)
    return Situation(
        f"values_are_passed_on_under_{own[:2]}_{action.lower().replace(' ', '_')}{how}",
        A,
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'), (3, 'x')",
        receiver=f"CREATE TABLE own ({own}, note text, u text REFERENCES t_a (u)"
        f" ON UPDATE {action})",
        own="INSERT INTO own (note, u) VALUES ('on 1', 'a'), ('on 2', 'b'), ('on 3', 'x')",
        rules=rules,
        late_waits_for=late_waits_for,
        steps=(
            partial(CHAIN, finds=[ask(notes, *((value,) for value in chained))]),
            partial(CYCLE.replace("'a'", "'b'"), finds=[ask(notes, *((v,) for v in turned))]),
        ),
        modes=EVERY_MODE,
    )


FIRING = (
    followers("id serial PRIMARY KEY", "CASCADE", ("b", "c"), ("c", "d"), ("x", "b")),
    followers("id serial PRIMARY KEY", "CASCADE", ("b", "c"), ("c", "d"), ("x", "b"), rules={}),
    followers(
        "other int",
        "CASCADE",
        ("b", "c"),
        ("c", "d"),
        ("x", "b"),
        late_waits_for=["rows of own refer", "give own a primary key"],
    ),
    followers("id serial PRIMARY KEY", "SET NULL", (None, None), (None, None), ("x", None)),
    Situation(
        "orphans_on_purpose_when_the_deletion_of_their_parent_fires",
        A + "CREATE TABLE t_b (id int PRIMARY KEY, a int)",
        rows="INSERT INTO t_a VALUES (1, 'a'), (2, 'b'); INSERT INTO t_b VALUES (1, 1), (2, 2)",
        rules=FIRES,
        steps=(
            complete(
                "DELETE FROM t_a WHERE id = 1;"
                "ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a ON DELETE CASCADE NOT VALID",
                receiver="ALTER TABLE t_b ADD FOREIGN KEY (a) REFERENCES t_a ON DELETE CASCADE"
                " NOT VALID",
                waits_for=["t_b_a_fkey is NOT VALID"],
                then="ALTER TABLE t_b DROP CONSTRAINT t_b_a_fkey",
                deletes={"t_a": 1},
            ),
        ),
        modes=EVERY_MODE,
    ),
)


@pytest.mark.long
@cases(FIRING)
def test_what_the_server_does_itself_is_done_once(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
