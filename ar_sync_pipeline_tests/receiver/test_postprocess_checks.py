"""The two checks after the transform: rows that wait too long, rows that were rejected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg
import pytest
import time_machine
from dagster._core.test_utils import create_run_for_test

from ar_sync_pipeline.operations.check_evaluation import NO_MAIL_BEFORE, unchanged_since
from ar_sync_pipeline.postgres.blocking_watch import end_when_blocking
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.receiver.postprocess_checks import check_results
from ar_sync_pipeline.receiver.postprocess_sensor import postprocess_sensor
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.receiver.sites import COMMAND, PostprocessedSites

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
REPORTS = """INSERT INTO "AndroidRequests_report"
  (id, "timeStamp", message, "reportInfo", "phoneId", transformed)
  SELECT n, '2020-01-01Z', '', '{text}', gen_random_uuid(), {mark}
  FROM generate_series({first}, {last}) n"""


class Looks:
    """Evaluates a receiver's checks at chosen minutes."""

    def __init__(self, sites: PostprocessedSites) -> None:
        self.sites = sites
        self.minute = 0
        sites.clock = lambda: START + timedelta(minutes=self.minute)
        sites.two.environ["AR_SYNC_TRANSFORM_MAX_AGE"] = "30"

    def reports(self, first: int, last: int, *, text: str = "{}", mark: str = "NULL") -> None:
        query = REPORTS.format(first=first, last=last, text=text, mark=mark)
        execute(self.sites.two.receiver, query)

    def waiting(self, minute: int) -> tuple[bool, object, object]:
        """Return whether the check passes, the waiting rows, and those that wait too long."""
        self.minute = minute
        result = check_results(self.sites.site())[0]
        counts = {name: value.value for name, value in result.metadata.items()}
        return result.passed, counts["rows_waiting"], counts["rows_waiting_too_long"]


@pytest.fixture
def looks(sites: PostprocessedSites) -> Looks:
    return Looks(sites)


def test_rows_untransformed_for_longer_than_the_setting_fail_the_check(looks: Looks) -> None:
    looks.reports(1, 3)
    assert looks.waiting(0) == (True, 3, 0)
    assert looks.waiting(29) == (True, 3, 0)
    assert looks.waiting(30) == (False, 3, 3)
    (result, _) = check_results(looks.sites.site())
    assert result.severity is dg.AssetCheckSeverity.ERROR
    assert result.description == (
        "3 rows have been untransformed for more than 30 minutes: AndroidRequests_report (3)."
    )


def test_age_counts_from_the_load_and_not_from_the_rows_own_time(looks: Looks) -> None:
    looks.waiting(0)
    looks.reports(1, 2)
    assert looks.waiting(35) == (True, 2, 0)
    looks.reports(3, 3)
    assert looks.waiting(66) == (False, 3, 2)


def test_false_and_null_wait_and_true_does_not(looks: Looks) -> None:
    looks.reports(1, 1, mark="false")
    looks.reports(2, 2, mark="true")
    looks.reports(3, 3)
    assert looks.waiting(0) == (True, 2, 0)


def test_a_row_that_is_transformed_or_loaded_again_starts_again(looks: Looks) -> None:
    looks.reports(1, 2)
    looks.waiting(0)
    execute(
        looks.sites.two.receiver,
        'UPDATE "AndroidRequests_report" SET transformed = true WHERE id = 1',
        'UPDATE "AndroidRequests_report" SET transformed = false WHERE id = 2',
    )
    assert looks.waiting(31) == (True, 1, 0)
    assert looks.waiting(62) == (False, 1, 1)


def test_another_session_that_never_ends_its_transaction_hides_nothing(looks: Looks) -> None:
    with psycopg.connect(looks.sites.two.receiver) as other:
        other.execute("SELECT pg_current_xact_id()")
        looks.reports(1, 3)
        looks.waiting(0)
        assert looks.waiting(31) == (False, 3, 3)


def test_what_was_not_yet_committed_at_a_look_is_not_as_old_as_it(looks: Looks) -> None:
    with psycopg.connect(looks.sites.two.receiver) as load:
        load.execute(REPORTS.format(first=1, last=2, text="{}", mark="NULL").encode())
        looks.waiting(0)
        load.commit()
    assert looks.waiting(31) == (True, 2, 0)


def test_looks_of_a_database_that_was_restored_since_say_nothing(looks: Looks) -> None:
    looks.waiting(0)
    execute(
        looks.sites.two.receiver,
        "UPDATE ar_sync.transform_mark SET snapshot = '8000000000:8000000000:'",
    )
    looks.reports(1, 1)
    assert looks.waiting(31) == (True, 1, 0)


@pytest.mark.long
def test_a_command_that_ends_well_but_leaves_rows_behind_is_found_out(looks: Looks) -> None:
    looks.sites.load_some_rows()
    for minute in (0, 31):
        looks.minute = minute
        done = looks.sites.command("pass")
        assert done.succeeded
    check = done.check("rows_transformed_in_time")
    assert not check.passed
    assert check.metadata["by_table"].value == {
        "AndroidRequests_busv2": 5,
        "AndroidRequests_report": 5,
    }
    assert looks.sites.command(COMMAND).check("rows_transformed_in_time").passed


def test_a_few_rows_that_the_database_refuses_are_a_warning_of_the_other_check(
    looks: Looks,
) -> None:
    """They wait for a proof that the cause is in them, at night perhaps for hours."""
    query = 'ALTER TABLE "AndroidRequests_reportinfo" ADD CHECK (id < 0) NOT VALID'
    execute(looks.sites.two.receiver, query)
    looks.reports(1, 4, text='{"bus": {"latitude": 1, "longitude": 2}}')
    assert looks.waiting(0) == (True, 4, 0)
    assert looks.sites.builtin().succeeded
    assert looks.waiting(31) == (True, 4, 0)
    assert not check_results(looks.sites.site())[1].passed
    looks.reports(5, 5)
    assert looks.waiting(32) == (True, 5, 0)
    assert looks.waiting(62) == (False, 5, 5)


def test_rejected_rows_are_a_warning_that_names_the_reason_and_a_row(looks: Looks) -> None:
    looks.reports(7, 8, text="not json")
    looks.reports(9, 9, text='{"bus": {"latitude": 1, "longitude": 2, "machineId": "x"}}')
    done = looks.sites.builtin()
    assert done.succeeded
    check = done.check("no_rows_rejected")
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.WARN
    assert check.description == (
        "2 results are missing, 1 detail is missing, most gravely: the text is not JSON"
        " (AndroidRequests_report, rows: 2, 7 for example)."
    )
    counts = (check.metadata["rejected_rows"].value, check.metadata["rejected_details"].value)
    assert counts == (2, 1)

    execute(looks.sites.two.receiver, 'DELETE FROM "AndroidRequests_report" WHERE id = 8')
    assert looks.sites.builtin().check("no_rows_rejected").metadata["rejected_rows"].value == 1


def test_missing_details_are_named_and_are_no_warning(looks: Looks) -> None:
    looks.reports(9, 9, text='{"bus": {"latitude": 1, "longitude": 2, "machineId": "x"}}')
    check = looks.sites.builtin().check("no_rows_rejected")
    assert check.passed
    assert check.description == (
        "No row lacks its result, 1 detail is missing, most gravely: the bus's machineId is not"
        " a uuid (AndroidRequests_report, rows: 1, 9 for example)."
    )


def test_an_entry_goes_with_its_row(looks: Looks) -> None:
    looks.reports(1, 1, text="not json")
    assert not looks.sites.builtin().check("no_rows_rejected").passed
    execute(looks.sites.two.receiver, 'DELETE FROM "AndroidRequests_report"')
    assert looks.sites.builtin().check("no_rows_rejected").passed


class TestSensor:
    """It finds rows that wait too long while nothing runs, and writes only changes."""

    def tick(self, looks: Looks, minute: int, cursor: str | None) -> dg.SensorResult | None:
        looks.minute = minute
        sensor = postprocess_sensor(looks.sites.site())
        with dg.build_sensor_context(self.instance, cursor=cursor) as context:
            answer = sensor(context)
        if not isinstance(answer, dg.SensorResult):
            self.skipped_at = context.cursor
            return None
        for event in answer.asset_events:
            self.instance.report_runless_asset_event(event)
        return answer

    def test_an_evaluation_is_written_when_a_check_changes_and_while_it_fails(
        self, looks: Looks
    ) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        looks.reports(1, 2)
        first = self.tick(looks, 0, None)
        assert first
        assert [event.passed for event in _evaluations(first)] == [True, True]
        assert self.tick(looks, 10, first.cursor) is None
        failed = self.tick(looks, 31, first.cursor)
        assert failed
        assert [event.passed for event in _evaluations(failed)] == [False]
        assert looks.sites.builtin().succeeded
        repaired = self.tick(looks, 41, failed.cursor)
        assert repaired
        assert [event.passed for event in _evaluations(repaired)] == [True]
        assert not repaired.run_requests

    def test_more_rows_are_the_same_finding_until_they_double(self, looks: Looks) -> None:
        with dg.DagsterInstance.ephemeral() as self.instance:
            cursor, since = None, []
            for minute, rows in ((0, (1, 2)), (10, (3, 3)), (20, (4, 4)), (31, (5, 5))):
                looks.reports(*rows)
                answer = self.tick(looks, minute, cursor)
                cursor = answer.cursor if answer else self.skipped_at
            for minute in (35, 41, 51):
                answer = self.tick(looks, minute, cursor)
                assert answer
                cursor = answer.cursor
                (failed,) = _evaluations(answer)
                since.append(
                    (failed.metadata["rows_waiting_too_long"].value, unchanged_since(failed))
                )
        assert [rows for rows, _ in since] == [2, 3, 4]
        assert since[0][1] == since[1][1] != since[2][1]

    @pytest.mark.parametrize(
        ("began", "mailed"),
        [(-5, False), (5, True), (None, True)],
        ids=["before", "after", "never"],
    )
    def test_rows_are_not_mailed_while_the_run_that_loaded_them_is_at_work(
        self, looks: Looks, began: int | None, mailed: bool
    ) -> None:
        """A transform of ten million rows takes longer than AR_SYNC_TRANSFORM_MAX_AGE."""
        looks.reports(1, 2)
        with dg.DagsterInstance.ephemeral() as self.instance:
            if began is not None:
                begin_run(self.instance, "partial_loaddata", START + timedelta(minutes=began))
            cursor = None
            for minute in (0, 10, 20, 31):
                answer = self.tick(looks, minute, cursor)
                cursor = answer.cursor if answer else self.skipped_at
        assert answer
        (failed,) = _evaluations(answer)
        assert not failed.passed
        due = datetime.fromtimestamp(float(str(failed.metadata[NO_MAIL_BEFORE].value)), UTC)
        assert (due <= looks.sites.clock()) is mailed

    @pytest.mark.long
    def test_a_tick_ends_no_first_load_and_says_nothing_while_that_locks_the_tables(
        self, looks: Looks
    ) -> None:
        """It holds the locks of the empty tables that it fills until its commit."""
        url = looks.sites.two.receiver
        with dg.DagsterInstance.ephemeral() as self.instance:
            begin_run(self.instance, "complete_loaddata", START)
            cursor = None
            with (
                end_when_blocking(url, 1.0, work="the load") as watch,
                connect(url, application="load") as load,
                watch.over(load),
                load.transaction(),
            ):
                load.execute('LOCK TABLE public."AndroidRequests_report"')
                for minute in (0, 5, 10, 15, 20):
                    assert self.tick(looks, minute, cursor) is None
                    cursor = self.skipped_at
                load.execute("SELECT 1")

    def test_tables_that_another_session_locks_for_long_fail_the_checks(self, looks: Looks) -> None:
        with (
            psycopg.connect(looks.sites.two.receiver) as other,
            dg.DagsterInstance.ephemeral() as self.instance,
        ):
            other.execute('LOCK TABLE "AndroidRequests_report"')
            assert self.tick(looks, 0, None) is None
            failed = self.tick(looks, 11, self.skipped_at)
        assert failed
        assert [event.passed for event in _evaluations(failed)] == [False, False]
        assert "another session locks AndroidRequests_report" in str(failed.asset_events[0])


def begin_run(instance: dg.DagsterInstance, job: str, at: datetime) -> None:
    """A run of a job starts at a time, and does not end."""
    with time_machine.travel(at, tick=False):
        run = create_run_for_test(instance, job_name=job, status=dg.DagsterRunStatus.STARTING)
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=job)
        instance.report_dagster_event(event, run.run_id)


def _evaluations(result: dg.SensorResult) -> list[dg.AssetCheckEvaluation]:
    events = result.asset_events
    return [event for event in events if isinstance(event, dg.AssetCheckEvaluation)]
