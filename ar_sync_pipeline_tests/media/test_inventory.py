"""Which files are sent, and which names are refused."""

from __future__ import annotations

import errno
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.files import create_file
from ar_sync_pipeline.media.errors import (
    MediaChangedError,
    MediaFolderError,
    MediaUnreadableError,
)
from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.inventory import resolve_references, scan_media
from ar_sync_pipeline.media.media_file import MediaFile, OmittedMedia, RefusedName
from ar_sync_pipeline.media.safe_paths import open_parent
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.media.fix_limits import LEVELS, small_limits
from ar_sync_pipeline_tests.missing_parts import require_root

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def put(folder: Path, name: str, content: bytes = b"x", at: datetime = NOON) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at.timestamp(), at.timestamp()))


def names(folder: Path, *patterns: str) -> list[str]:
    return sorted(file.path for file in scan_media(folder, patterns or ("*",)))


def told_of(folder: Path, *patterns: str) -> list[str]:
    omitted: list[OmittedMedia] = []
    list(scan_media(folder, patterns, on_omitted=omitted.append))
    return sorted(item.path for item in omitted)


def test_files_of_all_subfolders_are_found(tmp_path: Path) -> None:
    wanted = ["a-b/1.jpeg", "a.jpeg", "a/b/c.jpeg", "a/z.jpeg", "b.jpeg", "ñ.jpeg"]
    for name in wanted:
        put(tmp_path, name)

    assert names(tmp_path) == wanted


def test_patterns_keep_case_and_may_name_subfolders(tmp_path: Path) -> None:
    for name in ("a.jpeg", "b.JPEG", "c.png", "2017/d.jpeg", "2018/e.jpeg"):
        put(tmp_path, name)

    assert names(tmp_path, "*.jpeg") == ["2017/d.jpeg", "2018/e.jpeg", "a.jpeg"]
    assert names(tmp_path, "2017/*", "*.png") == ["2017/d.jpeg", "c.png"]


def test_d17_d18_d36_any_spelling_of_a_file_name_is_found(tmp_path: Path) -> None:
    spellings = [
        "-rf.jpeg",
        "--help.jpeg",
        "ñandú-foto-grande.jpeg",
        "a b.jpeg",
        "$(reboot)'\".jpeg",
    ]
    for name in spellings:
        put(tmp_path, name, name.encode())

    entries = list(hash_media(scan_media(tmp_path, ["*.jpeg"])))

    assert sorted(entry.path for entry in entries) == sorted(spellings)
    assert all(e.sha256 == hashlib.sha256(e.path.encode()).hexdigest() for e in entries)


def test_links_hidden_files_and_unfinished_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    put(folder, "real.jpeg")
    put(folder, ".hidden.jpeg")
    put(folder, ".hidden/x.jpeg")
    put(folder, ".ar-sync-0123456789abcdef")
    put(tmp_path, "outside/secret.jpeg")
    (folder / "link.jpeg").symlink_to(tmp_path / "outside" / "secret.jpeg")
    (folder / "linked").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "pipe.jpeg")

    assert names(folder) == ["real.jpeg"]


def test_a_name_that_cannot_be_sent_is_reported_not_fatal(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xf1and\xfa.jpeg")).write_bytes(b"latin-1")
    put(tmp_path, "two\nlines.jpeg")
    put(tmp_path, "good.jpeg")
    refused: list[RefusedName] = []

    found = list(scan_media(tmp_path, ["*"], on_refused=refused.append))

    assert [file.path for file in found] == ["good.jpeg"]
    assert len(refused) == 2


def test_the_interval_of_changes_is_half_open(tmp_path: Path) -> None:
    minute = timedelta(minutes=1)
    for index in range(4):
        put(tmp_path, f"{index}.jpeg", at=NOON + index * minute)

    found = scan_media(tmp_path, ["*"], modified_within=(NOON + minute, NOON + 3 * minute))

    assert sorted(file.path for file in found) == ["1.jpeg", "2.jpeg"]


def test_a_missing_media_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MediaFolderError, match="cannot be read"):
        names(tmp_path / "absent")
    with pytest.raises(MediaFolderError, match="cannot be read"):
        resolve_references(tmp_path / "absent", [])


def test_d19_a_name_from_the_database_is_data_not_a_path(tmp_path: Path) -> None:
    folder = tmp_path / "media"
    put(folder, "a.jpeg")
    put(tmp_path, "ssh/secret.jpeg")
    (folder / "link.jpeg").symlink_to(tmp_path / "ssh" / "secret.jpeg")
    (folder / "linked").symlink_to(tmp_path / "ssh")
    (folder / "folder.jpeg").mkdir()
    hostile = [
        *("../ssh/secret.jpeg", str(tmp_path / "ssh" / "secret.jpeg"), "link.jpeg"),
        *(
            "linked/secret.jpeg",
            "x/../a.jpeg",
            "a.jpeg\0",
            "a.jpeg\nb.jpeg",
            "",
            ".",
            "folder.jpeg",
        ),
        *("./a.jpeg", "\udcf1.jpeg", ".ar-sync-0123456789abcdef", "x" * 300, "linked/absent.jpeg"),
    ]

    result = resolve_references(folder, [*hostile, "a.jpeg"])

    assert [file.path for file in result.found] == ["a.jpeg"]
    assert result.missing == ()
    assert len(result.refused) == len(hostile)


def test_d19_short_hidden_and_other_names_are_found_when_rows_name_them(tmp_path: Path) -> None:
    named = ["1.jpeg", ".x.jpeg", "photo.png", "photo.JPEG", "sub/photo.jpg"]
    for name in named:
        put(tmp_path, name)

    result = resolve_references(tmp_path, [*named, *named, "gone.jpeg", "a/gone.jpeg"])

    assert [file.path for file in result.found] == sorted(named)
    assert result.missing == ("a/gone.jpeg", "gone.jpeg")
    assert result.refused == ()


def test_a_name_of_any_length_is_found_missing_or_refused(tmp_path: Path) -> None:
    """The whole path of a name that is allowed may be longer than a system call takes."""
    folder = tmp_path / ("x" * 65)
    folder.mkdir()
    parts = [*["\N{FISH}" * 63] * 15, "\N{FISH}" * 62, "x"]
    name, below_link = "/".join(parts), "/".join(["link", *parts[1:]])
    (folder / "link").symlink_to(tmp_path)
    (folder / "file").touch()

    for _ in range(2):
        absent = resolve_references(folder, [name, f"file/{name[:900]}", below_link])
        assert len(absent.missing) == 2
        assert [(refused.name, refused.temporary) for refused in absent.refused] == [
            (below_link, False)
        ]
        with open_parent(folder, name, create=True):
            pass

    with open_parent(folder, name) as (parent, last):
        os.close(create_file(last, 0o644, parent))
    result = resolve_references(folder, [name])
    assert [file.path for file in result.found] == [name]
    assert [entry.path for entry in hash_media(result.found)] == [name]


def test_a_link_at_any_depth_is_refused_and_a_special_file_too(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe")

    result = resolve_references(tmp_path, ["a/b/link/x", "a/b/link/x/y", "a/pipe/x", "a/b/c/x"])

    assert result.missing == ("a/b/c/x",)
    assert {refused.reason for refused in result.refused} == {
        "a folder in its path is a link or special file"
    }
    # One entry stands for all that rows name behind it.
    assert {refused.omits for refused in result.refused} == {"a/b/link/", "a/pipe/"}


@pytest.mark.parametrize(("name", "omitted"), [("lost+found", []), ("private", ["2017/private/"])])
def test_lost_and_found_of_a_disk_is_no_folder_to_tell_of(
    tmp_path: Path, name: str, omitted: list[str]
) -> None:
    require_root("have such a folder")
    put(tmp_path, "2017/a.jpeg")
    (tmp_path / "2017" / name).mkdir(mode=0)
    told: list[OmittedMedia] = []

    for below in ("", f"2017/{name}/"):
        told.clear()
        with permissions_count():
            list(scan_media(tmp_path, ["*"], on_omitted=told.append, below=below))
        assert [item.path for item in told] == omitted


def test_link_to_a_folder_is_told_also_while_its_disk_is_not_mounted(tmp_path: Path) -> None:
    """It omits what the receiver has below it, whose files are not deleted ones."""
    folder, disk = tmp_path / "media", tmp_path / "disk"
    put(disk, "2017/a.jpeg")
    put(disk, "a file")
    folder.mkdir()
    (folder / "2017").symlink_to(disk / "2017")
    (folder / "a file").symlink_to(disk / "a file")
    (folder / "loop").symlink_to("loop")

    assert told_of(folder, "*.jpeg") == ["2017/", "loop/"]
    (disk / "2017").chmod(0)
    disk.chmod(0)
    with permissions_count():
        assert told_of(folder, "*.jpeg") == ["2017/", "a file/", "loop/"]
    disk.chmod(0o755)
    disk.rename(tmp_path / "away")
    assert told_of(folder, "*.jpeg") == ["2017/", "a file/", "loop/"]
    assert told_of(folder, "2*") == ["2017", "2017/", "a file/", "loop/"]


def test_subfolder_that_cannot_be_looked_up_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems do not tell the type of an entry, and may fail."""
    for name in ("2017/a.jpeg", "a.jpeg", "b.txt"):
        put(tmp_path, name)

    monkeypatch.setattr("ar_sync_pipeline.media.inventory.os.scandir", UntypedListing)

    assert told_of(tmp_path, "*.jpeg") == ["2017/", "a.jpeg", "a.jpeg/", "b.txt/"]


class UntypedListing:
    """Entries of a folder that cannot be looked up."""

    def __init__(self, path: Path) -> None:
        self._names = sorted(entry.name for entry in path.iterdir())

    def __enter__(self) -> list[UntypedEntry]:
        return [UntypedEntry(name) for name in self._names]

    def __exit__(self, *_: object) -> None:
        pass


class UntypedEntry:
    """Stands for `os.DirEntry`, which cannot be subclassed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stat(self, **_: bool) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def is_file(self, **_: bool) -> bool:
        self.stat()
        return False

    is_dir = is_file


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.sets(st.text(max_size=30)))
def test_every_name_is_found_missing_or_refused(tmp_path: Path, wanted: set[str]) -> None:
    (tmp_path / "0").touch()

    result = resolve_references(tmp_path, wanted)

    assert len(result.found) + len(result.missing) + len(result.refused) == len(wanted)
    assert {file.path for file in result.found} == wanted & {"0"}


def test_microseconds_of_a_files_time_are_kept(tmp_path: Path) -> None:
    put(tmp_path, "a.jpeg", b"12345")
    os.utime(tmp_path / "a.jpeg", ns=(0, 1_700_000_000_123_456_789))

    (entry,) = hash_media(scan_media(tmp_path, ["*"]))

    assert entry.modified_at == datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC)
    assert entry.size_bytes == 5


@pytest.mark.parametrize("seconds", [-(2**62) // 10**9, -(2**31), 0, 2**33, 2**62 // 10**9])
def test_a_file_from_another_age_is_sent(tmp_path: Path, seconds: int) -> None:
    (tmp_path / "a.jpeg").touch()
    os.utime(tmp_path / "a.jpeg", (seconds, seconds))

    (entry,) = hash_media(scan_media(tmp_path, ["*"]))

    assert MediaEntry.model_validate_json(entry.model_dump_json(), strict=True) == entry


def test_a_file_that_goes_away_before_it_is_hashed_is_tried_again(tmp_path: Path) -> None:
    gone = MediaFile("gone.jpeg", tmp_path, 1, NOON)
    (tmp_path / "linked.jpeg").symlink_to("/etc/passwd")
    replaced = MediaFile("linked.jpeg", tmp_path, 1, NOON)

    for file in (gone, replaced):
        with pytest.raises(MediaChangedError, match=file.path):
            list(hash_media([file]))


def test_a_tree_deeper_than_the_stack_is_scanned(tmp_path: Path) -> None:
    found = ["a.jpeg", "d/a.jpeg", f"{'d/' * LEVELS}a.jpeg"]
    for name in found:
        put(tmp_path, name)

    with small_limits():
        assert names(tmp_path, "*.jpeg") == found


@pytest.mark.parametrize("size_bytes", [2**30, 2**43], ids=["1 GB", "8 TB"])
def test_file_without_content_is_not_read(tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "a.jpeg").touch()
    os.truncate(tmp_path / "a.jpeg", size_bytes)

    with pytest.raises(MediaUnreadableError, match="never written"):
        list(hash_media(scan_media(tmp_path, ["*"])))


def test_file_that_is_whole_and_has_holes_is_read(tmp_path: Path) -> None:
    put(tmp_path, "a.sqlite", b"x")
    os.truncate(tmp_path / "a.sqlite", 2**26)

    (entry,) = hash_media(scan_media(tmp_path, ["*"]))
    assert entry.size_bytes == 2**26


def test_file_larger_than_an_entry_can_tell_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few file systems take such a file, and some of these tell no holes."""
    put(tmp_path, "a.jpeg", b"x" * 11)
    monkeypatch.setattr("ar_sync_pipeline.media.hash_media.MOST_BYTES", 10)

    with pytest.raises(MediaUnreadableError, match="more than 10 bytes"):
        list(hash_media(scan_media(tmp_path, ["*"])))
