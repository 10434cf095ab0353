"""What the sender's journal remembers: the last days, and the newest completes at any age."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from ar_sync_pipeline.archive.manifest import Manifest, Watermark, Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState
from ar_sync_pipeline.sync.dump.assemble import archive_id_of
from ar_sync_pipeline.sync.dump.believed_checkpoint import checkpoint_problem
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.kept_manifests import keep_manifest, kept_manifest
from ar_sync_pipeline.sync.dump.sender_journal import (
    announce,
    begin_at,
    has_unknown,
    read_announced,
    read_begun,
    read_points,
    read_sent,
    record_arrival,
    remember_receipts,
    remember_sent,
)
from ar_sync_pipeline.sync.watch.sender_status import sender_status
from ar_sync_pipeline_tests.archive.building import make_manifest
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

START = datetime(2026, 11, 1, 3, 30, tzinfo=UTC)
DAY = timedelta(days=1)
COMPLETE, PARTIAL = ArchiveKind.COMPLETE, ArchiveKind.PARTIAL


def point(day: float) -> Watermark:
    number = int(1000 * day) + 10
    mark = Watermark(
        snapshot_at=START + day * DAY,
        snapshot=f"{number}:{number}:",
        system_identifier="7",
        timeline=1,
    )
    return mark.model_copy(update={"archive_id": archive_id_of(mark)})


def manifest_at(kind: ArchiveKind, at: datetime) -> Manifest:
    window = Window(start=at - DAY, end=at) if kind is PARTIAL else None
    name = uuid5(NAMESPACE_OID, f"{kind} {at}")
    return make_manifest(archive_id=name, kind=kind, snapshot_at=at, window=window)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


Send = Callable[[ArchiveKind, float], Manifest]


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """Record an archive that is dated and sent a number of days after the start."""

    def send(kind: ArchiveKind, day: float) -> Manifest:
        mark = point(day)
        manifest = manifest_at(kind, mark.snapshot_at).model_copy(
            update={"archive_id": mark.archive_id, "watermark": mark}
        )
        keep_manifest(tmp_path, manifest)
        remember_sent(tmp_path, manifest, 1, mark.snapshot_at)
        return manifest

    return send


def remembered(scratch: Path, kind: ArchiveKind = COMPLETE) -> list[float]:
    """Return the days of the archives of a kind."""
    found = [a.watermark.snapshot_at for a in read_sent(scratch) if a.kind is kind]
    return [(at - START) / DAY for at in found]


def report(scratch: Path, manifest: Manifest, state: ReceiptState) -> None:
    name = manifest.name.applied
    remember_receipts(scratch, {name: Receipt(archive=name, state=state, at=START)})


def test_newest_completes_are_remembered_at_any_age(tmp_path: Path, send: Send) -> None:
    for day in range(5):
        send(COMPLETE, day)
        send(PARTIAL, day + 0.5)
    send(PARTIAL, 40)
    assert remembered(tmp_path) == [2, 3, 4]
    assert remembered(tmp_path, PARTIAL) == [40]
    send(COMPLETE, 41)
    send(PARTIAL, 80)
    assert remembered(tmp_path) == [3, 4, 41]


def test_newest_applied_complete_is_remembered_besides(tmp_path: Path, send: Send) -> None:
    """The next one is compared with it, and its manifest stays, too."""
    first = send(COMPLETE, 0)
    report(tmp_path, first, ReceiptState.APPLIED)
    for day in range(1, 5):
        send(COMPLETE, day)
    send(PARTIAL, 20)
    assert remembered(tmp_path) == [0, 2, 3, 4]
    send(COMPLETE, 21)
    kept = {a.name for a in read_sent(tmp_path) if kept_manifest(tmp_path, a)}
    assert first.name.applied in kept


def begin_complete(scratch: Path, day: float) -> tuple[BuildFolder, Manifest]:
    """Begin the upload of a complete, and return its build folder."""
    mark = point(day)
    manifest = manifest_at(COMPLETE, mark.snapshot_at).model_copy(
        update={"archive_id": mark.archive_id, "watermark": mark}
    )
    build = open_build(scratch, str(day))
    (build.path / "TableDump.json").write_text(f'{{"watermark": {mark.model_dump_json()}}}')
    announce(scratch, manifest, mark.snapshot_at, START)
    keep_manifest(scratch, manifest)
    return build, manifest


def test_manifest_of_a_complete_on_its_way_is_kept_beside_that_of_another_one(
    scratch: Path, send: Send
) -> None:
    """The second run was started by hand and fails; the first one arrives."""
    build, first = begin_complete(scratch, 0)
    keep_manifest(scratch, manifest_at(COMPLETE, START + DAY / 9))
    remember_sent(scratch, first, 1, START + DAY / 4)
    (sent,) = read_sent(scratch)
    assert kept_manifest(scratch, sent) is not None
    build.remove()
    for day in range(1, 5):
        send(COMPLETE, day)
    assert kept_manifest(scratch, sent) is None, "three newer ones can be a base"


def test_manifests_of_completes_that_failed_are_not_kept(scratch: Path) -> None:
    """Each may have tens of MB, and a receiver may have no space for weeks."""
    for day in range(1, 6):
        build, manifest = begin_complete(scratch, day)
        build.remove()
    (left,) = scratch.glob("ar_sync_manifest_*")
    assert str(manifest.archive_id) in left.name


def test_receipt_of_an_old_complete_is_recorded(tmp_path: Path, send: Send) -> None:
    complete = send(COMPLETE, 0)
    send(PARTIAL, 20)
    report(tmp_path, complete, ReceiptState.QUARANTINED)
    (found,) = (a for a in read_sent(tmp_path) if a.kind is COMPLETE)
    assert (found.heard, found.state) == (True, ReceiptState.QUARANTINED)


def test_old_complete_that_is_sent_again_is_listed_once(tmp_path: Path, send: Send) -> None:
    complete = send(COMPLETE, 0)
    send(PARTIAL, 20)
    remember_sent(tmp_path, complete, 2, START + 20 * DAY)
    (found,) = (a for a in read_sent(tmp_path) if a.kind is COMPLETE)
    assert found.size_bytes == 2


def test_restored_receiver_may_name_a_point_that_was_forgotten(tmp_path: Path, send: Send) -> None:
    """It is between an old complete, which is remembered, and the last days."""
    send(COMPLETE, 0)
    send(PARTIAL, 10)
    send(PARTIAL, 20)
    points, now = read_points(tmp_path), START + 20 * DAY
    assert points == (point(20),)
    for day in (0, 10, 11):
        assert checkpoint_problem(point(day), points, now) is None
    assert "never sent" in str(checkpoint_problem(point(20.1), points, START + 21 * DAY))


def test_clock_that_was_ahead_forgets_no_complete(tmp_path: Path, send: Send) -> None:
    send(COMPLETE, 0)
    send(PARTIAL, 0.5)
    send(PARTIAL, 400)
    send(PARTIAL, 1)
    assert remembered(tmp_path) == [0]
    assert remembered(tmp_path, PARTIAL) == [1, 400]
    # What the wrong clock made it forget stays unknown, or the points between would be forged.
    assert checkpoint_problem(point(0.5), read_points(tmp_path), START + DAY) is None


def test_status_says_for_more_than_a_week_that_completes_have_stopped(
    media_sender: MediaSender,
) -> None:
    first = media_sender.complete()
    media_sender.sites.load()
    hours = [first.snapshot_at + timedelta(hours=hour) for hour in range(5, 20 * 24, 5)]
    for now in hours:
        remember_sent(media_sender.scratch, manifest_at(PARTIAL, now), 1, now)
        age = now - first.snapshot_at
        if timedelta(hours=30) < age < timedelta(hours=31) or age % (4 * DAY) < DAY / 4:
            status = sender_status(media_sender.settings, now)
            is_overdue = age > timedelta(hours=30)
            assert ("no complete has come since" in status.lag.because) is is_overdue, age
            assert [one.kind for one in status.newest] == [COMPLETE, PARTIAL]
    sent = next(one for one in status.archives if one.state == "sent")
    assert sent.count == len([at for at in hours if at > now - 8 * DAY])


def test_archive_that_is_not_in_the_journal_is_one_of_a_history_that_was_lost(
    tmp_path: Path, send: Send
) -> None:
    first, newest = send(COMPLETE, 0), send(PARTIAL, 2)

    def unknown(*days: float, since: Watermark | None = None) -> bool:
        return has_unknown(tmp_path, [START + day * DAY for day in days], since, START + 3 * DAY)

    assert unknown(0, 1)
    assert unknown(2.5, since=newest.watermark)
    assert unknown(1, since=first.watermark)
    assert not unknown(0, 2)
    assert not unknown(1, since=newest.watermark), "the checkpoint tells what came before it"
    assert not unknown(4), "its clock was ahead"


def test_archive_whose_upload_seemed_to_fail_is_known_while_the_receiver_applies_nothing(
    tmp_path: Path, send: Send
) -> None:
    """Its rename was answered by a broken link; the receiver parks it with all others."""
    reached = send(COMPLETE, 0).watermark
    for day in range(1, 30):
        mark = point(day)
        failed = manifest_at(PARTIAL, mark.snapshot_at).model_copy(update={"watermark": mark})
        announce(tmp_path, failed, mark.snapshot_at, reached.snapshot_at)
        record_arrival(tmp_path, mark.snapshot_at, possible=True)
        later = manifest_at(PARTIAL, START + (day + 0.5) * DAY)
        remember_sent(tmp_path, later, 1, later.snapshot_at, reached.snapshot_at)
    dates = [START + day * DAY for day in range(1, 30)]
    assert not has_unknown(tmp_path, dates, reached, START + 30 * DAY)
    reached = point(20)
    newest = manifest_at(PARTIAL, START + 30 * DAY)
    announce(tmp_path, newest, newest.snapshot_at, reached.snapshot_at)
    announced = {p.snapshot_at for p in read_points(tmp_path)} & {*dates}
    assert min(announced) == reached.snapshot_at, "the journal does not grow without end"


@pytest.mark.parametrize("refused", [True, False], ids=["rename is refused", "disk is full"])
def test_archives_that_cannot_have_arrived_are_forgotten_while_the_receiver_applies_nothing(
    tmp_path: Path, send: Send, *, refused: bool
) -> None:
    """Each attempt is an archive of its own: some hundred a day, for as long as it lasts."""
    reached = send(COMPLETE, 0).watermark
    for day in range(1, 30):
        mark = point(day)
        failed = manifest_at(PARTIAL, mark.snapshot_at).model_copy(update={"watermark": mark})
        announce(tmp_path, failed, mark.snapshot_at, reached.snapshot_at)
        for possible in (True, False) if refused else ():
            record_arrival(tmp_path, mark.snapshot_at, possible=possible)
    announced = [(p.snapshot_at - START) / DAY for p in read_announced(tmp_path)]
    assert announced == [22, 23, 24, 25, 26, 27, 28, 29]


def test_archives_from_before_a_lost_journal_are_not_unknown(tmp_path: Path, send: Send) -> None:
    dates = [START + DAY]
    assert not has_unknown(tmp_path, dates, None, START + 3 * DAY)
    send(PARTIAL, 2)
    assert not has_unknown(tmp_path, dates, None, START + 3 * DAY)


def test_archives_that_the_journal_has_forgotten_are_not_unknown(
    tmp_path: Path, send: Send
) -> None:
    """A receiver that was restored may have them after its checkpoint."""
    complete = send(COMPLETE, 0)
    for day in (10, 20):
        send(PARTIAL, day)
    dates = [START + day * DAY for day in (10, 11)]
    assert not has_unknown(tmp_path, dates, complete.watermark, START + 21 * DAY)


def test_archive_of_the_receivers_checkpoint_is_remembered_at_any_age(
    tmp_path: Path, send: Send
) -> None:
    """The receiver may apply nothing for longer than the journal reaches."""
    send(PARTIAL, 0)
    reached = send(PARTIAL, 1)
    for day in (2, 20):
        manifest = manifest_at(PARTIAL, START + day * DAY).model_copy(
            update={"watermark": point(day)}
        )
        remember_sent(tmp_path, manifest, 1, START + day * DAY, reached.snapshot_at)
    assert remembered(tmp_path, PARTIAL) == [1, 2, 20]
    points = read_points(tmp_path)
    assert checkpoint_problem(reached.watermark, points, START + 20 * DAY) is None


def test_two_dumps_that_begin_together_have_two_dates(tmp_path: Path) -> None:
    """The clock is set back, so both are dated after the same archive."""
    tick = timedelta(microseconds=1)
    dates = [begin_at(tmp_path, START - DAY, START) for _ in range(2)]
    assert dates == [START + tick, START + 2 * tick]
    assert read_begun(tmp_path) == (*dates,)
    assert begin_at(tmp_path, START + DAY, START) == START + DAY
