"""A few minutes of production in an instant: rows come, change and go, and so do pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from ar_sync_pipeline.demo.fake_data import install_fake_data
from ar_sync_pipeline.demo.pictures import write_picture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import psycopg
    from psycopg.rows import TupleRow

_PREFIX = "AndroidRequests_"
_INSERT, _UPDATE, _DELETE = b"INSERT INTO", b"UPDATE", b"DELETE FROM"


@dataclass(frozen=True)
class BurstSummary:
    """What one burst did; tables are named without their common prefix.

    Attributes:
        at: the instant that the burst took for now.
        inserted: new rows per table.
        updated: changed rows per table, those that kept their ``timeStamp`` included.
        deleted: rows that went, per table.
        new_pictures: media names that came.
        changed_pictures: media names whose content changed.
    """

    at: datetime
    inserted: Mapping[str, int] = field(default_factory=dict)
    updated: Mapping[str, int] = field(default_factory=dict)
    deleted: Mapping[str, int] = field(default_factory=dict)
    new_pictures: tuple[str, ...] = ()
    changed_pictures: tuple[str, ...] = ()


class Traffic:
    """Production at work on the sender: each ``burst`` is one transaction.

    The same seed, database and instants give the same bursts.

    Args:
        connection: to a sender filled by ``fill_city``; used only during a burst.
        media_folder: the sender's pictures.
        seed: another seed gives other traffic; it must differ from the city's.
    """

    def __init__(
        self, connection: psycopg.Connection[TupleRow], media_folder: Path, seed: int
    ) -> None:
        self._connection = connection
        self._media_folder = media_folder
        self._seed = seed
        self._bursts = 0

    def burst(self, now: datetime, *, deletions: bool = True) -> BurstSummary:
        """Let production change once.

        New buses with assignments, events, statistics and reports; confirmed and declined
        events; changes that leave ``timeStamp`` alone (broken events, a plate, scores); tokens
        and poses; with ``deletions`` also rows that go, which only a complete can tell.

        Args:
            now: aware; new rows are stamped in the seconds before it.
            deletions: False for a burst that partials alone can carry over.
        """
        self._bursts += 1
        with self._connection.transaction():
            # Far apart, so that no two bursts of any two seeds draw the same values.
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
        """Store the new reports' pictures, as the web server does, before the rows are visible."""
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
    """Return the statements of traffic.sql, which have no semicolon inside, without comments."""
    lines = [line for line in script.splitlines() if not line.startswith(b"--")]
    return [part.strip() for part in b"\n".join(lines).split(b";") if part.strip()]
