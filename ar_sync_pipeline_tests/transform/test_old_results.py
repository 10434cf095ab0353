"""Results of the old system's transform: the check names them, and the documented SQL ends them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger_tables import claim_ledger
from ar_sync_pipeline.sync.watch.old_results import old_results
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.transform.receiver import Receiver

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
FRIDAY_NIGHT = datetime(2026, 6, 6, 2, 30, tzinfo=UTC)
"""Saturday in UTC, Friday 22:30 in Santiago."""
REPORT = (
    '{"bus": {"latitude": -33.45, "longitude": -70.65, "licensePlate": "AA1111"},'
    ' "locationUser": {"latitude": "/-33.45", "longitude": "/-70.65"}}'
)


@pytest.fixture
def old(receiver: Receiver) -> Receiver:
    """A receiver with the results of the old transform (old system, D23, D24, D26)."""
    saturday = next(
        row["id"]
        for row in receiver.rows("timeperiod")
        if row["day_type"] == "Sábado" and row["initial_time"].hour == 2
    )
    receiver.stop_event(FRIDAY_NIGHT, timePeriod_id=saturday, transformed=True)
    receiver.bus_event(FRIDAY_NIGHT, timePeriod_id=saturday, transformed=True)
    report = receiver.report(REPORT, FRIDAY_NIGHT)
    for _ in range(2):
        receiver.insert(
            "reportinfo", reportType="bus", registrationPlate="AA 11 11", longitude=-70.65,
            latitude=-33.45, report_id=report, userLatitude=33.45, userLongitude=70.65,
            transformed=True,
        )  # fmt: skip
    receiver.connection.execute('UPDATE "AndroidRequests_report" SET transformed = true')
    return receiver


def _found(receiver: Receiver) -> list[str]:
    with connect(receiver.url, application="check") as connection:
        return [str(one) for one in old_results(connection, load_catalog())]


def _documented_sql() -> str:
    (block,) = re.findall(r"<<'SQL'\n(DO \$\$.*?)\nSQL\n", PAGE, re.DOTALL)
    return str(block)


def _periods(receiver: Receiver) -> set[tuple[str, int]]:
    kept = {row["id"]: row for row in receiver.rows("timeperiod")}
    found = [kept[row["timePeriod_id"]] for table in ("eventforbusstop", "eventforbusv2")
             for row in receiver.rows(table)]  # fmt: skip
    return {(row["day_type"], row["initial_time"].hour) for row in found}


def test_marked_rows_are_named_until_the_first_load(old: Receiver) -> None:
    (warning,) = _found(old)
    assert "AndroidRequests_eventforbusstop" in warning
    assert "docs/migration.md" in warning
    with connect(old.url, application="load") as connection:
        claim_ledger(connection, "android_requests")
    assert len(_found(old)) == 1
    execute(
        old.url,
        """INSERT INTO ar_sync.applied_archive (archive_id, name, kind, snapshot_at, watermark,
          sender, superseded, applied_at, plan)
        VALUES (gen_random_uuid(), 'x', 'complete', now(), '{}', '{}', false, now(), '[]')""",
    )
    assert _found(old) == []


def test_unmarked_rows_and_missing_columns_are_not_named(receiver: Receiver) -> None:
    receiver.stop_event()
    assert _found(receiver) == []
    receiver.connection.execute('ALTER TABLE "AndroidRequests_report" DROP COLUMN transformed')
    assert _found(receiver) == []


def test_documented_sql_gives_every_row_to_the_rules(old: Receiver) -> None:
    old.transform()
    assert _periods(old) == {("Sábado", 2)}
    old.connection.execute(_documented_sql())
    old.transform()
    assert _periods(old) == {("Laboral", 22)}
    (info,) = old.rows("reportinfo")
    assert info["userLatitude"] == -33.45
    versions = 'SELECT xmin FROM "AndroidRequests_eventforbusstop"'
    before = old.connection.execute(versions).fetchall()
    old.transform()
    assert old.connection.execute(versions).fetchall() == before
