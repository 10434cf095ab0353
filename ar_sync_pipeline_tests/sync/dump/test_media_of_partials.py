"""A partial contains the media files that are new or changed since the receiver's state, no others.

It never contains fewer: a file whose state the sender does not know for certain is sent.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.archive import file_stamp
from ar_sync_pipeline.sync.dump.media_journal import MEDIA_JOURNAL
from ar_sync_pipeline.sync.dump.sender_journal import KEPT_COMPLETES
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal
from ar_sync_pipeline_tests.sync.fix_differential import carried_files
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names

PICTURES = 171
OLD = time.time() - 86400


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    """Return 171 rows with a media file, a day old, and a receiver that has all of them."""
    for number in range(1, PICTURES + 1):
        put(media_sender, f"{number}.jpeg", f"picture {number}")
    media_sender.sites.at_sender(
        f"UPDATE app_child SET picture = id || '.jpeg' WHERE id <= {PICTURES}"
    )
    media_sender.complete()
    media_sender.sites.load()
    return media_sender


def put(sender: MediaSender, name: str, text: str, at: float = OLD) -> None:
    path = sender.media / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def touch_rows(sites: TwoSites) -> None:
    """Change every row with a media file, so that the next partial contains it."""
    sites.at_sender("UPDATE app_child SET amount = amount + 1 WHERE picture IS NOT NULL")


def received(sites: TwoSites) -> dict[str, str]:
    folder = sites.receiver_media
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.long
def test_rows_come_along_and_their_pictures_are_not_sent_again(sender: MediaSender) -> None:
    for _ in range(2):
        touch_rows(sender.sites)
        manifest = sender.partial()
        assert sum(t.row_count for t in manifest.tables if t.name == "app_child") >= PICTURES
        assert names(manifest) == []
        sender.sites.load()


@pytest.mark.long
def test_pictures_are_not_sent_again_while_the_archive_waits(sender: MediaSender) -> None:
    put(sender, "1.jpeg", "changed")
    touch_rows(sender.sites)
    assert names(sender.partial()) == ["1.jpeg"]
    touch_rows(sender.sites)
    assert names(sender.partial()) == []
    sender.sites.load()
    assert received(sender.sites)["1.jpeg"] == "changed"


def test_file_that_becomes_visible_after_its_time_is_sent(sender: MediaSender) -> None:
    """A moved file keeps its time: the partial before could not find it, the window has begun."""
    ten_minutes_before_the_end = time.time() - 3600 - 600
    put(sender, "moved.jpeg", "an upload", at=ten_minutes_before_the_end)
    assert names(sender.partial()) == ["moved.jpeg"]
    sender.sites.load()
    assert names(sender.partial()) == []
    assert received(sender.sites)["moved.jpeg"] == "an upload"


@pytest.mark.long
def test_file_that_became_visible_late_is_sent_again_after_its_archive_was_lost(
    sender: MediaSender,
) -> None:
    """No row names it, and the link is down until its time is long over."""
    put(sender, "moved.jpeg", "an upload", at=time.time() - 600)
    for minutes in (60, 90, 120):
        lost = sender.publish(sender.bundled_partial(timedelta(minutes=minutes)))
        assert names(lost) == ["moved.jpeg"]
        sender.waiting(lost).unlink()
    sender.partial()
    sender.sites.load()
    assert received(sender.sites)["moved.jpeg"] == "an upload"
    assert names(sender.publish(sender.bundled_partial(timedelta(minutes=150)))) == []


def test_changed_picture_is_sent_though_its_time_is_old(sender: MediaSender) -> None:
    put(sender, "5.jpeg", "PICTURE 5")
    touch_rows(sender.sites)
    assert names(sender.partial()) == ["5.jpeg"]


def test_picture_that_was_only_touched_is_not_sent(sender: MediaSender) -> None:
    put(sender, "5.jpeg", "picture 5", at=time.time())
    assert names(sender.partial()) == []


@pytest.mark.long
def test_lost_archive_s_pictures_are_sent_again(sender: MediaSender) -> None:
    put(sender, "1.jpeg", "changed")
    touch_rows(sender.sites)
    lost = sender.partial()
    sender.waiting(lost).unlink()
    touch_rows(sender.sites)
    # The first partial closes the gap; the second starts after it.
    assert names(sender.partial()) == ["1.jpeg"]
    sender.sites.load()
    touch_rows(sender.sites)
    assert names(sender.partial()) == []
    assert received(sender.sites)["1.jpeg"] == "changed"


@pytest.mark.long
def test_archive_that_was_lost_vouches_for_nothing_later(sender: MediaSender) -> None:
    """Its snapshot is earlier than the receiver's state, but the receiver never had it."""
    put(sender, "new.jpeg", "new")
    sites = sender.sites
    sites.at_sender("UPDATE app_child SET picture = 'new.jpeg' WHERE id = 900")
    sender.waiting(sender.partial()).unlink()
    sites.at_sender("UPDATE app_child SET picture = NULL WHERE id = 900")
    assert names(sender.partial()) == []
    sites.load()
    sites.at_sender("UPDATE app_child SET picture = 'new.jpeg' WHERE id = 900")
    assert names(sender.partial()) == ["new.jpeg"]


@pytest.mark.parametrize("completes", [1, KEPT_COMPLETES + 1])
@pytest.mark.long
def test_completes_of_a_clock_that_was_ahead_make_no_picture_new_for_ever(
    sender: MediaSender, completes: int
) -> None:
    """They are dated after all that is made later, so the new pictures are in none of them."""
    sites, right = sender.sites, sender.sites.clock
    sites.clock = lambda: datetime.now(UTC) + timedelta(days=300)
    for _ in range(completes):
        sender.complete()
    sites.clock = right
    assert sites.load().loaded == ()
    put(sender, "new.jpeg", "new")
    put(sender, "1.jpeg", "changed")
    sites.at_sender("UPDATE app_child SET picture = 'new.jpeg' WHERE id = 900")
    touch_rows(sites)
    assert {"new.jpeg", "1.jpeg"} <= set(names(sender.partial()))
    sites.load()
    touch_rows(sites)
    assert names(sender.partial()) == []
    sites.load()
    if completes > 1:  # The journal of the complete before them is lost with them.
        sender.complete()
        sites.load()
    assert carried_files(sender.complete()) == []
    assert received(sites)["new.jpeg"] == "new"


@pytest.mark.parametrize("lost", [MEDIA_JOURNAL, SENT_FILE])
@pytest.mark.parametrize("damage", ["removed", "garbage"])
def test_lost_journal_makes_a_partial_larger_never_smaller(
    sender: MediaSender, lost: str, damage: str
) -> None:
    path = sender.scratch / lost
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(b"no journal" * 1000)
    touch_rows(sender.sites)
    carried = len(names(sender.partial()))
    assert carried in ({PICTURES} if lost == MEDIA_JOURNAL else {0, PICTURES})


@pytest.mark.long
def test_receiver_that_was_set_back_gets_the_files_of_later_archives_again(
    sender: MediaSender,
) -> None:
    checkpoint = sender.sites.spool / "receipts" / "position.json"
    before = checkpoint.read_bytes()
    put(sender, "1.jpeg", "changed")
    touch_rows(sender.sites)
    sender.partial()
    sender.sites.load()
    checkpoint.write_bytes(before)
    touch_rows(sender.sites)
    assert names(sender.partial()) == ["1.jpeg"]


@pytest.mark.long
def test_version_that_comes_back_is_sent_again(sender: MediaSender) -> None:
    for text in ("other", "picture 1"):
        put(sender, "1.jpeg", text)
        touch_rows(sender.sites)
        assert names(sender.partial()) == ["1.jpeg"]
    sender.sites.load()
    assert received(sender.sites)["1.jpeg"] == "picture 1"


def test_version_that_comes_back_is_sent_where_an_archive_after_a_gap_had_another(
    sender: MediaSender,
) -> None:
    """The receiver may have the other version although its unbroken chain ends before it."""
    put(sender, "1.jpeg", "other")
    touch_rows(sender.sites)
    sender.waiting(sender.partial()).unlink()
    put(sender, "1.jpeg", "picture 1")
    touch_rows(sender.sites)
    assert names(sender.partial()) == ["1.jpeg"]


@pytest.mark.long
def test_file_that_becomes_a_folder_and_back_is_followed(sender: MediaSender) -> None:
    sites, path = sender.sites, sender.media / "7.jpeg"
    path.unlink()
    put(sender, "7.jpeg/a.jpeg", "within", at=time.time())
    assert names(sender.partial()) == ["7.jpeg/a.jpeg"]
    sites.load()
    assert received(sites)["7.jpeg/a.jpeg"] == "within"
    aside = path.rename(sender.media.parent / "aside")
    put(sender, "7.jpeg", "picture 7")
    touch_rows(sites)
    assert names(sender.partial()) == ["7.jpeg"]
    sites.load()
    assert received(sites)["7.jpeg"] == "picture 7"
    path.unlink()
    aside.rename(path)
    sites.at_sender("UPDATE app_child SET picture = '7.jpeg/a.jpeg' WHERE id = 7")
    assert names(sender.partial()) == ["7.jpeg/a.jpeg"]
    sites.load()
    assert received(sites)["7.jpeg/a.jpeg"] == "within"


def test_complete_carries_everything(sender: MediaSender) -> None:
    assert len(names(sender.complete())) == PICTURES


@pytest.mark.long
def test_complete_that_is_not_applied_costs_nothing(sender: MediaSender) -> None:
    """While it waits, it counts; once it is refused, the archives before it count."""
    waiting = sender.waiting(sender.complete())
    touch_rows(sender.sites)
    assert names(sender.partial()) == []
    waiting.unlink()
    touch_rows(sender.sites)
    assert names(sender.partial()) == []


@pytest.mark.long
def test_journal_stays_small(sender: MediaSender) -> None:
    """It has the newest complete and the one before it, and what was sent after that one."""
    for _ in range(4):
        sender.complete()
        sender.sites.load()
        sender.partial()
    size = (sender.scratch / MEDIA_JOURNAL).stat().st_size
    assert size < 3 * PICTURES * 250 + 65536


@pytest.mark.long
def test_file_of_any_year_prevents_no_archive(
    media_sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a camera or a phone with a wrong clock, by `rsync -t` or SFTP."""
    monkeypatch.setattr(file_stamp, "_STABLE_AFTER_NS", -1)
    sites = media_sender.sites
    for number, year in enumerate((1677, 1902, 1969, 2106, 2262, 2263, 2300, 2446, 9999), 1):
        at = datetime(year, 12, 31, tzinfo=UTC).timestamp()
        put(media_sender, f"{number}.jpeg", "a picture", at)
    for send in (media_sender.complete, media_sender.partial, media_sender.complete):
        sites.at_sender("UPDATE app_child SET picture = id || '.jpeg' WHERE id BETWEEN 2 AND 9")
        send()
        assert [str(one) for one in sites.load().refused] == []
        assert equal(sites)
        assert len(received(sites)) == 9
    put(media_sender, "7.jpeg", "PICTURES ", datetime(2299, 1, 1, tzinfo=UTC).timestamp())
    touch_rows(sites)
    assert names(media_sender.partial()) == ["7.jpeg"]
    sites.load()
    assert received(sites)["7.jpeg"] == "PICTURES "
