"""Rows that the database or the rules refuse: the others get results, none is given up too soon."""

from __future__ import annotations

import time
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from itertools import count
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.transform.errors import (
    TransformRefusedError,
)
from ar_sync_pipeline.transform.rejected_rows import prepare_rejected_rows
from ar_sync_pipeline.transform.transapp import batches
from ar_sync_pipeline.transform.transapp.batches import Progress, run_stage
from ar_sync_pipeline.transform.transapp.plates import bus_stage
from ar_sync_pipeline.transform.transapp.stage import BatchOutcome, Stage, StepTimer
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOON, NOW, Receiver

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
