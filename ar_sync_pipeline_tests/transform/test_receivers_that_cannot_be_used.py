"""A database that the rules cannot use: one sentence says why."""

from __future__ import annotations

import psycopg
import pytest
import shapely

from ar_sync_pipeline.postgres.errors import (
    DatabaseRefusedError,
    DatabaseUnreachableError,
)
from ar_sync_pipeline.transform.errors import (
    TransformInterruptedError,
    TransformNotAllowedError,
    TransformRefusedError,
    TransformTablesMissingError,
)
from ar_sync_pipeline.transform.rejected_rows import Severity
from ar_sync_pipeline.transform.transapp.run import run_transapp
from ar_sync_pipeline_tests.transform.receiver import NOW, Receiver


def _break_trigger(receiver: Receiver) -> None:
    receiver.connection.execute(
        """CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM gone FROM nowhere; RETURN NEW; END $$;
        CREATE TRIGGER broken BEFORE UPDATE ON "AndroidRequests_eventforbusv2"
        FOR EACH ROW EXECUTE FUNCTION broken()"""
    )


def test_a_statement_that_the_database_cannot_run_is_one_sentence(receiver: Receiver) -> None:
    receiver.bus_event()
    _break_trigger(receiver)
    with pytest.raises(TransformRefusedError, match=r"SQLSTATE 42P01.*check the triggers"):
        receiver.transform()


def test_a_database_without_transapp_is_one_clear_sentence(empty_database: str) -> None:
    receiver = Receiver(empty_database)
    with pytest.raises(TransformTablesMissingError, match="lacks AndroidRequests_busstop, "):
        receiver.transform()
    receiver.close()


def test_tables_of_the_catalogs_schema_are_used_whatever_the_search_path(
    receiver: Receiver,
) -> None:
    receiver.zone(1, shapely.box(0, 0, 1, 1))
    event = receiver.located_bus_event((0.5, 0.5))
    receiver.connection.execute("ALTER SCHEMA public RENAME TO viz; CREATE SCHEMA public")
    with pytest.raises(TransformTablesMissingError):
        receiver.transform()
    run_transapp(receiver.url, clock=lambda: NOW, schema="viz")
    receiver.connection.execute("DROP SCHEMA public; ALTER SCHEMA viz RENAME TO public")
    assert receiver.row("eventforbusv2", event)["zonification_id"] == 1


def test_a_missing_receiver_column_is_named(receiver: Receiver) -> None:
    receiver.connection.execute('ALTER TABLE "AndroidRequests_report" DROP COLUMN transformed')
    with pytest.raises(
        TransformTablesMissingError, match=r"lacks AndroidRequests_report\.transformed:"
    ):
        receiver.transform()


def test_an_unreachable_server_is_tried_again() -> None:
    with pytest.raises(DatabaseUnreachableError):
        Receiver.run_on("postgresql://nobody@127.0.0.1:1/none")


def test_a_login_that_the_server_refuses_is_not_tried_again(receiver: Receiver) -> None:
    with pytest.raises(DatabaseRefusedError, match="check the role, password"):
        Receiver.run_on(f"{receiver.url}?user=of_nobody")


def test_rows_that_another_session_locks_for_too_long_are_tried_again(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = "ar_sync_pipeline.transform.transapp.run._SESSION"
    monkeypatch.setattr(session, {"lock_timeout": "100ms"})
    event = receiver.bus_event()
    with psycopg.connect(receiver.url) as other:
        other.execute('LOCK TABLE "AndroidRequests_eventforbusv2"')
        with pytest.raises(TransformInterruptedError, match=r"lock timeout.*tried again"):
            receiver.transform()
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 1}
    assert receiver.row("eventforbusv2", event)["transformed"]


def test_a_policy_that_hides_rows_is_named_with_the_right_that_helps(receiver: Receiver) -> None:
    receiver.connection.execute(
        """DROP ROLE IF EXISTS transform_reader; CREATE ROLE transform_reader LOGIN;
        CREATE SCHEMA ar_sync AUTHORIZATION transform_reader;
        GRANT ALL ON ALL TABLES IN SCHEMA public TO transform_reader;
        ALTER TABLE "AndroidRequests_eventforbusv2" ENABLE ROW LEVEL SECURITY"""
    )
    try:
        with pytest.raises(DatabaseRefusedError, match="BYPASSRLS"):
            Receiver.run_on(f"{receiver.url}?user=transform_reader")
    finally:
        receiver.connection.execute("DROP OWNED BY transform_reader; DROP ROLE transform_reader")


def test_an_error_names_what_a_role_lacks(receiver: Receiver) -> None:
    receiver.connection.execute(
        """DROP ROLE IF EXISTS transform_reader; CREATE ROLE transform_reader LOGIN;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO transform_reader"""
    )
    try:
        with pytest.raises(TransformNotAllowedError, match="ar_sync"):
            Receiver.run_on(f"{receiver.url}?user=transform_reader")
    finally:
        receiver.connection.execute("DROP OWNED BY transform_reader; DROP ROLE transform_reader")


def test_a_role_that_is_no_superuser_and_owns_nothing_can_run_it(receiver: Receiver) -> None:
    receiver.bus_event()
    receiver.report("{}")
    receiver.connection.execute(
        """DROP ROLE IF EXISTS transform_writer; CREATE ROLE transform_writer LOGIN;
        CREATE SCHEMA ar_sync AUTHORIZATION transform_writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO transform_writer;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO transform_writer"""
    )
    try:
        report = Receiver.run_on(f"{receiver.url}?user=transform_writer")
        assert report.handled["AndroidRequests_eventforbusv2"] == 1
        assert not any(severity is Severity.ERROR for _, severity, _ in report.rejected)
    finally:
        receiver.connection.execute(
            "DROP OWNED BY transform_writer CASCADE; DROP ROLE transform_writer"
        )
