"""Simulates minutes of production at once: rows and pictures are added, changed and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from ar_sync_pipeline.demo.fake_data import install_fake_data
from ar_sync_pipeline.demo.pictures import write_picture

_PREFIX = "AndroidRequests_"
_INSERT, _UPDATE, _DELETE = b"INSERT INTO", b"UPDATE", b"DELETE FROM"


@dataclass(frozen=True)
class BurstSummary:
    """Summary of one burst; table names have no common prefix.

    Attributes:
        at: Time of the burst.
        inserted: Number of new rows by table.
        updated: Number of changed rows by table, including those with an unchanged ``timeStamp``.
        deleted: Number of deleted rows by table.
        new_pictures: Names of new pictures.
        changed_pictures: Names of pictures with changed content.
    """

    at: datetime
    inserted: Mapping[str, int] = field(default_factory=dict)
    updated: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)
    new_pictures: tuple[str, ...] = ()
    changed_pictures: tuple[str, ...] = ()


class Traffic:
    """Traffic of production on the sender: each ``burst`` is one transaction.

    The same seed, database and times give the same bursts.

    Args:
        connection: Connection to a sender filled by ``fill_city``; used only during a burst.
        media_folder: Media folder of the sender.
        seed: Seed of the traffic; it must differ from that of the city.
    """

    def __init__(
        self, connection: psycopg.Connection[TupleRow], media_folder: Path, seed: int
    ) -> None:
        self._connection = connection
        self._media_folder = media_folder
        self._seed = seed
        self._bursts = 0

    def burst(self, now: datetime, *, deletions: bool = True) -> BurstSummary:
        """Change production once.

        A burst has new buses with assignments, events, statistics and reports; confirmed and
        declined events; changes without a new ``timeStamp`` (broken events, a plate, scores);
        tokens and poses; with ``deletions`` also deleted rows, which only a complete replicates.

        Args:
            now: Time of the burst, aware; new rows are from the seconds before.
            deletions: Whether to delete rows; without deletions partials replicate the burst.
        """
        self._bursts += 1
        with self._connection.transaction():
            # Far apart, so that bursts of different seeds never draw the same values.
            seed = self._seed * 1_000_003 + self._bursts
            install_fake_data(self._connection, now=now, seed=seed)
            counts = self._run_statements(deletions=deletions)
            new, changed = self._write_pictures(now, seed)
        return BurstSummary(
            at=now,
            inserted=counts[_INSERT],
            updated=counts[_UPDATE],
            deleted=counts[_DELETE],
            new_pictures=new,
            changed_pictures=changed,
        )

    def _run_statements(self, *, deletions: bool) -> dict[bytes, dict[str, int]]:
        counts: dict[bytes, dict[str, int]] = {_INSERT: {}, _UPDATE: {}, _DELETE: {}}
        script = files("ar_sync_pipeline.demo").joinpath("traffic.sql").read_bytes()
        for statement in _statements(script):
            kind = next((each for each in counts if statement.startswith(each)), None)
            if kind == _DELETE and not deletions:
                continue
            cursor = self._connection.execute(statement)
            if kind is not None:
                table = statement.split(b'"', 2)[1].decode().removeprefix(_PREFIX)
                counts[kind][table] = counts[kind].get(table, 0) + cursor.rowcount
        return counts

    def _write_pictures(self, now: datetime, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Store the pictures of new reports before the rows are visible, like the web server."""
        named = self._connection.execute(
            'SELECT "imageName" FROM burst_report JOIN "AndroidRequests_report" USING (id)'
            " WHERE \"imageName\" LIKE '%.jpeg' ORDER BY 1"
        )
        new = tuple(name for (name,) in named)
        for name in new:
            write_picture(self._media_folder / name, name, now)
        older = sorted(
            path.relative_to(self._media_folder).as_posix()
            for path in self._media_folder.rglob("*.jpeg")
        )
        candidates = [name for name in older if name not in new]
        changed = tuple(candidates[seed % len(candidates) :][:1]) if candidates else ()
        for name in changed:
            write_picture(self._media_folder / name, f"{name} again in {seed}", now)
        return new, changed


def _statements(script: bytes) -> list[bytes]:
    """Return the statements of traffic.sql, without comments; none contains a semicolon."""
    lines = [line for line in script.splitlines() if not line.startswith(b"--")]
    return [part.strip() for part in b"\n".join(lines).split(b";") if part.strip()]
