"""No file prevents the rows or other files: it is reported, and sent with a later archive."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.files import FreeSpace, create_file
from ar_sync_pipeline.media.errors import MediaUnreadableError
from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.media_file import MediaFile
from ar_sync_pipeline.media.safe_paths import open_parent
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_files import new_bundle_files
from ar_sync_pipeline.sync.dump.media_journal import open_journal
from ar_sync_pipeline.sync.dump.select_media import MediaSelection
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender, names

PICTURES = 200
OLD = time.time() - 86400
# As macOS names screenshots, with a narrow blank that Python does not call printable.
UNPRINTABLE = "shot 3.14\u202fPM.jpeg"


@pytest.fixture
def sender(media_sender: MediaSender) -> MediaSender:
    """Return a sender with 200 media files a day old, each named by a row."""
    for number in range(1, PICTURES + 1):
        put(media_sender.media / f"{number}.jpeg", f"picture {number}")
    media_sender.sites.at_sender(
        f"UPDATE app_child SET picture = id || '.jpeg' WHERE id <= {PICTURES}"
    )
    return media_sender


def put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (OLD, OLD))


@contextmanager
def again_and_again(write: Callable[[int], None], seconds: float) -> Iterator[None]:
    """Write repeatedly, like production, while the block runs."""
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(seconds):
            write(number)
            number += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def growing(path: Path) -> Callable[[int], None]:
    def write(_number: int) -> None:
        with path.open("ab") as file:
            file.write(b"x" * 1000)

    return write


def replaced(path: Path) -> Callable[[int], None]:
    def write(number: int) -> None:
        fresh = path.with_name(".fresh")
        fresh.write_text(f"version {number}")
        fresh.replace(path)

    return write


def quiet(*paths: Path) -> None:
    """Make files readable, with modification times a day ago."""
    for path in paths:
        path.chmod(0o644)
        os.utime(path, (OLD, OLD))


def omitted(sender: MediaSender) -> dict[str, str]:
    assert sender.bundle is not None
    return dict(sender.bundle.omitted)


def late(sender: MediaSender) -> dict[str, str]:
    assert sender.bundle is not None
    return dict(sender.bundle.late)


def same_media(sites: TwoSites, *, but: frozenset[str] = frozenset()) -> bool:
    return pictures(sites.sender_media, but) == pictures(sites.receiver_media, but)


def pictures(folder: Path, but: frozenset[str]) -> dict[str, bytes]:
    return {
        name: path.read_bytes()
        for path in folder.rglob("*.jpeg")
        if path.is_file() and (name := str(path.relative_to(folder))) not in but
    }


@pytest.mark.long
@pytest.mark.parametrize("kind", ["complete", "partial"])
def test_unreadable_growing_and_replaced_files_are_named_and_come_later(
    sender: MediaSender, kind: str
) -> None:
    sites = sender.sites
    if kind == "partial":
        sender.complete()
        sites.load()
        sites.at_sender("UPDATE app_child SET amount = amount + 1 WHERE picture IS NOT NULL")
        for number in range(1, PICTURES + 1):
            put(sender.media / f"{number}.jpeg", f"PICTURE {number}")
    secret, log, latest = (sender.media / f"{n}.jpeg" for n in ("17", "log", "latest"))
    for path in (log, latest):
        path.write_text("x")
    secret.chmod(0)
    started = time.monotonic()
    with ExitStack() as production:
        production.enter_context(permissions_count())
        production.enter_context(again_and_again(growing(log), 0.01))
        production.enter_context(again_and_again(replaced(latest), 0.25))
        manifest = sender.complete() if kind == "complete" else sender.partial()
    assert time.monotonic() - started < 60
    late = set(manifest.media_omitted)
    # A file that is being replaced may be read whole between two versions.
    assert {"17.jpeg", "log.jpeg"} <= late <= {"17.jpeg", "log.jpeg", "latest.jpeg"}
    assert len(set(names(manifest)) - {"latest.jpeg"}) == PICTURES - 1
    sites.load()
    assert equal(sites)
    if kind == "complete":
        assert same_media(sites, but=frozenset({*late, "latest.jpeg"}))
        assert late.isdisjoint(pictures(sites.receiver_media, frozenset()))

    quiet(secret, log)
    later = sender.partial()
    assert set(names(later)) - {"latest.jpeg"} == late - {"latest.jpeg"}
    assert later.media_omitted == ()
    sites.load()
    assert same_media(sites)
    # A file that the receiver now has is no longer owed.
    assert names(sender.partial()) == []


@pytest.mark.long
def test_archive_with_the_late_file_is_lost(sender: MediaSender) -> None:
    """The file is owed until the receiver has it."""
    secret = sender.media / "17.jpeg"
    secret.chmod(0)
    with permissions_count():
        sender.complete()
    sender.sites.load()
    quiet(secret)
    lost = sender.partial()
    assert names(lost) == ["17.jpeg"]
    sender.waiting(lost).unlink()
    assert names(sender.partial()) == ["17.jpeg"]
    sender.sites.load()
    assert names(sender.partial()) == []
    assert same_media(sender.sites)


@pytest.mark.long
def test_unreadable_subfolder_is_named_and_its_files_come_later(sender: MediaSender) -> None:
    for name in ("2017/a.jpeg", "2017/11/b.jpeg"):
        (sender.media / name).parent.mkdir(parents=True, exist_ok=True)
        put(sender.media / name, name)
    folder = sender.media / "2017"
    folder.chmod(0)
    with permissions_count():
        manifest = sender.complete()
        assert omitted(sender)["2017/"].startswith("it cannot be read (Permission denied")
        assert late(sender) == {}
        sender.sites.load()
        assert sender.partial().media_omitted == ("2017/",)
        assert [*late(sender)] == ["2017/"]
    assert len(names(manifest)) == PICTURES
    folder.chmod(0o755)
    assert names(sender.partial()) == ["2017/11/b.jpeg", "2017/a.jpeg"]
    assert late(sender) == {}
    sender.sites.load()
    assert names(sender.partial()) == []
    assert same_media(sender.sites)


def test_file_that_two_archives_of_either_kind_could_not_send_is_late(sender: MediaSender) -> None:
    (sender.media / "17.jpeg").chmod(0)
    with permissions_count():
        sender.complete()
        assert late(sender) == {}
        sender.complete()
        assert late(sender) == {"17.jpeg": "it cannot be read (Permission denied)"}
        # No row of its window names the file.
        sender.partial()
        assert list(late(sender)) == ["17.jpeg"]


def test_what_is_not_a_file_is_named(sender: MediaSender, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    put(tmp_path / "outside" / "secret.jpeg", "secret")
    (sender.media / "link.jpeg").symlink_to(tmp_path / "outside" / "secret.jpeg")
    (sender.media / "dangling.jpeg").symlink_to("nowhere")
    (sender.media / "linked").symlink_to(tmp_path / "outside")
    (sender.media / "folder.jpeg").mkdir()
    put(sender.media / "folder.jpeg" / "within.jpeg", "within")
    os.mkfifo(sender.media / "pipe.jpeg")
    os.mkfifo(sender.media / "other.fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(sender.media / "socket.jpeg"))
        manifest = sender.complete()
    assert omitted(sender) == {
        "dangling.jpeg": "it is a symbolic link, not a regular file",
        "dangling.jpeg/": "it is a symbolic link that leads to no readable file or folder",
        "folder.jpeg/": "it is a folder, and only files are sent",
        "link.jpeg": "it is a symbolic link, not a regular file",
        "linked/": "it is a symbolic link to a folder",
        "pipe.jpeg": "it is a named pipe, not a regular file",
        "socket.jpeg": "it is a socket, not a regular file",
    }
    assert len(names(manifest)) == PICTURES + 1
    assert "folder.jpeg/within.jpeg" in names(manifest)
    sender.sites.load()
    # A partial reports only entries that were changed in its interval.
    for name in ("link.jpeg", "dangling.jpeg", "linked"):
        os.utime(sender.media / name, (OLD, OLD), follow_symlinks=False)
    os.utime(sender.media / "pipe.jpeg", (OLD, OLD))
    sender.partial()
    assert "link.jpeg" not in omitted(sender)


def test_file_that_vanishes_while_files_are_hashed(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sender.media / "unnamed.jpeg", "no row names it")

    def hash_and_delete(files: list[MediaFile]) -> Iterator[object]:
        (sender.media / "unnamed.jpeg").unlink(missing_ok=True)
        (sender.media / "9.jpeg").unlink(missing_ok=True)
        return hash_media(files)

    monkeypatch.setattr("ar_sync_pipeline.sync.dump.describe_media.hash_media", hash_and_delete)
    manifest = sender.complete()
    assert sender.bundle is not None
    assert "went away" in omitted(sender)["unnamed.jpeg"]
    assert sender.bundle.missing == ("9.jpeg",)
    assert len(names(manifest)) == PICTURES - 1


def test_fault_of_the_disk_is_told_from_a_change() -> None:
    """Address 0 of a process cannot be read: EIO, as from a damaged disk."""
    file = MediaFile("mem", Path("/proc/self"), 0, datetime.now(UTC))
    with pytest.raises(MediaUnreadableError, match="Input/output error"):
        list(hash_media([file]))


@pytest.mark.long
def test_file_that_was_hardly_written_is_named_and_comes_later(sender: MediaSender) -> None:
    """A file of 10 TB that takes no space would be read for hours, and would fill the receiver."""
    huge = sender.media / "huge.jpeg"
    huge.touch()
    os.truncate(huge, 10 * 2**40)
    started = time.monotonic()
    assert len(names(sender.complete())) == PICTURES
    assert omitted(sender) == {
        "huge.jpeg": "it cannot be read (most of its 10,995,116,277,760 bytes were never written)"
    }
    sender.sites.load()
    sender.partial()
    assert time.monotonic() - started < 60
    huge.write_text("downloaded")
    assert names(sender.partial()) == ["huge.jpeg"]


@pytest.mark.long
def test_file_larger_than_the_receivers_free_space_is_named_and_comes_later(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive with it would not arrive, nor would any row."""
    space = [FreeSpace(2_000_000, 10**12)]
    # A partial is not to doubt that a file of just now is the one that was sent.
    monkeypatch.setattr("ar_sync_pipeline.archive.file_stamp._STABLE_AFTER_NS", 0)
    monkeypatch.setattr(SftpSession, "space", lambda *_: space[-1])
    least = "ar_sync_pipeline.sync.dump.select_media._SMALLEST_OMITTED_BYTES"
    monkeypatch.setattr(least, 1_000_000)
    put(sender.media / "large.jpeg", "x" * 1_900_000)
    for dump in (sender.complete, sender.partial):
        assert dump().media_omitted == ("large.jpeg",)
        assert omitted(sender)["large.jpeg"].startswith("it is larger than the free space")
        assert [*late(sender)] == ([] if dump == sender.complete else ["large.jpeg"])
        sender.sites.load()
    space.append(FreeSpace(10**9, 10**12))
    assert names(sender.partial()) == ["large.jpeg"]
    sender.sites.load()
    assert same_media(sender.sites)
    # The receiver has it now: it is listed, and takes no space.
    space.append(FreeSpace(1_500_000, 10**12))
    for dump in (sender.complete, sender.partial):
        assert dump().media_omitted == ()


@pytest.mark.long
def test_files_that_are_too_large_together_come_one_after_another(
    sender: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SftpSession, "space", lambda *_: FreeSpace(2_000_000, 10**12))
    least = "ar_sync_pipeline.sync.dump.select_media._SMALLEST_OMITTED_BYTES"
    monkeypatch.setattr(least, 1_000_000)
    put(sender.media / "larger.jpeg", "x" * 1_200_000)
    put(sender.media / "large.jpeg", "x" * 1_100_000)
    manifest = sender.complete()
    assert "large.jpeg" in names(manifest)
    assert manifest.media_omitted == ("larger.jpeg",)
    sender.sites.load()
    assert names(sender.partial()) == ["larger.jpeg"]
    sender.sites.load()
    assert same_media(sender.sites)


def test_small_files_are_not_omitted_one_by_one_for_a_full_disk(sender: MediaSender) -> None:
    """They may be a million, and the error of the upload tells it."""
    with new_bundle_files(open_build(sender.scratch, uuid4().hex)) as files:
        chosen = MediaSelection(sender.media, ["*.jpeg"], files)
        chosen.scan(None)
        chosen.omit_larger(0)
        chosen.omit_larger(None)
        assert chosen.omitted == {}


def test_file_that_becomes_unreadable_before_it_is_sent(sender: MediaSender) -> None:
    build = sender.bundled_complete()
    (sender.media / "3.jpeg").chmod(0)
    with permissions_count():
        manifest = sender.publish(build)
    assert manifest.media_omitted == ("3.jpeg",)
    assert len(names(manifest)) == PICTURES - 1
    quiet(sender.media / "3.jpeg")
    sender.sites.load()
    assert names(sender.partial()) == ["3.jpeg"]


def test_named_file_that_is_away_only_while_it_is_sent(sender: MediaSender) -> None:
    """No pattern matches it, so only its row can bring it later."""
    put(sender.media / "a.pdf", "a report")
    sender.sites.at_sender("UPDATE app_child SET picture = 'a.pdf' WHERE id = 3")
    build = sender.bundled_complete()
    (sender.media / "a.pdf").rename(sender.media / ".away")
    assert "a.pdf" not in names(sender.publish(build))
    sender.sites.load()
    (sender.media / ".away").rename(sender.media / "a.pdf")
    assert names(sender.partial()) == ["a.pdf"]


def test_owed_file_that_becomes_a_link_is_owed_no_longer(sender: MediaSender) -> None:
    (sender.media / UNPRINTABLE).write_text("a screenshot")
    (sender.media / UNPRINTABLE).chmod(0)
    with permissions_count():
        sender.complete()
    with open_journal(sender.scratch) as journal:
        assert journal.owed() == (UNPRINTABLE,)
    (sender.media / UNPRINTABLE).unlink()
    (sender.media / UNPRINTABLE).symlink_to("3.jpeg")
    sender.partial()
    with open_journal(sender.scratch) as journal:
        assert journal.owed() == ()


def test_file_that_becomes_a_folder_before_it_is_sent(sender: MediaSender) -> None:
    build = sender.bundled_complete()
    (sender.media / "3.jpeg").unlink()
    put(sender.media / "3.jpeg" / "4.jpeg", "within")
    assert len(names(sender.publish(build))) == PICTURES - 1


def test_omitted_file_is_not_removed_at_the_receiver(sender: MediaSender) -> None:
    """``AR_SYNC_MEDIA_DELETE``: a file that a complete could not read still exists."""
    sites = sender.sites
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    for name in ("2017/a.jpeg", "2018/b.jpeg", UNPRINTABLE, f"{UNPRINTABLE} d/c.jpeg"):
        put(sender.media / name, name)
    sender.complete()
    sites.load()
    for hidden in ("17.jpeg", "2017", UNPRINTABLE, f"{UNPRINTABLE} d"):
        (sender.media / hidden).chmod(0)
    (sender.media / "18.jpeg").unlink()
    (sender.media / "2018" / "b.jpeg").unlink()
    with permissions_count():
        sender.complete()
    report = sites.load()
    assert report.media.removed == 2
    left = pictures(sites.receiver_media, frozenset())
    kept = {"17.jpeg", "2017/a.jpeg", UNPRINTABLE, f"{UNPRINTABLE} d/c.jpeg"}
    assert kept <= left.keys()
    assert not {"18.jpeg", "2018/b.jpeg"} & left.keys()


@pytest.mark.long
def test_file_behind_a_link_is_not_removed_at_the_receiver(
    sender: MediaSender, tmp_path: Path
) -> None:
    """Whether its disk is mounted or not, and whether a pattern or only a row names the file."""
    sites = sender.sites
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    moved = ("2017/a.jpeg", "a.pdf", "2018/11/b.pdf")
    for number, name in enumerate(moved):
        (sender.media / name).parent.mkdir(parents=True, exist_ok=True)
        put(sender.media / name, name)
        sites.at_sender(f"UPDATE app_child SET picture = '{name}' WHERE id = {900 + number}")
    sender.complete()
    sites.load()
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("2017", "a.pdf", "2018"):
        (sender.media / name).rename(disk / name)
        (sender.media / name).symlink_to(disk / name)
    for now in (disk, tmp_path / "not mounted"):
        disk.rename(now)
        sender.complete()
        assert sites.load().media.removed == 0
        assert all((sites.receiver_media / name).exists() for name in moved)


def test_only_the_link_is_omitted_of_many_named_files_behind_it(tmp_path: Path) -> None:
    """A catalog that excludes a media column has no scan of the folder."""
    (tmp_path / "linked").symlink_to(tmp_path)
    named = [f"linked/{sub}/{number}.jpeg" for number in range(50) for sub in "ab"]
    with new_bundle_files(open_build(tmp_path, uuid4().hex)) as files:
        chosen = MediaSelection(tmp_path, ["*.jpeg"], files, named_only=True)
        chosen.add_referenced(named)
    assert chosen.refused_count == len(named)
    assert sorted(chosen.omitted) == ["linked/"]


def test_manifest_without_omissions_is_as_before(sender: MediaSender) -> None:
    manifest = sender.complete()
    assert b"media_omitted" not in manifest.to_json()
    assert Manifest.model_validate_json(manifest.to_json()) == manifest
    assert verify_archive(sender.waiting(manifest), signing_keys=()).media_omitted == ()


def test_unreadable_file_that_is_deleted_is_owed_no_longer(sender: MediaSender) -> None:
    secret = sender.media / "17.jpeg"
    secret.chmod(0)
    with permissions_count():
        sender.complete()
    sender.sites.load()
    secret.unlink()
    for _ in range(2):
        manifest = sender.partial()
        assert (names(manifest), manifest.media_omitted) == ([], ())
    assert rows(sender.sites.sender, "SELECT count(*) FROM app_child")


def test_owed_files_are_not_forgotten_while_the_media_folder_is_not_mounted(
    sender: MediaSender,
) -> None:
    put(sender.media / "2017" / "a.jpeg", "a")
    secret, folder = sender.media / "17.jpeg", sender.media / "2017"
    for path in (secret, folder):
        path.chmod(0)
    with permissions_count():
        sender.complete()
    sender.sites.load()
    mounted = sender.media.rename(sender.sites.folder / "elsewhere")
    sender.media.mkdir()
    assert names(sender.partial()) == []
    sender.media.rmdir()
    mounted.rename(sender.media)
    quiet(secret)
    folder.chmod(0o755)
    assert names(sender.partial()) == ["17.jpeg", "2017/a.jpeg"]
    sender.sites.load()
    assert same_media(sender.sites)


def test_name_longer_than_a_path_may_be_prevents_nothing(sender: MediaSender) -> None:
    """Neither one without a file, nor one that the folder has."""
    absent, present = ("/".join([a * 63] * 15 + [a * 62, "x"]) for a in "\N{FISH}\N{WHALE}")
    with open_parent(sender.media, present, create=True) as (folder, name):
        os.close(create_file(name, 0o644, folder))
    sender.sites.at_sender(
        f"UPDATE app_child SET picture = '{absent}' WHERE id = 3",
        f"UPDATE app_child SET picture = '{present}' WHERE id = 4",
    )
    told = dict[str, str]()
    for dump in (sender.complete, sender.partial):
        assert set(names(dump())).isdisjoint({absent, present})
        # It is known before the upload, which it would interrupt.
        assert sender.failures == []
        told |= omitted(sender)
        sender.sites.load()
        assert equal(sender.sites)
    assert "too long" in told[present]
