"""Each change of state is one rename, repeatable, and loses nothing wherever it is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.errors import ParkedError, TerminalError
from ar_sync_pipeline.spool.errors import ArchiveGoneError, SpoolAccessError
from ar_sync_pipeline.spool.reasons import read_reason, reason_path
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    clean_incoming,
    list_applied,
    list_parked,
    list_quarantined,
    list_waiting,
    mark_applied,
    park,
    quarantine,
    unpark,
)
from ar_sync_pipeline_tests.missing_parts import require_root
from ar_sync_pipeline_tests.spool.conftest import NOON, PutArchive

BEHIND = ParkedError("migration 0035 is missing", remedy="migrate the receiver")
CORRUPT = TerminalError("member 3 has a wrong sha256", remedy="look at the sender's disk")


def files(spool: Path) -> set[str]:
    return {str(p.relative_to(spool)) for p in spool.rglob("*") if p.is_file()}


def waiting(spool: Path, put: PutArchive, content: bytes = b"archive") -> SpooledArchive:
    put(content=content)
    (archive,) = list_waiting(spool)
    return archive


def test_applied_archive_loses_only_its_prefix(spool: Path, put: PutArchive) -> None:
    archive = waiting(spool, put)
    applied = mark_applied(spool, archive)

    assert applied == list_applied(spool)[0]
    assert files(spool) == {f"partial/{archive.name.applied}"}
    assert mark_applied(spool, archive) == applied  # the run that was killed, repeated
    assert mark_applied(spool, applied) == applied


def test_d11_archive_waits_until_it_is_marked_as_applied(spool: Path, put: PutArchive) -> None:
    """Old system, D11: the file was marked before loading, and a failed load lost it."""
    archive = waiting(spool, put)
    parked = park(spool, archive, BEHIND, at=NOON)
    assert list_applied(spool) == []
    unpark(spool, parked)
    assert list_waiting(spool) == [archive]


def test_parked_archive_has_a_reason_file(spool: Path, put: PutArchive) -> None:
    archive = waiting(spool, put)
    parked = park(spool, archive, BEHIND, at=NOON)

    assert list_waiting(spool) == []
    assert list_parked(spool) == [parked]
    reason = read_reason(parked.path)
    assert reason is not None
    assert (reason.reason, reason.remedy) == ("migration 0035 is missing", "migrate the receiver")
    assert (reason.error, reason.since, reason.at) == ("parked", NOON, NOON)


def test_archive_that_stays_parked_keeps_the_instant_of_its_first_parking(
    spool: Path, put: PutArchive
) -> None:
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    later = ParkedError("migration 0036 is missing", remedy="migrate the receiver")
    assert park(spool, parked, later, at=NOON + timedelta(hours=3)) == parked

    reason = read_reason(parked.path)
    assert reason is not None
    assert (reason.since, reason.at) == (NOON, NOON + timedelta(hours=3))
    assert reason.reason == "migration 0036 is missing"


def test_unparked_archive_waits_again_and_its_reason_is_gone(spool: Path, put: PutArchive) -> None:
    archive = waiting(spool, put)
    parked = park(spool, archive, BEHIND, at=NOON)

    assert unpark(spool, parked) == archive
    assert files(spool) == {f"partial/{archive.name.waiting}"}
    assert unpark(spool, archive) == archive  # one that never was parked
    assert unpark(spool, parked) == archive  # the killed run, repeated


def test_quarantined_archive_has_a_reason_file(spool: Path, put: PutArchive) -> None:
    archive = waiting(spool, put)
    found = quarantine(spool, archive, CORRUPT, at=NOON)

    assert list_waiting(spool) == []
    assert list_quarantined(spool) == [found]
    reason = read_reason(found.path)
    assert reason is not None
    assert reason.reason == "member 3 has a wrong sha256"
    assert quarantine(spool, archive, CORRUPT, at=NOON) == found  # repeated
    assert quarantine(spool, found, CORRUPT, at=NOON) == found


@pytest.mark.parametrize("year", ["0001", "0999", "1000", "9999"])
def test_archive_of_any_year_keeps_a_name_that_is_listed(spool: Path, year: str) -> None:
    name = f"NEW_backup_partial_{year}0101T000000.000000Z.tar"
    (spool / "partial" / name).write_bytes(b"")
    (archive,) = list_waiting(spool)
    assert archive.name.waiting == name
    found = quarantine(spool, archive, CORRUPT, at=NOON)
    assert list_quarantined(spool) == [found]


def test_quarantine_of_a_parked_archive_takes_its_old_reason_away(
    spool: Path, put: PutArchive
) -> None:
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    found = quarantine(spool, parked, CORRUPT, at=NOON)
    assert files(spool) == {
        f"quarantine/{found.path.name}",
        f"quarantine/{found.path.name}.reason.json",
    }


def test_reason_that_a_killed_run_left_without_its_archive_is_removed_later(
    spool: Path, put: PutArchive
) -> None:
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    put(snapshot_at=NOON + timedelta(hours=1))
    (other,) = list_waiting(spool)
    other = park(spool, other, BEHIND, at=NOON)
    other.path.unlink()
    later = datetime.now(UTC) + timedelta(seconds=1)
    assert clean_incoming(spool, older_than=later - timedelta(days=2)) == {}
    (left,) = clean_incoming(spool, older_than=later)
    assert left.name == reason_path(other.path).name
    assert not left.exists()
    assert read_reason(parked.path) is not None


def test_second_corrupt_archive_of_one_name_gets_a_number(spool: Path, put: PutArchive) -> None:
    contents = [b"one", b"twice", b"third time"]
    found = [
        quarantine(spool, waiting(spool, put, content), CORRUPT, at=NOON) for content in contents
    ]
    base = found[0].path.name
    assert [f.path.name for f in found] == [base, f"{base}.2", f"{base}.3"]
    assert [f.path.read_bytes() for f in found] == contents
    assert list_quarantined(spool) == found
    assert all(read_reason(f.path) for f in found)


OTHERS = [b"ARCHIVE", b"of another size"]


@pytest.mark.parametrize("other", OTHERS)
def test_file_with_the_name_of_a_parked_archive_is_quarantined(
    spool: Path, put: PutArchive, other: bytes
) -> None:
    """Whoever may write to the spool may make it; the parked one may be the only copy."""
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    later = ParkedError("it cannot be read", remedy="check the disk")
    newcomer = park(spool, waiting(spool, put, other), later, at=NOON + timedelta(hours=1))

    assert list_parked(spool) == [parked]
    assert parked.path.read_bytes() == b"archive"
    reason = read_reason(parked.path)
    assert reason is not None
    assert reason.reason == BEHIND.problem
    assert list_quarantined(spool) == [newcomer]
    assert newcomer.path.read_bytes() == other
    reason = read_reason(newcomer.path)
    assert reason is not None
    assert "is not the archive that is parked under its name" in reason.reason
    assert list_waiting(spool) == []


@pytest.mark.parametrize("other", OTHERS)
def test_verified_archive_takes_its_parked_name_from_one_that_is_not(
    spool: Path, put: PutArchive, other: bytes
) -> None:
    park(spool, waiting(spool, put, other), BEHIND, at=NOON)
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON, verified=True)
    assert parked.path.read_bytes() == b"archive"
    (aside,) = list_quarantined(spool)
    assert aside.path.read_bytes() == other
    again = park(spool, waiting(spool, put, other), BEHIND, at=NOON, verified=True)
    assert again.state is SpoolState.QUARANTINED
    assert parked.path.read_bytes() == b"archive"


@pytest.mark.parametrize("other", OTHERS)
def test_file_with_the_name_of_a_verified_archive_is_quarantined(
    spool: Path, put: PutArchive, other: bytes
) -> None:
    """An archive that is unparked or applied was read to its last byte; the other file was not."""
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    put(content=other)
    archive = unpark(spool, parked)
    put(content=other, applied=True)
    applied = mark_applied(spool, archive)

    assert applied.path.read_bytes() == b"archive"
    assert [a.path.read_bytes() for a in list_quarantined(spool)] == [other, other]
    reasons = [read_reason(a.path) for a in list_quarantined(spool)]
    assert all(reason and "with other content" in reason.reason for reason in reasons)


def test_same_archive_uploaded_again_changes_nothing(spool: Path, put: PutArchive) -> None:
    """The parked file stays: its bytes cannot change through a connection that made the other."""
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    inode = parked.path.stat().st_ino
    assert park(spool, waiting(spool, put), BEHIND, at=NOON) == parked
    assert parked.path.stat().st_ino == inode
    assert list_quarantined(spool) == []
    assert list_waiting(spool) == []


@pytest.mark.parametrize(
    "change",
    [
        mark_applied,
        unpark,
        lambda spool, archive: park(spool, archive, BEHIND, at=NOON),
        lambda spool, archive: quarantine(spool, archive, CORRUPT, at=NOON),
    ],
)
def test_archive_that_vanished_is_one_sentence(
    spool: Path, put: PutArchive, change: Callable[[Path, SpooledArchive], object]
) -> None:
    archive = waiting(spool, put)
    archive.path.unlink()
    with pytest.raises(ArchiveGoneError, match="disappeared from"):
        change(spool, archive)


def test_missing_folder_is_an_access_error_that_waits(spool: Path, put: PutArchive) -> None:
    archive = waiting(spool, put)
    (spool / "parked").rmdir()
    with pytest.raises(SpoolAccessError, match="No such file") as caught:
        park(spool, archive, BEHIND, at=NOON)
    assert isinstance(caught.value, ParkedError)
    assert list_waiting(spool) == [archive]


def test_damaged_reason_is_no_reason_to_stop(spool: Path, put: PutArchive) -> None:
    parked = park(spool, waiting(spool, put), BEHIND, at=NOON)
    reason_path(parked.path).write_bytes(b"\xff{")
    assert read_reason(parked.path) is None
    assert park(spool, parked, BEHIND, at=NOON) == parked
    assert read_reason(parked.path) is not None


CHANGES: dict[str, tuple[Callable[[Path, SpooledArchive], SpooledArchive], SpoolState]] = {
    "apply": (mark_applied, SpoolState.APPLIED),
    "park": (lambda s, a: park(s, a, BEHIND, at=NOON), SpoolState.PARKED),
    "unpark": (unpark, SpoolState.WAITING),
    "quarantine": (lambda s, a: quarantine(s, a, CORRUPT, at=NOON), SpoolState.QUARANTINED),
}
# What the operating system is asked to do to a file: each is a point where a process can die.
STEPS = {"open", "os.rename", "os.remove", "os.mkdir"}


def kill_at(step: int, change: Callable[[], object]) -> bool:
    """Run ``change`` in a child that dies before its ``step``-th step; True if it died."""
    child = os.fork()
    if child == 0:  # pragma: no cover  another process
        seen = 0

        def count(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in STEPS:
                seen += 1
                if seen == step:
                    os._exit(9)

        sys.addaudithook(count)
        _run_and_leave(change)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, 9}
    return code == 9


def _run_and_leave(change: Callable[[], object]) -> NoReturn:
    try:
        change()
    except BaseException:  # noqa: BLE001  a forked child must not return into pytest
        os._exit(1)
    os._exit(0)


@pytest.mark.parametrize("kind", list(ArchiveKind))
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("another_account", [False, True])
def test_killed_between_any_two_steps_the_next_run_ends_where_an_unbroken_one_does(
    spool: Path, put: PutArchive, name: str, kind: ArchiveKind, *, another_account: bool
) -> None:
    if another_account:
        require_root("give a file away")
    change, state = CHANGES[name]
    for step in range(1, 60):
        path = put(kind)
        if another_account:
            os.chown(path, 65534, 65534)
        (archive,) = list_waiting(spool)
        if name == "unpark":
            archive = park(spool, archive, BEHIND, at=NOON)
        died = kill_at(step, lambda archive=archive: change(spool, archive))  # type: ignore[misc]

        everywhere = [
            *list_waiting(spool),
            *list_applied(spool),
            *list_parked(spool),
            *list_quarantined(spool),
        ]
        assert [a.path.read_bytes() for a in everywhere] == [b"archive"]
        ended = change(spool, everywhere[0])
        assert ended.state is state
        expected = {str(ended.path.relative_to(spool))}
        if state in {SpoolState.PARKED, SpoolState.QUARANTINED}:
            expected.add(str(reason_path(ended.path).relative_to(spool)))
        assert {f for f in files(spool) if "/.writing-" not in f} == expected
        for file in files(spool):
            (spool / file).unlink()
        if not died:
            assert step > 1
            return
    pytest.fail("the change has more steps than this test counts")
