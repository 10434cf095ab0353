"""What is admitted becomes a file of the receiver's account, whoever published it."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.errors import ParkedError
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.ownership import remove_dead_copies, take_ownership
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    clean_incoming,
    list_applied,
    list_waiting,
    mark_applied,
    park,
    unpark,
)
from ar_sync_pipeline_tests.missing_parts import only_root
from ar_sync_pipeline_tests.spool.conftest import NOON, PutArchive

pytestmark = only_root("give a file away")

NOBODY = 65534
CONTENT = os.urandom(3 * 2**20 + 1)
YESTERDAY, TOMORROW = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
BEHIND = ParkedError("migration 0035 is missing", remedy="migrate the receiver")


@pytest.fixture
def published(spool: Path, put: PutArchive) -> SpooledArchive:
    path = put(content=CONTENT)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o660)
    os.utime(path, (1_000_000_000, 1_100_000_000))
    (archive,) = list_waiting(spool)
    return archive


def test_admitted_archive_is_a_copy_with_the_same_age_and_readers(
    spool: Path, published: SpooledArchive
) -> None:
    before = published.path.stat()
    admitted = unpark(spool, published)
    after = admitted.path.stat()
    assert admitted == published
    assert after.st_ino != before.st_ino
    assert (after.st_uid, after.st_gid, after.st_mode & 0o7777) == (0, NOBODY, 0o640)
    assert after.st_mtime_ns == before.st_mtime_ns
    assert admitted.path.read_bytes() == CONTENT
    assert list((spool / "parked").iterdir()) == []


@pytest.mark.parametrize(
    "change", [mark_applied, lambda s, a: mark_applied(s, park(s, a, BEHIND, at=NOON))]
)
def test_archive_that_is_applied_without_having_been_admitted_becomes_the_receivers_too(
    spool: Path,
    published: SpooledArchive,
    change: Callable[[Path, SpooledArchive], SpooledArchive],
) -> None:
    applied = change(spool, published)
    assert applied.path.stat().st_uid == 0
    assert applied.path.read_bytes() == CONTENT
    assert list_applied(spool) == [applied]


def test_own_archive_is_not_copied(spool: Path, put: PutArchive) -> None:
    inode = put().stat().st_ino
    (archive,) = list_waiting(spool)
    assert unpark(spool, archive).path.stat().st_ino == inode


def test_connection_that_still_writes_does_not_keep_the_copy_from_ending(
    spool: Path, published: SpooledArchive
) -> None:
    with published.path.open("ab") as kept_open:
        unpark(spool, published)
        kept_open.write(b"more")
    assert published.path.read_bytes() == CONTENT


def test_archive_without_space_for_a_copy_stays_as_it_is(
    spool: Path, published: SpooledArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loads free space in the spool, so a full one must not stop them."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    assert unpark(spool, published) == published
    assert published.path.stat().st_uid == NOBODY
    assert published.path.read_bytes() == CONTENT
    assert list((spool / "parked").iterdir()) == []


def test_larger_archive_than_the_free_space_is_not_copied(
    published: SpooledArchive,
) -> None:
    os.truncate(published.path, 2**43)
    take_ownership(published.path)
    assert published.path.stat().st_uid == NOBODY


# The first block is on the disk when it waits for the second.
COPIER = """
import os, sys, time
from itertools import count
from pathlib import Path
from ar_sync_pipeline.spool import ownership
read, calls = os.read, count()
def slow(fd, size):
    if next(calls):
        print("copies", flush=True)
        time.sleep(600)
    return read(fd, size)
os.read = slow
ownership.take_ownership(Path(sys.argv[1]))
"""


def test_copy_of_a_killed_process_is_removed_and_that_of_a_running_one_is_not(
    spool: Path, published: SpooledArchive
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COPIER, published.path],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copies\n"
        (copy,) = (spool / "parked").iterdir()
        # The disk has been slow for ten seconds.
        os.utime(copy, (time.time() - 10,) * 2)
        remove_dead_copies(spool)
        assert copy.exists()
        assert clean_incoming(spool, older_than=TOMORROW) == {}
    finally:
        process.kill()
        process.communicate()
    assert set(clean_incoming(spool, older_than=TOMORROW, dry_run=True)) == {copy}
    remove_dead_copies(spool)
    assert not copy.exists()
    assert unpark(spool, published).path.read_bytes() == CONTENT


@pytest.mark.parametrize("has_locks", [True, False])
def test_copy_of_an_archive_that_waited_for_days_is_no_abandoned_upload(
    spool: Path, published: SpooledArchive, monkeypatch: pytest.MonkeyPatch, *, has_locks: bool
) -> None:
    """The sensor of completes removes those, also while an admission flushes its copy."""
    flush, removed = os.fsync, list[object]()

    def flush_meanwhile(fd: int) -> None:
        older_than = TOMORROW if has_locks else YESTERDAY
        removed.append(clean_incoming(spool, older_than=older_than))
        flush(fd)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if not has_locks:
        monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(os, "fsync", flush_meanwhile)
    admitted = unpark(spool, published)
    assert removed
    assert not any(removed)
    assert admitted.path.stat().st_uid == 0
    assert admitted.path.stat().st_mtime == 1_100_000_000


def test_reason_that_another_process_writes_stays(spool: Path) -> None:
    reason = spool / "parked" / ".writing-0123456789abcdef"
    reason.write_bytes(b"reason")
    os.utime(reason, (0, 0))
    remove_dead_copies(spool)
    assert reason.exists()


def test_disk_that_fails_is_one_sentence_and_leaves_the_archive(
    spool: Path, published: SpooledArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", broken)
    with pytest.raises(SpoolAccessError, match="Input/output error"):
        unpark(spool, published)
    monkeypatch.undo()
    assert list_waiting(spool) == [published]
    assert published.path.read_bytes() == CONTENT
    assert list((spool / "parked").iterdir()) == []
