"""Batches: all or nothing for a row, no bad row in the way of others, nothing done twice."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from itertools import count
from uuid import UUID

import psycopg
import pytest
import shapely
from psycopg.rows import DictRow

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import (
    DatabaseFailedError,
    DatabaseRefusedError,
    DatabaseUnreachableError,
)
from ar_sync_pipeline.transform import transform_lock
from ar_sync_pipeline.transform.errors import (
    TransformInterruptedError,
    TransformNotAllowedError,
    TransformRefusedError,
    TransformRunningError,
    TransformTablesMissingError,
    TransformTooSlowError,
)
from ar_sync_pipeline.transform.rejected_rows import Severity, prepare_rejected_rows
from ar_sync_pipeline.transform.transapp import batches, run, zones
from ar_sync_pipeline.transform.transapp.batches import Progress, run_stage
from ar_sync_pipeline.transform.transapp.plates import bus_stage
from ar_sync_pipeline.transform.transapp.run import run_transapp
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOON, NOW, Receiver

TABLES = ("busv2", "busstop", "eventforbusv2", "eventforbusstop", "report")

_BUS_REPORT = '{"bus": {"latitude": -33.45, "longitude": -70.65, "licensePlate": "AA1111"}}'
_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF {condition} THEN RAISE EXCEPTION 'not this one'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON "AndroidRequests_eventforbusv2"
FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def _refuse_where(connection: psycopg.Connection[DictRow], condition: str) -> None:
    connection.execute(_REFUSE.format(condition=condition).encode())


def _break_trigger(receiver: Receiver) -> None:
    receiver.connection.execute(
        """CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM gone FROM nowhere; RETURN NEW; END $$;
        CREATE TRIGGER broken BEFORE UPDATE ON "AndroidRequests_eventforbusv2"
        FOR EACH ROW EXECUTE FUNCTION broken()"""
    )


def test_a_row_that_the_database_refuses_is_rejected_and_all_others_are_done(
    receiver: Receiver,
) -> None:
    events = [receiver.bus_event() for _ in range(9)]
    bad = events[4]
    _refuse_where(receiver.connection, f'NEW."timePeriod_id" IS NOT NULL AND NEW.id = {bad}')
    report = receiver.transform()
    done = [row["id"] for row in receiver.rows("eventforbusv2") if row["timePeriod_id"]]
    assert done == [key for key in events if key != bad]
    assert receiver.row("eventforbusv2", bad)["transformed"]
    assert [row["primary_key"] for row in receiver.rejected()] == [str(bad)]
    assert list(report.rejected.values()) == [1]


def test_a_row_that_cannot_even_be_marked_stays_and_is_counted_each_time(
    receiver: Receiver,
) -> None:
    bad, good = receiver.bus_event(), receiver.bus_event()
    _refuse_where(receiver.connection, f"NEW.id = {bad}")
    receiver.transform()
    receiver.transform(now=NOW + timedelta(hours=1))
    assert receiver.row("eventforbusv2", good)["transformed"]
    assert not receiver.row("eventforbusv2", bad)["transformed"]
    (rejected,) = receiver.rejected()
    assert rejected["times"] == 2
    assert rejected["first_seen"] == NOW
    assert rejected["last_seen"] == NOW + timedelta(hours=1)


def _stage_that_fails_on(bad: AbstractSet[int]) -> Stage:
    """The stage of buses, whose rules do not foresee the values of some rows."""
    buses = bus_stage()

    def handle(connection: Connection, ids: list[int], timer: StepTimer) -> BatchOutcome:
        outcome = buses.handle(connection, ids, timer)
        if not bad.isdisjoint(ids):
            raise ValueError("could not convert string to float: '-33.45, at home'")
        return outcome

    return replace(buses, handle=handle)


def _run_stage(receiver: Receiver, stage: Stage) -> Progress:
    progress = Progress(lambda: NOW, StepTimer(time.perf_counter))
    with psycopg.connect(receiver.url, autocommit=True) as connection:
        prepare_rejected_rows(connection)
        run_stage(connection, stage, progress, 1000)
    return progress


def test_a_row_on_which_the_rules_fail_is_rejected_and_all_others_are_done(
    receiver: Receiver,
) -> None:
    buses = [receiver.bus("bcdf12") for _ in range(9)]
    progress = _run_stage(receiver, _stage_that_fails_on({buses[4]}))
    plates = [row["registrationPlate"] for row in receiver.rows("busv2")]
    assert plates == [*["BC DF 12"] * 4, "bcdf12", *["BC DF 12"] * 4]
    assert all(row["transformed"] for row in receiver.rows("busv2"))
    (rejected,) = receiver.rejected()
    assert rejected["primary_key"] == str(buses[4])
    assert rejected["reason"] == "the rules failed on this row (ValueError)"
    assert sum(progress.handled.values()) == len(buses)


def test_rules_that_fail_on_every_row_are_an_error_that_names_the_rules(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_REFUSED_ROWS", 3)
    buses = {receiver.bus() for _ in range(9)}
    with pytest.raises(TransformRefusedError, match=r"rules of the transform failed .* ValueError"):
        _run_stage(receiver, _stage_that_fails_on(buses))


def test_rows_stay_untransformed_while_no_row_of_their_table_gets_results(
    receiver: Receiver,
) -> None:
    """One bad row waits until another one proves that the cause is in the row."""
    bad, bus = receiver.bus_event(), receiver.bus()
    _refuse_where(receiver.connection, f'NEW."timePeriod_id" IS NOT NULL AND NEW.id = {bad}')
    receiver.transform()
    assert not receiver.row("eventforbusv2", bad)["transformed"]
    assert receiver.row("busv2", bus)["transformed"]
    assert [row["primary_key"] for row in receiver.rejected()] == [str(bad)]
    good = receiver.bus_event()
    receiver.transform()
    assert receiver.row("eventforbusv2", bad)["transformed"]
    assert receiver.row("eventforbusv2", good)["timePeriod_id"]
    assert [row["primary_key"] for row in receiver.rejected()] == [str(bad)]


def test_a_cause_outside_the_rows_marks_none_of_them_and_is_an_error(receiver: Receiver) -> None:
    """The other tables get their results, and the next run handles the rows."""
    events = [receiver.bus_event() for _ in range(5)]
    report = receiver.report("{}")
    _refuse_where(receiver.connection, 'NEW."timePeriod_id" IS NOT NULL')
    with pytest.raises(TransformRefusedError, match=r"^5 rows of \S+_eventforbusv2 are refused"):
        receiver.transform()
    assert not any(row["transformed"] for row in receiver.rows("eventforbusv2"))
    assert receiver.row("report", report)["transformed"]
    assert len(receiver.rejected()) >= len(events)
    receiver.connection.execute('DROP TRIGGER refuse ON "AndroidRequests_eventforbusv2"')
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 5}


def test_good_rows_after_many_bad_ones_prove_that_the_cause_is_in_the_rows(
    receiver: Receiver,
) -> None:
    bad = [receiver.bus_event() for _ in range(6)]
    good = receiver.bus_event()
    _refuse_where(receiver.connection, f'NEW."timePeriod_id" IS NOT NULL AND NEW.id <> {good}')
    receiver.transform(batch_rows=2)
    assert all(row["transformed"] for row in receiver.rows("eventforbusv2"))
    assert [row["primary_key"] for row in receiver.rejected()] == sorted(map(str, bad))


def test_a_row_without_results_gives_up_what_has_been_recorded_for_a_day(
    receiver: Receiver,
) -> None:
    """A bus whose plate is formatted already needs no change, and is handled."""
    bad = [receiver.bus("bcdf12") for _ in range(4)]
    receiver.connection.execute(
        """ALTER TABLE "AndroidRequests_busv2" ADD CHECK ("registrationPlate" <> 'BC DF 12')"""
    )
    for hours in (0, 23, 24):
        assert [receiver.row("busv2", bus)["transformed"] for bus in bad] == [None] * 4
        receiver.bus("AA BB 11")
        receiver.transform(now=NOW + timedelta(hours=hours))
    assert all(row["transformed"] for row in receiver.rows("busv2"))
    assert [row["primary_key"] for row in receiver.rejected()] == sorted(map(str, bad))


def test_rows_without_results_leave_a_new_cause_a_day_as_an_error(receiver: Receiver) -> None:
    """They run no statement that the cause refuses."""
    receiver.connection.execute('DELETE FROM "AndroidRequests_timeperiod"')
    receiver.insert(
        "timeperiod", id=1, name="noon", day_type="Laboral", initial_time="12:00",
        end_time="12:59",
    )  # fmt: skip
    events = [receiver.bus_event() for _ in range(5)]
    empty = receiver.bus_event(NOON + timedelta(hours=6))
    _refuse_where(receiver.connection, 'NEW."timePeriod_id" IS NOT NULL')
    with pytest.raises(TransformRefusedError, match=r"^5 rows of \S+_eventforbusv2 are refused"):
        receiver.transform()
    assert receiver.row("eventforbusv2", empty)["transformed"]
    assert not any(receiver.row("eventforbusv2", key)["transformed"] for key in events)
    receiver.connection.execute('DROP TRIGGER refuse ON "AndroidRequests_eventforbusv2"')
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 5}


def test_reports_keep_their_results_of_before_while_a_new_cause_refuses_the_new_ones(
    receiver: Receiver,
) -> None:
    reports = [receiver.report(_BUS_REPORT) for _ in range(5)]
    receiver.transform()
    receiver.connection.execute(
        'ALTER TABLE "AndroidRequests_reportinfo" ADD CHECK (id < 0) NOT VALID'
    )
    receiver.reset("report")
    receiver.report("not json")
    with pytest.raises(TransformRefusedError, match=r"^5 rows of \S+_report are refused"):
        receiver.transform()
    assert [row["report_id"] for row in receiver.rows("reportinfo")] == reports
    assert not any(receiver.row("report", key)["transformed"] for key in reports)


def test_stops_that_were_given_up_are_not_tried_again_until_they_change(
    receiver: Receiver,
) -> None:
    gtfs = receiver.gtfs()
    good = receiver.stop("PA0", CENTRE, gtfs)
    bad = [receiver.stop(f"PB{n}", CENTRE, gtfs) for n in range(6)]
    receiver.connection.execute(
        f"""ALTER TABLE "AndroidRequests_busstop" ADD CONSTRAINT refusing
        CHECK (point IS NULL OR id = {good} OR name = 'right') NOT VALID"""
    )
    after = receiver.stop("PC0", CENTRE, gtfs, name="right")
    receiver.transform()
    assert all(row["transformed"] for row in receiver.rows("busstop"))
    assert len(receiver.rejected()) == len(bad)
    assert receiver.row("busstop", after)["point"]
    assert receiver.transform(now=NOW + timedelta(days=2)).handled == {}
    assert {row["times"] for row in receiver.rejected()} == {1}
    receiver.connection.execute(
        """UPDATE "AndroidRequests_busstop" SET name = 'right', transformed = false
        WHERE code = 'PB3'"""
    )
    receiver.transform()
    assert receiver.row("busstop", bad[3])["point"]
    assert len(receiver.rejected()) == len(bad) - 1


def test_a_stop_that_lost_its_point_gets_it_again(receiver: Receiver) -> None:
    stop = receiver.stop("PA0", CENTRE, receiver.gtfs())
    receiver.transform()
    receiver.connection.execute('UPDATE "AndroidRequests_busstop" SET point = NULL')
    receiver.transform()
    assert receiver.row("busstop", stop)["point"]


def test_a_row_that_a_load_corrects_after_its_refusal_gets_its_results(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = receiver.bus_event(), receiver.bus_event()
    _refuse_where(
        receiver.connection,
        f'NEW."timePeriod_id" IS NOT NULL AND NEW."eventConfirm" < 5 AND NEW.id = {bad}',
    )
    blame = batches._blame_suspects  # noqa: SLF001  the time between refusal and give-up

    def blame_later(connection: Connection, stage: Stage, progress: Progress) -> None:
        if progress.suspects:
            receiver.connection.execute(
                f"""UPDATE "AndroidRequests_eventforbusv2"
                SET "eventConfirm" = 9, transformed = false WHERE id = {bad}"""
            )
        blame(connection, stage, progress)

    monkeypatch.setattr(batches, "_blame_suspects", blame_later)
    report = receiver.transform()
    assert all(row["timePeriod_id"] for row in receiver.rows("eventforbusv2"))
    assert receiver.rejected() == []
    assert report.rejected == {}
    assert receiver.row("eventforbusv2", good)["transformed"]


def _add_cause_in_the_middle(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Add a trigger that refuses all results after the first of six events got them."""
    events = [receiver.bus_event(phone=UUID(int=n)) for n in range(6)]
    handle, calls = batches._handle, count()  # noqa: SLF001  the time between two batches

    def handle_later(
        connection: Connection, stage: Stage, ids: list[int], progress: Progress
    ) -> None:
        is_event = stage.table == "AndroidRequests_eventforbusv2"
        if is_event and next(calls) == 1:
            _refuse_where(receiver.connection, 'NEW."timePeriod_id" IS NOT NULL')
        handle(connection, stage, ids, progress)

    monkeypatch.setattr(batches, "_handle", handle_later)
    return events


def test_results_from_before_a_new_cause_give_up_no_row(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = _add_cause_in_the_middle(receiver, monkeypatch)
    with pytest.raises(TransformRefusedError, match=r"^5 rows of \S+_eventforbusv2 are refused"):
        receiver.transform(batch_rows=1)
    assert receiver.row("eventforbusv2", first)["timePeriod_id"]
    assert not any(receiver.row("eventforbusv2", key)["transformed"] for key in others)
    receiver.connection.execute('DROP TRIGGER refuse ON "AndroidRequests_eventforbusv2"')
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 5}


@pytest.mark.parametrize("of_reports", [False, True])
def test_zones_that_people_replace_during_a_run_cost_no_results(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, *, of_reports: bool
) -> None:
    receiver.zone(1, shapely.box(-71, -34, -70, -33))
    outside = receiver.located_bus_event((-72, -35))
    if of_reports:
        text = f'{_BUS_REPORT[:-1]}, "locationUser": {{"latitude": -33.45, "longitude": -70.65}}}}'
        receiver.report(text)
    else:
        receiver.located_bus_event(CENTRE)
    read_zones = zones.read_zones

    def read_and_replace(connection: Connection) -> zones.Zones:
        found = read_zones(connection)
        receiver.connection.execute('UPDATE "AndroidRequests_zonificationtransantiago" SET id = 2')
        return found

    monkeypatch.setattr(run, "read_zones", read_and_replace)
    with pytest.raises(TransformInterruptedError, match="were deleted or replaced"):
        receiver.transform(batch_rows=1)
    assert receiver.rejected() == []
    monkeypatch.setattr(run, "read_zones", read_zones)
    receiver.transform()
    table = "reportinfo" if of_reports else "eventforbusv2"
    assert 2 in {row["zonification_id"] for row in receiver.rows(table)}
    assert receiver.row("eventforbusv2", outside)["transformed"]


def test_a_table_with_too_many_refused_rows_gives_up_none_of_them(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run would lose the results of as many rows as the limit allows."""
    monkeypatch.setattr(batches, "MAX_REFUSED_ROWS", 3)
    good = receiver.bus_event(phone=UUID(int=0))  # events are handled in the order of phones
    bad = [receiver.bus_event() for _ in range(4)]
    _refuse_where(receiver.connection, f'NEW."timePeriod_id" IS NOT NULL AND NEW.id <> {good}')
    with pytest.raises(TransformRefusedError, match="more than 3 rows"):
        receiver.transform(batch_rows=1)
    assert receiver.row("eventforbusv2", good)["timePeriod_id"]
    assert not any(receiver.row("eventforbusv2", key)["transformed"] for key in bad)
    assert [row["primary_key"] for row in receiver.rejected()] == sorted(map(str, bad))


@pytest.mark.parametrize(
    ("column", "is_refused"),
    [
        ("integer NOT NULL", True),
        ("integer NOT NULL DEFAULT 1", False),
        ("integer GENERATED ALWAYS AS IDENTITY", False),
        ("filled NOT NULL", False),
        ("integer", False),
    ],
)
def test_a_column_that_every_new_report_info_would_violate_is_named_before_any_report(
    receiver: Receiver, column: str, is_refused: bool
) -> None:
    """The tables that the rules only update get their results."""
    report, event = receiver.report("{}"), receiver.bus_event()
    receiver.connection.execute("CREATE DOMAIN filled AS integer DEFAULT 7")
    query = f'ALTER TABLE "AndroidRequests_reportinfo" ADD revision {column}'
    receiver.connection.execute(query.encode())
    if is_refused:
        with pytest.raises(TransformRefusedError, match=r"reportinfo\.revision .* SET DEFAULT"):
            receiver.transform()
    else:
        receiver.transform()
    assert bool(receiver.row("report", report)["transformed"]) is not is_refused
    assert receiver.row("eventforbusv2", event)["transformed"]


def test_a_trigger_may_fill_a_column_of_report_info(receiver: Receiver) -> None:
    receiver.connection.execute(
        """ALTER TABLE "AndroidRequests_reportinfo" ADD revision integer NOT NULL;
        CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.revision = 1; RETURN NEW; END $$;
        CREATE TRIGGER fill BEFORE INSERT ON "AndroidRequests_reportinfo"
        FOR EACH ROW EXECUTE FUNCTION fill()"""
    )
    report = receiver.report("{}")
    receiver.transform()
    assert receiver.row("report", report)["transformed"]


def test_rows_that_one_table_refuses_do_not_count_for_the_next(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bus events come after stop events, and have one bad row of their own."""
    monkeypatch.setattr(batches, "MAX_REFUSED_ROWS", 2)
    for _ in range(4):
        receiver.stop_event()
    bad, good = receiver.bus_event(), receiver.bus_event()
    receiver.connection.execute(
        'ALTER TABLE "AndroidRequests_eventforbusstop" ADD CHECK (id < 0) NOT VALID'
    )
    _refuse_where(receiver.connection, f'NEW."timePeriod_id" IS NOT NULL AND NEW.id = {bad}')
    with pytest.raises(TransformRefusedError, match=r"more than 2 rows of \S+_eventforbusstop, "):
        receiver.transform()
    assert receiver.row("eventforbusv2", good)["timePeriod_id"]
    assert receiver.row("eventforbusv2", bad)["transformed"]
    assert str(bad) in [row["primary_key"] for row in receiver.rejected()]


def test_every_table_whose_rows_are_refused_is_named(receiver: Receiver) -> None:
    """With all the other tables handled."""
    for table in ("eventforbusstop", "report"):
        query = f'ALTER TABLE "AndroidRequests_{table}" ADD CHECK (transformed IS NULL) NOT VALID'
        receiver.connection.execute(query.encode())
    for _ in range(5):
        receiver.stop_event()
        receiver.report("{}")
    event = receiver.bus_event()
    with pytest.raises(TransformRefusedError) as told:
        receiver.transform()
    assert receiver.row("eventforbusv2", event)["transformed"]
    assert "AndroidRequests_eventforbusstop" in str(told.value)
    assert "AndroidRequests_report" in str(told.value)


def test_a_trigger_that_is_broken_does_not_stop_the_other_tables(receiver: Receiver) -> None:
    bus, report = receiver.bus_event(), receiver.report("{}")
    _break_trigger(receiver)
    with pytest.raises(TransformRefusedError, match=r"SQLSTATE 42P01"):
        receiver.transform()
    assert not receiver.row("eventforbusv2", bus)["transformed"]
    assert receiver.row("report", report)["transformed"]


@pytest.mark.long
def test_a_database_that_refuses_everything_is_not_a_hundred_bad_rows(receiver: Receiver) -> None:
    for _ in range(110):
        receiver.bus_event()
    _refuse_where(receiver.connection, "true")
    with pytest.raises(TransformRefusedError, match=r"eventforbusv2, .* SQLSTATE P0001"):
        receiver.transform()
    assert not any(row["transformed"] for row in receiver.rows("eventforbusv2"))


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 1000])
def test_results_do_not_depend_on_the_size_of_a_batch(receiver: Receiver, batch_rows: int) -> None:
    version = receiver.gtfs()
    for number in range(5):
        receiver.stop(f"P{number}", (CENTRE[0] + number / 1000, CENTRE[1]), version)
    events = [receiver.located_bus_event(CENTRE) for _ in range(15)]
    report = receiver.transform(batch_rows=batch_rows)
    rows = receiver.rows("eventforbusv2")
    assert {(row["busStop1"], row["busStop2"], row["transformed"]) for row in rows} == {
        ("P0", "P1", True)
    }
    counts = [5, len(events), len(events)]
    assert report.batches == sum(-(-count // batch_rows) for count in counts)


@pytest.mark.long
def test_running_twice_gives_the_same_tables(sample_receiver: Receiver) -> None:
    done = sample_receiver.transform()
    tables = (*TABLES, "reportinfo")
    first = {table: sample_receiver.rows(table) for table in tables}
    rejected = sample_receiver.rejected()

    assert sample_receiver.transform().batches == 0
    assert sample_receiver.rejected() == rejected

    sample_receiver.reset(*tables)
    again = sample_receiver.transform(now=NOW + timedelta(hours=1))
    assert {table: sample_receiver.rows(table) for table in tables} == first
    assert again.handled == done.handled
    assert [row["times"] for row in sample_receiver.rejected()] == [2] * len(rejected)


def test_a_reader_never_sees_a_row_with_half_its_results(receiver: Receiver) -> None:
    receiver.stop("PA1", CENTRE, receiver.gtfs())
    receiver.located_bus_event(CENTRE)
    # The constraint holds only if period, half hour, stop and mark arrive in one update.
    receiver.connection.execute(
        """ALTER TABLE "AndroidRequests_eventforbusv2" ADD CONSTRAINT whole CHECK (
          num_nonnulls("timePeriod_id", "halfHourPeriod_id", "busStop1", transformed) IN (0, 4))"""
    )
    report = receiver.transform()
    assert report.rejected == {}
    assert report.rows["nearest stops"] == 1


def test_what_people_set_on_the_receiver_stays(receiver: Receiver) -> None:
    bus, stop = receiver.bus_event(fixed=True), receiver.stop_event(fixed=True)
    receiver.transform()
    assert receiver.row("eventforbusv2", bus)["fixed"]
    assert receiver.row("eventforbusstop", stop)["fixed"]


def test_two_transforms_do_not_work_on_one_database(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transform_lock, "_LOCK_WAIT", "100ms")
    receiver.connection.execute("SELECT pg_advisory_lock(hashtextextended('ar_sync.transform', 0))")
    with pytest.raises(TransformRunningError, match=r"another transform.*: process \d+ \("):
        receiver.transform()


def test_a_killed_session_is_tried_again_and_keeps_finished_batches(receiver: Receiver) -> None:
    for _ in range(3):
        receiver.bus_event()
    receiver.connection.execute(
        """CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER die BEFORE UPDATE ON "AndroidRequests_eventforbusv2"
        FOR EACH ROW EXECUTE FUNCTION die()"""
    )
    with pytest.raises(DatabaseUnreachableError, match="tried again"):
        receiver.transform()
    assert all(row["transformed"] for row in receiver.rows("busv2"))
    receiver.connection.execute('DROP TRIGGER die ON "AndroidRequests_eventforbusv2"')
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 3}


def test_a_statement_that_an_administrator_cancels_is_not_the_time_limit(
    receiver: Receiver,
) -> None:
    receiver.bus_event()
    receiver.connection.execute(
        """CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); RETURN NEW; END $$;
        CREATE TRIGGER cancel BEFORE UPDATE ON "AndroidRequests_eventforbusv2"
        FOR EACH ROW EXECUTE FUNCTION cancel()"""
    )
    with pytest.raises(DatabaseFailedError, match=r"canceling statement due to user request"):
        receiver.transform()


def test_a_run_that_has_had_its_time_keeps_finished_batches_and_the_next_continues(
    receiver: Receiver,
) -> None:
    for _ in range(5):
        receiver.bus_event()
    # Each reading of this watch is a second later; a run reads it some 20 times per event.
    watch = count()
    with pytest.raises(TransformTooSlowError, match=r"stopped after [0-9]+ rows"):
        run_transapp(
            receiver.url,
            clock=lambda: NOW,
            batch_rows=1,
            timeout_seconds=90,
            stopwatch=lambda: float(next(watch)),
        )
    done = [row["id"] for row in receiver.rows("eventforbusv2") if row["transformed"]]
    assert 0 < len(done) < 5
    assert receiver.transform().handled == {"AndroidRequests_eventforbusv2": 5 - len(done)}


def test_a_batch_of_reports_ends_at_the_time_limit_and_the_next_run_reads_them(
    receiver: Receiver,
) -> None:
    for _ in range(100):
        receiver.report("{}")
    watch = count()
    with pytest.raises(TransformTooSlowError, match="stopped while it read reports"):
        run_transapp(
            receiver.url,
            clock=lambda: NOW,
            timeout_seconds=60,
            stopwatch=lambda: float(next(watch)),
        )
    assert receiver.transform().handled == {"AndroidRequests_report": 100}


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
