"""A receiver's database under test: rows of one's own in, derived columns out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import psycopg
import shapely
from psycopg import sql
from psycopg.rows import dict_row

from ar_sync_pipeline.transform.transapp.report import TransformReport
from ar_sync_pipeline.transform.transapp.run import run_transapp

Row = dict[str, Any]

PREFIX = "AndroidRequests_"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOON = datetime(2026, 6, 3, 16, tzinfo=UTC)
"""A Wednesday, 12:00 in Santiago (winter time, UTC-4)."""
CENTRE = (-70.65, -33.45)

_PERIODS = """
INSERT INTO "AndroidRequests_halfhourperiod" (id, name, initial_time, end_time)
  SELECT 1 + extract(epoch FROM start) / 1800, to_char(start, 'HH24:MI'), start::time,
    (start + interval '29 min 59 s')::time
  FROM (SELECT n * interval '30 min' AS start FROM generate_series(0, 47) n) half;
INSERT INTO "AndroidRequests_timeperiod" (id, name, day_type, initial_time, end_time)
  SELECT row_number() OVER (), day || ' ' || hour, day, make_time(hour, 0, 0),
    make_time(hour + 1, 59, 59)
  FROM unnest(ARRAY['Laboral', 'Sábado', 'Domingo']) day, generate_series(0, 23, 2) hour;
"""


class Receiver:
    """Inserts rows with sensible defaults and reads results.

    Args:
        url: of a database with the receiver's schema.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._ids = count(1)

    def close(self) -> None:
        self.connection.close()

    def transform(self, *, batch_rows: int = 1000, now: datetime = NOW) -> TransformReport:
        return run_transapp(self.url, clock=lambda: now, batch_rows=batch_rows)

    @staticmethod
    def run_on(url: str) -> TransformReport:
        """Transform the database at another URL: another server, another role."""
        return run_transapp(url, clock=lambda: NOW)

    def insert(self, table: str, **values: object) -> int:
        values.setdefault("id", next(self._ids))
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(PREFIX + table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        )
        self.connection.execute(query, list(values.values()))
        return int(str(values["id"]))

    def rows(self, table: str) -> list[Row]:
        query = sql.SQL("SELECT * FROM {} ORDER BY id").format(sql.Identifier(PREFIX + table))
        return self.connection.execute(query).fetchall()

    def row(self, table: str, key: int) -> Row:
        return next(row for row in self.rows(table) if row["id"] == key)

    def rejected(self) -> list[Row]:
        return self.connection.execute(
            "SELECT * FROM ar_sync.rejected_row ORDER BY table_name, primary_key, step, reason"
        ).fetchall()

    def reset(self, *tables: str) -> None:
        for table in tables:
            query = sql.SQL("UPDATE {} SET transformed = false")
            self.connection.execute(query.format(sql.Identifier(PREFIX + table)))

    # One method per kind of row, with what its NOT NULL columns need.

    def periods(self) -> None:
        """The 48 half hours and, per day type, twelve periods of two hours."""
        self.connection.execute(_PERIODS)

    def zone(self, key: int, shape: shapely.Geometry) -> int:
        wkb = shapely.to_wkb(shapely.MultiPolygon([shape]))
        return self.insert(
            "zonificationtransantiago", id=key, area=1, zona=1, com="", comuna="", cartodb_id=1,
            created_at="2015-05-27", updated_at="2015-05-27", geom=wkb,
        )  # fmt: skip

    def event_kind(self) -> str:
        self.connection.execute(
            """INSERT INTO "AndroidRequests_event"
              (id, name, lifespam, category, origin, "eventType")
            VALUES ('evn1', 'full', 30, 'c', 'o', 'bus') ON CONFLICT DO NOTHING"""
        )
        return "evn1"

    def bus(self, plate: str = "BCDF12", **values: object) -> int:
        values.setdefault("uuid", uuid4())
        return self.insert("busv2", registrationPlate=plate, **values)

    def assignment(self) -> int:
        return self.insert("busassignment", service="507", uuid_id=self.bus())

    def bus_event(self, at: datetime = NOON, *, phone: UUID | None = None, **values: object) -> int:
        return self.insert(
            "eventforbusv2", timeStamp=at, timeCreation=values.pop("created", at), eventConfirm=1,
            eventDecline=0, phoneId=phone or uuid4(), busassignment_id=self.assignment(),
            event_id=self.event_kind(), broken=False, **values,
        )  # fmt: skip

    def stop_event(self, at: datetime = NOON, **values: object) -> int:
        return self.insert(
            "eventforbusstop", timeStamp=at, timeCreation=at, eventConfirm=1, eventDecline=0,
            phoneId=uuid4(), aditionalInfo="", event_id=self.event_kind(), stopCode="PA1",
            broken=False, **values,
        )  # fmt: skip

    def statistic(
        self, event: int, position: tuple[float, float], at: datetime = NOON, *, kind: str = "bus"
    ) -> int:
        return self.insert(
            f"stadisticdatafromregistration{kind}", longitude=position[0], latitude=position[1],
            timeStamp=at, confirmDecline="confirm", phoneId=uuid4(), reportOfEvent_id=event,
        )  # fmt: skip

    def located_bus_event(self, position: tuple[float, float]) -> int:
        event = self.bus_event()
        self.statistic(event, position)
        return event

    def gtfs(self, version: str = "v1", created: datetime | None = NOON) -> int:
        return self.insert("gtfs", version=version, timeCreation=created)

    def stop(self, code: str, position: tuple[float, float], gtfs: int, **values: object) -> int:
        values.setdefault("name", "")
        return self.insert(
            "busstop", code=code, longitude=position[0], latitude=position[1], gtfs_id=gtfs,
            **values,
        )  # fmt: skip

    def token(self, phone: UUID, direction: str | None) -> int:
        return self.insert(
            "token", token=uuid4().hex, direction=direction, color="#fff", phoneId=phone,
            busassignment_id=self.assignment(),
        )  # fmt: skip

    def pose(self, token: int, at: datetime, **values: object) -> int:
        return self.insert(
            "poseintrajectoryoftoken", longitude=0, latitude=0, timeStamp=at,
            inVehicleOrNot="vehicle", token_id=token, **values,
        )  # fmt: skip

    def report(self, text: str, at: datetime = NOON, *, phone: UUID | None = None) -> int:
        return self.insert(
            "report", timeStamp=at, message="", reportInfo=text, phoneId=phone or uuid4()
        )
