"""Triggers, rules and functions at the receiver: nothing happens that the plan does not show.

A role that may not set session_replication_role cannot keep a trigger from firing; then the
archive waits and names the trigger, or the rows are the sender's all the same.
"""

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

PRIVILEGED = (Mode.SUPERUSER, Mode.REPLICA)
TABLE = "CREATE TABLE t_a (id int PRIMARY KEY, u text UNIQUE, updated timestamptz, n int);"
ROWS = "INSERT INTO t_a VALUES (1, 'a', '2026-01-01', 1), (2, 'b', '2026-01-02', 2)"
SWAP = (
    "UPDATE t_a SET u = 'z' WHERE id = 1; UPDATE t_a SET u = 'a' WHERE id = 2;"
    "UPDATE t_a SET u = 'b' WHERE id = 1;"
)


def function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {body} END$$;"


TOUCH = function("touch", "NEW.updated := now(); RETURN NEW;")
AUDIT = "CREATE TABLE audit (what text, id int);" + function(
    "audit", "INSERT INTO audit VALUES (TG_OP, coalesce(NEW.id, OLD.id)); RETURN NULL;"
)
NOTHING_AUDITED = ask("TABLE audit")


def trigger(when: str, name: str, *, each: str = "ROW", table: str = "t_a") -> str:
    return f"CREATE TRIGGER fires {when} ON {table} FOR EACH {each} EXECUTE FUNCTION {name}();"


NAMED: Sequence[str] = ("fires",)
BY_LEAST = {Mode.LEAST: NAMED}
BY_ALL = dict.fromkeys(EVERY_MODE, NAMED)


def meddling(name: str, code: str, may_wait: Mapping[Mode, Sequence[str]] = BY_LEAST) -> Situation:
    """Code at the receiver that would alter what is written."""
    return Situation(
        name,
        TABLE,
        receiver=code,
        rows=ROWS,
        first_may_wait=may_wait,
        steps=(
            partial(SWAP + "INSERT INTO t_a VALUES (3, 'c', '2026-01-03', 3)", may_wait=may_wait),
            complete(
                "DELETE FROM t_a WHERE id = 1; UPDATE t_a SET n = n + 1, updated = NULL",
                may_wait=may_wait,
            ),
        ),
        modes=EVERY_MODE if may_wait is BY_ALL else (Mode.SUPERUSER, Mode.LEAST),
    )


MEDDLERS = (
    meddling("S12_touch_before_update", TOUCH + trigger("BEFORE UPDATE", "touch")),
    meddling("touch_before_insert_or_update", TOUCH + trigger("BEFORE INSERT OR UPDATE", "touch")),
    meddling("touch_of_one_column", TOUCH + trigger("BEFORE UPDATE OF u", "touch")),
    meddling(
        "touch_when_something_differs",
        TOUCH
        + trigger("BEFORE UPDATE", "touch").replace(
            "EXECUTE", "WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE"
        ),
    ),
    meddling(
        "insert_that_is_swallowed",
        function("swallow", "RETURN NULL;") + trigger("BEFORE INSERT", "swallow"),
    ),
    meddling(
        "deletion_that_is_swallowed",
        function("swallow", "RETURN NULL;") + trigger("BEFORE DELETE", "swallow"),
    ),
    meddling(
        "deletion_that_is_refused",
        function("refuse", "RAISE EXCEPTION 'never by trigger fires';")
        + trigger("BEFORE DELETE", "refuse"),
    ),
    Situation(
        "deletion_that_a_trigger_refuses_without_its_name",
        TABLE,
        receiver=function("refuse", "RAISE EXCEPTION 'never';")
        + trigger("BEFORE DELETE", "refuse"),
        rows=ROWS,
        steps=(complete("DELETE FROM t_a WHERE id = 1", may_wait=BY_LEAST),),
        modes=(Mode.LEAST,),
    ),
    meddling(
        "statement_that_is_refused",
        function("refuse", "RAISE EXCEPTION 'not at night, says fires';")
        + trigger("BEFORE INSERT OR UPDATE OR DELETE", "refuse", each="STATEMENT"),
    ),
    meddling(
        "row_that_a_trigger_changes_afterwards",
        function("later", "UPDATE t_a SET n = 0 WHERE id = NEW.id AND n <> 0; RETURN NULL;")
        + trigger("AFTER INSERT OR UPDATE", "later"),
    ),
    meddling(
        "constraint_trigger_that_refuses_at_the_end",
        function("refuse", "RAISE EXCEPTION 'odd, says fires'; RETURN NULL;")
        + "CREATE CONSTRAINT TRIGGER fires AFTER INSERT OR UPDATE ON t_a DEFERRABLE"
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();",
    ),
    meddling(
        "trigger_that_fires_always",
        TOUCH + trigger("BEFORE UPDATE", "touch") + "ALTER TABLE t_a ENABLE ALWAYS TRIGGER fires",
        BY_ALL,
    ),
    meddling(
        "trigger_for_replicas_only",
        TOUCH + trigger("BEFORE UPDATE", "touch") + "ALTER TABLE t_a ENABLE REPLICA TRIGGER fires",
        BY_ALL,
    ),
    meddling(
        "rule_that_does_nothing_instead",
        "CREATE RULE fires AS ON UPDATE TO t_a DO INSTEAD NOTHING",
        BY_ALL,
    ),
    meddling(
        "rule_that_does_something_also",
        "CREATE TABLE audit (what text, id int);"
        "CREATE RULE fires AS ON INSERT TO t_a DO ALSO INSERT INTO audit"
        " VALUES ('INSERT', NEW.id)",
        BY_ALL,
    ),
    meddling(
        "rule_that_keeps_what_is_deleted",
        "CREATE RULE fires AS ON DELETE TO t_a DO INSTEAD UPDATE t_a SET n = -1 WHERE id = OLD.id",
        BY_ALL,
    ),
)


def audited(name: str, code: str) -> Situation:
    """Rows arrive whether or not the audit's table is found; with rights nothing is written."""
    return Situation(
        name,
        TABLE,
        receiver=code,
        rows=ROWS,
        first_may_wait=BY_LEAST,
        steps=(
            partial(SWAP, may_wait=BY_LEAST),
            complete("DELETE FROM t_a WHERE id = 1", may_wait=BY_LEAST),
            complete("INSERT INTO t_a VALUES (9, 'i')", may_wait=BY_LEAST),
        ),
        modes=EVERY_MODE,
    )


AUDITS = (
    audited(
        "S12_audit_into_an_unqualified_table",
        AUDIT + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit"),
    ),
    audited(
        "S12_touch_and_audit",
        AUDIT
        + TOUCH
        + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit")
        + "CREATE TRIGGER fires_too BEFORE UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION touch()",
    ),
    audited(
        "audit_of_statements",
        AUDIT
        + function("audit_all", "INSERT INTO audit SELECT TG_OP, count(*) FROM lines; RETURN NULL;")
        + "CREATE TRIGGER fires AFTER UPDATE ON t_a REFERENCING NEW TABLE AS lines"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_all()",
    ),
    audited(
        "audit_into_a_table_that_is_gone",
        AUDIT + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit") + "DROP TABLE audit",
    ),
)

QUIET = (
    Situation(
        "audit_stays_empty_where_triggers_can_be_switched_off",
        TABLE,
        receiver=AUDIT + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit"),
        rows=ROWS,
        steps=(
            partial(SWAP, finds=[NOTHING_AUDITED]),
            complete("DELETE FROM t_a WHERE id = 1", finds=[NOTHING_AUDITED]),
        ),
        modes=PRIVILEGED,
    ),
    Situation(
        "triggers_fire_again_for_people_after_the_load",
        TABLE,
        receiver=AUDIT + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit"),
        rows=ROWS,
        steps=(
            partial(SWAP),
            partial(
                receiver="UPDATE t_a SET n = n WHERE id = 1",
                finds=[
                    ask("TABLE audit", ("UPDATE", 1)),
                    ask("SELECT tgenabled FROM pg_trigger WHERE tgname = 'fires'", ("O",)),
                ],
            ),
        ),
        modes=PRIVILEGED,
    ),
    Situation(
        "sender_has_triggers_too",
        TABLE
        + AUDIT
        + TOUCH
        + trigger("AFTER INSERT OR UPDATE OR DELETE", "audit")
        + "CREATE TRIGGER fires_too BEFORE UPDATE ON t_a FOR EACH ROW EXECUTE FUNCTION touch()",
        rows=ROWS,
        steps=(complete(SWAP), complete("UPDATE t_a SET n = 7; DELETE FROM t_a WHERE id = 2")),
        modes=PRIVILEGED,
        # The audit is replicated: it is filled by rows, not by triggers.
        tables=("t_*", "audit"),
    ),
    Situation(
        "check_that_calls_a_function_with_names_that_nobody_qualified",
        "CREATE TABLE t_b (id int PRIMARY KEY, low int);"
        "CREATE FUNCTION lowest() RETURNS int LANGUAGE sql STABLE AS"
        " 'SELECT coalesce(min(low), 0) FROM t_b';"
        "CREATE FUNCTION fold(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN RETURN helper($1); END$$;"
        "CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';"
        "CREATE TABLE t_a (id int PRIMARY KEY, v int CHECK (v >= lowest()), u text,"
        " f text GENERATED ALWAYS AS (fold(u)) STORED);"
        "CREATE UNIQUE INDEX ON t_a (fold(u))",
        rows="INSERT INTO t_b VALUES (1, 5); INSERT INTO t_a VALUES (1, 7, 'A'), (2, 8, 'b')",
        steps=(
            partial(SWAP + "UPDATE t_a SET v = v + 1"),
            complete("UPDATE t_b SET low = 6; INSERT INTO t_a VALUES (3, 6, 'c')"),
            complete("DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (4, 9, 'B')"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "index_of_a_function_that_the_planner_inlines_and_that_names_another_without_its_schema",
        TABLE,
        rows=ROWS,
        receiver="CREATE FUNCTION helper(text) RETURNS text LANGUAGE sql IMMUTABLE AS"
        " 'SELECT lower($1)'; CREATE FUNCTION fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS"
        " 'SELECT helper($1)'; CREATE INDEX ON t_a (fold(u)); CREATE INDEX ON t_a (n)",
        steps=(
            partial(SWAP),
            complete("DELETE FROM t_a WHERE id = 1; INSERT INTO t_a VALUES (4, 'd')"),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "domain_and_default_that_call_functions",
        "CREATE FUNCTION good(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS"
        " $$BEGIN RETURN fine($1); END$$;"
        "CREATE FUNCTION fine(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';"
        "CREATE DOMAIN pos AS int CHECK (good(VALUE));"
        "CREATE SEQUENCE numbers;"
        "CREATE FUNCTION next_name() RETURNS text LANGUAGE sql AS"
        " $$SELECT 'n' || nextval('numbers')$$;"
        "CREATE TABLE t_a (id int PRIMARY KEY, v pos, name text DEFAULT next_name())",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2)",
        receiver="ALTER TABLE t_a ADD mine text DEFAULT next_name()",
        steps=(
            partial("INSERT INTO t_a VALUES (3, 3); UPDATE t_a SET v = 9 WHERE id = 1"),
            complete(
                "INSERT INTO t_a VALUES (4, 4); DELETE FROM t_a WHERE id = 2",
                finds=[ask("SELECT count(*) FROM t_a WHERE mine IS NULL", (0,))],
            ),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "application_role_with_a_search_path_of_its_own",
        "CREATE SCHEMA app; CREATE FUNCTION app.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS"
        " 'SELECT lower($1)'; CREATE TABLE app.t_a (id int PRIMARY KEY, u text);"
        "CREATE UNIQUE INDEX ON app.t_a (app.fold(u)); CREATE TABLE t_a (trap int)",
        rows="INSERT INTO app.t_a VALUES (1, 'A'), (2, 'b')",
        steps=(
            partial(SWAP.replace("t_a", "app.t_a")),
            complete("DELETE FROM app.t_a WHERE id = 1"),
        ),
        tables=("app.t_*",),
        modes=(Mode.SUPERUSER, Mode.LEAST),
    ),
    Situation(
        "views_and_materialized_views_look_at_the_tables",
        TABLE,
        rows=ROWS,
        receiver="CREATE VIEW own_v AS SELECT id, u FROM t_a; CREATE MATERIALIZED VIEW own_m AS"
        " SELECT * FROM own_v WITH DATA",
        steps=(
            partial(SWAP, finds=[ask("SELECT * FROM own_v ORDER BY id", (1, "b"), (2, "a"))]),
            complete("DELETE FROM t_a", finds=[ask("SELECT * FROM own_v")]),
        ),
    ),
    Situation(
        "receiver_only_tables_have_triggers_on_deletion",
        TABLE,
        rows=ROWS,
        receiver="CREATE TABLE own (id serial PRIMARY KEY, a int NOT NULL REFERENCES t_a"
        " ON DELETE CASCADE, note text);"
        + function("refuse", "RAISE EXCEPTION 'notes stay, says fires';")
        + trigger("BEFORE DELETE", "refuse", table="own"),
        own="INSERT INTO own (a, note) VALUES (1, 'on 1'), (2, 'on 2')",
        steps=(
            partial(
                SWAP, finds=[ask("SELECT a, note FROM own ORDER BY a", (1, "on 1"), (2, "on 2"))]
            ),
            complete("DELETE FROM t_a WHERE id = 1", may_wait=BY_ALL),
        ),
        modes=EVERY_MODE,
    ),
    Situation(
        "publication_of_the_receiver_without_a_replica_identity",
        "CREATE TABLE t_a (id int, v int)",
        rows="INSERT INTO t_a VALUES (1, 1), (2, 2)",
        receiver="CREATE PUBLICATION of_receiver FOR TABLE t_a",
        steps=(
            partial(
                "UPDATE t_a SET v = 3 WHERE id = 2",
                deletes={"t_a": 1},
                waits_for=["To enable deleting from the table, set REPLICA IDENTITY"],
                then="ALTER TABLE t_a REPLICA IDENTITY FULL",
            ),
        ),
    ),
)


@cases(MEDDLERS)
@pytest.mark.long
def test_code_at_the_receiver_alters_nothing_or_is_named(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@pytest.mark.long
@cases(AUDITS)
def test_audits_of_the_receiver_stop_no_load(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)


@cases(QUIET)
@pytest.mark.long
def test_functions_find_what_they_name_and_triggers_stay_quiet(
    run_situation: RunSituation, situation: Situation, mode: Mode
) -> None:
    run_situation(situation, mode)
