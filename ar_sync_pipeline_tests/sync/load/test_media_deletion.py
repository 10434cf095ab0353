"""``AR_SYNC_MEDIA_DELETE`` removes what the sender removed; receiver-only files stay."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ar_sync_pipeline.sync.watch.folder_findings import media_findings
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, rows
from ar_sync_pipeline_tests.long_paths import long_path
from ar_sync_pipeline_tests.media.fix_folding import fold_names


@pytest.fixture
def sites(filled: TwoSites) -> TwoSites:
    filled.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    for name in ("a.jpeg", "b.jpeg", "2017/c.jpeg"):
        put(filled.sender_media / name, name)
    return filled


def put(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def present(sites: TwoSites) -> set[str]:
    folder = sites.receiver_media
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


@pytest.mark.long
def test_complete_removes_what_the_sender_no_longer_has(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    for name in ("b.jpeg", "2017/c.jpeg"):
        (sites.sender_media / name).unlink()
    put(sites.sender_media / "d.jpeg", "d")
    sites.complete()
    report = sites.load()
    assert (report.media.removed, report.media.warning) == (2, None)
    assert present(sites) == {"a.jpeg", "d.jpeg"}
    assert rows(sites.receiver, "SELECT path FROM ar_sync.media_file ORDER BY path") == [
        ("a.jpeg",),
        ("d.jpeg",),
    ]


@pytest.mark.long
def test_partial_removes_nothing_and_protects_what_it_brought(sites: TwoSites) -> None:
    sites.complete()
    sites.load()
    (sites.sender_media / "b.jpeg").unlink()
    put(sites.sender_media / "new.jpeg", "new")
    late = sites.complete()
    put(sites.sender_media / "newer.jpeg", "newer")
    aside = late.rename(sites.folder / late.name)
    sites.partial(recent_window())
    sites.load()
    assert present(sites) == {"a.jpeg", "b.jpeg", "2017/c.jpeg", "new.jpeg", "newer.jpeg"}
    # The complete without the newer media file is applied after the partial that has it.
    aside.rename(late)
    sites.load()
    assert present(sites) == {"a.jpeg", "2017/c.jpeg", "new.jpeg", "newer.jpeg"}


def test_renamed_file_stays_where_both_names_are_one_file(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.complete()
    sites.load()
    (sites.sender_media / "b.jpeg").rename(sites.sender_media / "B.jpeg")
    sites.complete()
    fold_names(monkeypatch, str.casefold)
    report = sites.load()
    assert report.media.removed == 0
    assert "ignores case" in str(report.media.warning)
    assert {"b.jpeg", "2017/c.jpeg"} <= present(sites)
    findings = [one.problem for one in media_findings(sites.settings)]
    assert any("ignores case" in problem for problem in findings)


@pytest.mark.long
def test_renamed_file_stays_where_only_a_subfolder_takes_both_names_for_one(
    sites: TwoSites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a mounted share, whether or not the folder above has space for a probe."""
    sites.complete()
    sites.load()
    (sites.sender_media / "2017/c.jpeg").rename(sites.sender_media / "2017/C.jpeg")
    (sites.sender_media / "b.jpeg").unlink()
    sites.complete()
    fold_names(monkeypatch, str.casefold, sites.receiver_media / "2017")
    monkeypatch.setattr("ar_sync_pipeline.media.folded_names.create_file", no_space)
    report = sites.load()
    assert report.media.removed == 1
    assert "1 media file is not removed" in str(report.media.warning)
    assert "such as '2017/c.jpeg'" in str(report.media.warning)
    assert "2017/c.jpeg" in present(sites)
    # It is receiver-only from now on: else such files would add up to what the guard suspects.
    assert ("2017/c.jpeg",) not in rows(sites.receiver, "SELECT path FROM ar_sync.media_file")
    sites.complete()
    assert sites.load().media.warning is None


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.long
def test_receivers_own_files_stay(sites: TwoSites) -> None:
    outside = sites.folder / "outside"
    put(outside / "c.jpeg", "2017/c.jpeg")
    put(sites.receiver_media / "own.jpeg", "never at the sender")
    sites.complete()
    sites.load()
    # Another file in place of the sender's, and links to files with exactly the same bytes.
    put(sites.receiver_media / "b.jpeg", "edited")
    (sites.receiver_media / "2017" / "c.jpeg").unlink()
    (sites.receiver_media / "2017").rmdir()
    (sites.receiver_media / "2017").symlink_to(outside)
    (sites.receiver_media / "a.jpeg").unlink()
    put(outside / "a.jpeg", "a.jpeg")
    (sites.receiver_media / "a.jpeg").symlink_to(outside / "a.jpeg")
    for name in ("a.jpeg", "b.jpeg", "2017/c.jpeg"):
        (sites.sender_media / name).unlink()
    put(sites.sender_media / "d.jpeg", "d")
    sites.complete()
    report = sites.load()
    assert report.media.removed == 0
    assert present(sites) == {"a.jpeg", "b.jpeg", "d.jpeg", "own.jpeg"}
    assert (sites.receiver_media / "2017").is_symlink()
    assert {path.name for path in outside.iterdir()} == {"a.jpeg", "c.jpeg"}
    # They are receiver-only from now on.
    assert rows(sites.receiver, "SELECT path FROM ar_sync.media_file") == [("d.jpeg",)]


@pytest.mark.long
def test_empty_media_folder_of_the_sender_removes_nothing(sites: TwoSites) -> None:
    """It is not mounted, or the patterns were changed."""
    sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
    sites.complete()
    sites.load()
    mounted = sites.sender_media.rename(sites.folder / "elsewhere")
    sites.sender_media.mkdir()
    sites.complete()
    report = sites.load()
    assert report.media.warning is not None
    assert report.media.warning.startswith("3 of 3 media files are no longer at the sender")
    assert present(sites) == {"a.jpeg", "b.jpeg", "2017/c.jpeg"}
    sites.sender_media.rmdir()
    mounted.rename(sites.sender_media)
    (sites.sender_media / "b.jpeg").unlink()
    sites.complete()
    assert sites.load().media.removed == 1


@pytest.mark.long
def test_small_media_folder_that_is_not_mounted_removes_nothing(sites: TwoSites) -> None:
    """The application has put one file into the folder below the mount."""
    sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
    names = {f"{number}.jpeg" for number in range(30)}
    for name in names:
        put(sites.sender_media / name, name)
    sites.complete()
    sites.load()
    sites.sender_media.rename(sites.folder / "elsewhere")
    sites.sender_media.mkdir()
    put(sites.sender_media / "upload.jpeg", "new")
    sites.complete()
    report = sites.load()
    assert report.media.removed == 0
    assert str(report.media.warning).startswith("33 of 34 media files are no longer at the sender")
    assert present(sites) == {*names, "a.jpeg", "b.jpeg", "2017/c.jpeg", "upload.jpeg"}


@pytest.mark.parametrize(("gone", "removed"), [(18, 2), (19, 0)])
@pytest.mark.long
def test_few_files_are_removed_whatever_their_share(
    sites: TwoSites, gone: int, removed: int
) -> None:
    sites.complete()
    sites.load()
    for name in ("b.jpeg", "2017/c.jpeg"):
        (sites.sender_media / name).unlink()
    sites.at_receiver(
        "INSERT INTO ar_sync.media_file SELECT 'gone' || n || '.jpeg', 1, '', now()"
        f" - interval '1 day' FROM generate_series(1, {gone}) n"
    )
    sites.environ["AR_SYNC_DELETE_GUARD"] = "5"
    sites.complete()
    assert sites.load().media.removed == removed


@pytest.mark.parametrize(("percent", "removed"), [("5", 0), ("100", 2)])
@pytest.mark.long
def test_large_share_of_many_files_is_kept_until_the_guard_is_lifted(
    sites: TwoSites, percent: str, removed: int
) -> None:
    sites.complete()
    sites.load()
    for name in ("b.jpeg", "2017/c.jpeg"):
        (sites.sender_media / name).unlink()
    sites.at_receiver(
        "INSERT INTO ar_sync.media_file SELECT 'gone' || n || '.jpeg', 1, '', now()"
        " - interval '1 day' FROM generate_series(1, 1100) n"
    )
    sites.environ["AR_SYNC_DELETE_GUARD"] = percent
    sites.complete()
    report = sites.load()
    assert report.media.removed == removed
    assert (report.media.warning is None) == bool(removed)


@pytest.mark.long
def test_nothing_is_removed_unless_it_is_asked_for(sites: TwoSites) -> None:
    del sites.environ["AR_SYNC_MEDIA_DELETE"]
    sites.complete()
    sites.load()
    (sites.sender_media / "b.jpeg").unlink()
    sites.complete()
    sites.load()
    # Enabled later, it has no record of earlier files.
    sites.environ["AR_SYNC_MEDIA_DELETE"] = "true"
    sites.complete()
    assert sites.load().media.removed == 0
    assert present(sites) == {"a.jpeg", "b.jpeg", "2017/c.jpeg"}


def test_file_whose_path_cannot_be_recorded_parks_no_archive_and_is_never_removed(
    sites: TwoSites,
) -> None:
    name = long_path()
    path = sites.sender_media / name
    path.parent.mkdir(parents=True)
    path.write_text("long")
    sites.complete()
    report = sites.load()
    assert report.refused == ()
    assert "are never removed, such as" in str(report.media.warning)
    assert (sites.receiver_media / name).read_text() == "long"
    path.unlink()
    (sites.sender_media / "b.jpeg").unlink()
    sites.complete()
    report = sites.load()
    assert (report.media.removed, report.media.warning) == (1, None)
    assert present(sites) == {"a.jpeg", "2017/c.jpeg", name}
