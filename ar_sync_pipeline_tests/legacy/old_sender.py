"""The old sender, as far as a receiver can tell: archives of a real database and media folder.

What it did is in the old system's scripts: pg_dump for a complete, Django's serializer for the rows
of seven models whose `timeStamp` is in the window, with the buses and assignments that they name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql

from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline_tests.legacy import building
from ar_sync_pipeline_tests.legacy.building import JSON_FILES

_PREFIX = "AndroidRequests_"
_STAMPED = (
    "eventforbusstop",
    "eventforbusv2",
    "report",
    "stadisticdatafromregistrationbus",
    "stadisticdatafromregistrationbusstop",
)
_ZONE = ZoneInfo("America/Santiago")
_TABLES = (
    "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE"
    f" '{_PREFIX.replace('_', chr(92) + '_')}%' ORDER BY 1"
)
_COLUMNS = (
    "SELECT attname, atttypid = 'timestamptz'::regtype FROM pg_attribute"
    " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)


@dataclass
class OldSender:
    """Production with the old system.

    Attributes:
        clock: production's, by which archives are called.
    """

    url: str
    media: Path
    clock: Clock

    def stamp(self) -> str:
        """The part of an archive's name that says when it was made, in local time."""
        return f"{self.clock().astimezone(_ZONE):%Y-%m-%d__%H_%M_%S}"

    def complete(self) -> bytes:
        with psycopg.connect(self.url) as connection:
            tables = {
                str(name).removeprefix(_PREFIX): self._copied(connection, str(name))
                for (name,) in connection.execute(_TABLES)
            }
        made_at = int(self.clock().timestamp())
        return building.complete(building.dump(tables), self._pictures(None), made_at=made_at)

    def partial(self, minutes: int) -> bytes:
        """Rows and pictures of the minutes before now."""
        since = self.clock() - timedelta(minutes=minutes)
        objects: dict[str, list[dict[str, Any]]] = {}
        with psycopg.connect(self.url) as connection:
            for model in _STAMPED:
                objects[model] = self._serialized(connection, model, '"timeStamp" >= %s', since)
            assignments = [o["fields"]["busassignment_id"] for o in objects["eventforbusv2"]]
            objects["busassignment"] = self._serialized(
                connection, "busassignment", "id = ANY (%s)", assignments
            )
            buses = [o["fields"]["uuid_id"] for o in objects["busassignment"]]
            objects["busv2"] = self._serialized(connection, "busv2", "id = ANY (%s)", buses)
        assert set(objects) == set(JSON_FILES)
        return building.partial(objects, self._pictures(since))

    def _pictures(self, since: datetime | None) -> dict[str, bytes]:
        """Those of the folder itself: it knew no subfolders."""
        return {
            path.name: path.read_bytes()
            for path in self.media.glob("*.jpeg")
            if since is None or path.stat().st_mtime >= since.timestamp()
        }

    @staticmethod
    def _copied(
        connection: psycopg.Connection[tuple[object, ...]], table: str
    ) -> tuple[list[str], list[list[str]]]:
        names = [str(name) for name, _ in connection.execute(_COLUMNS, [f'"{table}"'])]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        statement = sql.SQL("COPY {} ({}) TO STDOUT").format(sql.Identifier(table), columns)
        with connection.cursor().copy(statement) as copy:
            lines = b"".join(copy).decode().split("\n")[:-1]
        return names, [line.split("\t") for line in lines]

    @staticmethod
    def _serialized(
        connection: psycopg.Connection[tuple[object, ...]],
        model: str,
        condition: str,
        argument: object,
    ) -> list[dict[str, Any]]:
        """Rows as Django writes them: times to the millisecond."""
        table = _PREFIX + model
        described = connection.execute(_COLUMNS, [f'"{table}"']).fetchall()
        cut = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
        values = [
            sql.SQL(cut if is_time else "{}").format(sql.Identifier(str(name)))
            for name, is_time in described
        ]
        query = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY id").format(
            sql.SQL(", ").join(values),
            sql.Identifier(table),
            sql.SQL(condition),
        )
        names = [str(name) for name, _ in described]
        found = connection.execute(query, [argument]).fetchall()
        rows = [dict(zip(names, map(_plain, row), strict=True)) for row in found]
        return [
            {"model": f"AndroidRequests.{model}", "pk": row.pop("id"), "fields": row}
            for row in rows
        ]


def _plain(value: object) -> Any:
    return value if value is None or isinstance(value, int | float | bool) else str(value)
