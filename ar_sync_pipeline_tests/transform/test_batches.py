"""Batches: all or nothing for a row, no bad row in the way of others, nothing done twice."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
import shapely

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import (
    DatabaseFailedError,
    DatabaseUnreachableError,
)
from ar_sync_pipeline.transform import transform_lock
from ar_sync_pipeline.transform.errors import (
    TransformInterruptedError,
    TransformRunningError,
    TransformTooSlowError,
)
from ar_sync_pipeline.transform.transapp import run, zones
from ar_sync_pipeline.transform.transapp.run import run_transapp
from ar_sync_pipeline_tests.transform.receiver import CENTRE, NOW, Receiver

TABLES = ("busv2", "busstop", "eventforbusv2", "eventforbusstop", "report")


_BUS_REPORT = '{"bus": {"latitude": -33.45, "longitude": -70.65, "licensePlate": "AA1111"}}'


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
