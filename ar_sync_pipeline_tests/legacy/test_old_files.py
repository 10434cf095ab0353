"""Files of the old system in the spool: when they are taken over and deleted, and their space."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.sync.load.retention import run_retention
from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.legacy.building import (
    REPORT,
    complete,
    dump,
    partial,
    report_row,
)
from ar_sync_pipeline_tests.legacy.conftest import OldReceiver
from ar_sync_pipeline_tests.missing_parts import require_root

MIB = 1024**2
REPORTS = 'SELECT id, message FROM "AndroidRequests_report" ORDER BY id'
OLD = "backup_2017-09-25__03_30_00.tar.gz"
NEW = "backup_complete_20170925T063000.000000Z.tar"


@pytest.mark.parametrize("repeated", [0, 1])
def test_d32_archive_of_a_repeated_hour_goes_when_its_conversion_goes(
    receiver: OldReceiver, repeated: int
) -> None:
    made_at = datetime(2017, 5, 14, 2 + repeated, 30, 2, tzinfo=UTC)
    receiver.offer(complete(made_at=int(made_at.timestamp())), stamp="2017-05-13__23_30_00")
    receiver.load()
    receiver.offer(complete(), stamp="2017-05-15__03_30_00")
    receiver.load()
    in_five_days = datetime.now(UTC) + timedelta(days=5)
    run_retention(receiver.settings, lambda: in_five_days, dry_run=False)
    assert receiver.files("complete") == [
        "backup_2017-05-15__03_30_00.tar.gz",
        "backup_complete_20170515T073000.000000Z.tar",
    ]


def test_two_archives_of_one_second_do_not_take_each_others_place(
    filled_receiver: OldReceiver,
) -> None:
    filled_receiver.offer(complete(dump({"report": (REPORT, [report_row(9)])})))
    (refused,) = filled_receiver.admit().quarantined
    assert "another archive of the same second was taken over before" in str(refused)
    assert filled_receiver.files("complete") == [OLD, NEW]
    assert len(rows(filled_receiver.receiver, REPORTS)) == 2


def test_archive_that_comes_again_is_taken_once(filled_receiver: OldReceiver) -> None:
    ledger = "SELECT archive_id, applied_at FROM ar_sync.applied_archive"
    before = rows(filled_receiver.receiver, ledger)
    filled_receiver.offer(complete())
    filled_receiver.load()
    assert rows(filled_receiver.receiver, ledger) == before
    assert filled_receiver.files("complete") == [OLD, NEW]
    assert filled_receiver.files("quarantine") == []


DYING = """
import json, os, signal, sys
from datetime import UTC, datetime
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.settings.model import load_receiver_settings
from ar_sync_pipeline.sync.load import admit
from ar_sync_pipeline.legacy import intake

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

holder = getattr(intake, sys.argv[1], None)
if holder is not None:
    setattr(intake, sys.argv[1], die)
else:
    setattr(intake._TakeOver, sys.argv[1], die)
admit.admit_archives(
    load_receiver_settings(json.loads(sys.argv[2])), load_catalog(), lambda: datetime.now(UTC)
)
"""


@pytest.mark.long
@pytest.mark.parametrize("point", ["_publish", "mark_applied"])
def test_run_that_is_killed_in_between_is_completed_by_the_next(
    receiver: OldReceiver, point: str
) -> None:
    """Before the new archive is in the spool, and between that and the old one's new name."""
    receiver.offer(complete())
    killed = subprocess.run(
        [sys.executable, "-c", DYING, point, json.dumps(environment(receiver))],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -9
    made = [f"NEW_{NEW}"] if point == "mark_applied" else []
    assert receiver.files("complete") == sorted([f"NEW_{OLD}", *made])
    (loaded,) = receiver.load().loaded
    assert verify_archive(receiver.spool / "complete" / NEW, signing_keys=()) == loaded.manifest
    assert receiver.files("complete") == [OLD, NEW]
    assert receiver.files("parked") == []
    assert rows(receiver.receiver, "SELECT count(*) FROM ar_sync.applied_archive") == [(1,)]


def environment(receiver: OldReceiver) -> dict[str, str]:
    return {
        "AR_SYNC_RECEIVER_DATABASE_URL": receiver.receiver,
        "AR_SYNC_RECEIVER_MEDIA_FLDR": str(receiver.receiver_media),
        "AR_SYNC_REMOTE_BKP_FLDR": str(receiver.spool),
        **receiver.environ,
    }


def test_old_files_go_with_what_they_were_converted_into(filled_receiver: OldReceiver) -> None:
    """And never before it was applied (D32)."""
    filled_receiver.offer(complete(), stamp="2017-09-26__03_30_00")
    waiting = filled_receiver.offer(partial({}), "partial", "2017-09-26__04_00_00")
    filled_receiver.load([ArchiveKind.COMPLETE])
    in_five_days = datetime.now(UTC) + timedelta(days=5)
    run_retention(filled_receiver.settings, lambda: in_five_days, dry_run=False)
    assert filled_receiver.files("complete") == [
        "backup_2017-09-26__03_30_00.tar.gz",
        "backup_complete_20170926T063000.000000Z.tar",
    ]
    assert waiting.exists()


def test_database_that_was_set_back_gets_them_again(filled_receiver: OldReceiver) -> None:
    execute(
        filled_receiver.receiver,
        "DELETE FROM ar_sync.applied_archive",
        'DELETE FROM "AndroidRequests_report"',
    )
    filled_receiver.load()
    assert len(rows(filled_receiver.receiver, REPORTS)) == 2


def test_d10_archive_that_is_still_being_uploaded_is_let_be(receiver: OldReceiver) -> None:
    """The old sender uploads under the final name; one that stalled continues where its file is."""
    content = complete()
    path = receiver.offer(b"")
    with path.open("r+b") as upload:
        upload.write(content[:300])
        upload.flush()
        admission = receiver.admit()
        assert (admission.parked, admission.quarantined) == ((), ())
        assert path.exists()
        a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
        os.utime(path, (a_minute_ago.timestamp(), a_minute_ago.timestamp()))
        (parked,) = receiver.admit().parked
        assert "ends too early, and was written to recently" in str(parked)
        upload.write(content[300:])
    (there,) = (receiver.spool / "parked").glob("*.tar.gz")
    os.utime(there, (a_minute_ago.timestamp(), a_minute_ago.timestamp()))
    receiver.load()
    assert len(rows(receiver.receiver, REPORTS)) == 2
    assert receiver.files("parked") == []


def test_archive_that_needs_more_space_than_there_is_waits(receiver: OldReceiver) -> None:
    path = receiver.offer(complete())
    with path.open("ab") as file:
        # Larger than any disk of a test machine, and takes no space on it.
        file.truncate(2**42)
    os.utime(path, (0, 0))
    (parked,) = receiver.admit().parked
    assert "waits for free space in the spool" in str(parked)


@contextmanager
def small_spool(receiver: OldReceiver, size_bytes: int) -> Iterator[None]:
    require_root("mount a small disk")
    options = f"size={size_bytes},mode=0755"
    folders = list(receiver.spool.iterdir())
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", receiver.spool], check=True)
    try:
        for folder in folders:
            folder.mkdir()
        yield
    finally:
        subprocess.run(["umount", receiver.spool], check=True)


def test_archive_that_unpacks_to_more_than_the_disk_has_stops_no_other(
    receiver: OldReceiver,
) -> None:
    """Three times its own bytes are free; what it contains needs a thousand times as many."""
    with small_spool(receiver, 12 * MIB):
        receiver.offer(complete(pictures={f"{n}.jpeg": bytes(2 * MIB) for n in range(4)}))
        receiver.offer(complete(), stamp="2017-09-26__03_30_00")
        for _ in range(2):
            receiver.admit()
            assert receiver.files("parked") == [
                "NEW_backup_complete_2017-09-25__03_30_00.tar.gz",
                "NEW_backup_complete_2017-09-25__03_30_00.tar.gz.reason.json",
            ]
            assert "backup_2017-09-26__03_30_00.tar.gz" in receiver.files("complete")
        subprocess.run(["mount", "-o", f"remount,size={40 * MIB}", receiver.spool], check=True)
        report = receiver.load()
        assert (len(report.loaded), report.refused) == (1, ())


@pytest.mark.long
def test_archive_for_which_the_disk_is_too_small_by_a_few_bytes_is_parked_too(
    receiver: OldReceiver,
) -> None:
    """Whatever is written when the space ends: a picture, a member, or the new archive."""
    parked = []
    for pages in range(0, 24, 2):
        with small_spool(receiver, 4 * MIB + pages * 4096):
            receiver.offer(complete(pictures={"bus.jpeg": bytes(2 * MIB)}))
            admission = receiver.admit()
            assert len(admission.parked) + len(admission.admitted) == 1
            assert all("waits for free space" in str(refused) for refused in admission.parked)
            parked.append(len(admission.parked))
    assert parked == sorted(parked, reverse=True)
    assert set(parked) == {0, 1}
