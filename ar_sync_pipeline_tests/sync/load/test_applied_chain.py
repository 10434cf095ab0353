"""A complete that waits closes gaps and is due to be loaded, unless loads pass it over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.postgres.ledger import AppliedArchive
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState
from ar_sync_pipeline.sync.load.applied_chain import passed_over, promised_chain

START = datetime(2026, 12, 1, 3, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def line(kind: ArchiveKind, hours: float, since: float | None, **more: object) -> AppliedArchive:
    at, own_id = START + hours * HOUR, uuid4()
    fields: dict[str, object] = {
        "archive_id": own_id,
        "name": ArchiveName(kind, at).applied,
        "kind": kind,
        "snapshot_at": at,
        "covers_from": None if since is None else START + since * HOUR,
        "window_start": None,
        "window_end": None,
        "superseded": False,
        "applied_at": at,
        "system_identifier": "7",
        "timeline": 1,
        "xmax": 1,
        "lsn": None,
    }
    return AppliedArchive(**(fields | more))  # type: ignore[arg-type]


def partials(until: float, *, gap_at: float | None = None) -> list[AppliedArchive]:
    """Return a complete and a partial each half hour; later ones start before the gap, too."""
    found = [line(ArchiveKind.COMPLETE, 0, None)]
    for at in (n / 2 for n in range(1, int(2 * until) + 1)):
        if at == gap_at:
            own_id = uuid4()
            found.append(line(ArchiveKind.PARTIAL, at, None, archive_id=own_id, history=own_id))
        else:
            since = at if gap_at is None else min(at, gap_at)
            found.append(line(ArchiveKind.PARTIAL, at, since - 0.5))
    return found


def waiting(*hours: float) -> list[SpooledArchive]:
    return [
        SpooledArchive(
            ArchiveName(ArchiveKind.COMPLETE, START + at * HOUR), Path("x"), SpoolState.WAITING, 1
        )
        for at in hours
    ]


@pytest.mark.parametrize(
    ("until", "waits", "expected"),
    [
        (30, [24], None),
        (30.5, [24], 24),
        (30.5, [24, 30], 24),
        (30.5, [30, 24], 24),
        (30.5, [-1], None),
        (30.5, [], None),
        (3, [24], None),
    ],
)
def test_complete_is_passed_over_once_partials_of_six_later_hours_are_applied(
    until: float, waits: list[float], expected: float | None
) -> None:
    found = passed_over(partials(until), waiting(*waits))
    assert found == (None if expected is None else waiting(expected)[0].name)


def test_first_complete_is_not_passed_over() -> None:
    assert passed_over([], waiting(0)) is None
    assert passed_over(partials(30)[1:], waiting(0)) is None


def test_superseded_archives_pass_nothing_over() -> None:
    late = line(ArchiveKind.PARTIAL, 40, 39, superseded=True)
    assert passed_over([*partials(25), late], waiting(24)) is None


def test_gap_is_known_again_if_the_complete_that_would_close_it_is_not_loaded() -> None:
    early, late = (partials(until, gap_at=10) for until in (16, 20))
    for ledger in (early, late):
        chain = promised_chain(ledger)
        assert chain is not None
        assert len(chain.gaps) == 1
    found = [promised_chain(ledger, waiting(11, 17)) for ledger in (early, late)]
    assert [chain and len(chain.gaps) for chain in found] == [0, 1]
