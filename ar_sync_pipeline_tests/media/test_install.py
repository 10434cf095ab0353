"""A media file is installed whole and checked, or everything stays as it was."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.media.errors import MediaFolderError, MediaNameError
from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.install import clean_leftovers
from ar_sync_pipeline.media.inventory import scan_media
from ar_sync_pipeline.media.stage import Outcome
from ar_sync_pipeline_tests.archive.building import make_entry, make_source, write_archive
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.media.fix_limits import LEVELS, small_limits
from ar_sync_pipeline_tests.media.loading import ARCHIVE, OWNER, install, new_stage, put_in_place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "media"
    path.mkdir()
    return path


def test_a_file_arrives_with_its_content_and_time(folder: Path) -> None:
    assert install(folder, "2017/11/ñandú 1.jpeg", b"picture") is Outcome.INSTALLED

    (entry,) = hash_media(scan_media(folder, ["*"]))
    assert entry == make_entry("2017/11/ñandú 1.jpeg", b"picture")
    assert [path.name for path in (folder / "2017" / "11").iterdir()] == ["ñandú 1.jpeg"]


@pytest.mark.parametrize("earlier", [b"pictur", b"PICTURE", b""])
def test_d38_a_changed_picture_is_replaced(folder: Path, earlier: bytes) -> None:
    (folder / "a.jpeg").write_bytes(earlier)

    assert install(folder, "a.jpeg", b"picture") is Outcome.REPLACED
    assert (folder / "a.jpeg").read_bytes() == b"picture"


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a\nb", ".ar-sync-0123456789abcdef", "a//b", ".."]
)
def test_d19_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(MediaNameError):
        install(folder, name, b"x")

    assert [path.name for path in folder.parent.iterdir()] == ["media"]
    assert list(folder.iterdir()) == []


@given(name=st.text(min_size=1, max_size=20) | st.text("./ax", min_size=1, max_size=12))
def test_no_name_makes_a_file_outside_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp("outer") / "media"
    folder.mkdir()
    try:
        outcome = install(folder, name, b"x")
    except (MediaNameError, ValidationError):
        assert not name.isalnum()
        assert list(folder.iterdir()) == []
    else:
        if outcome is Outcome.LEFT_OUT:
            assert "." in name
            assert list(folder.iterdir()) == []
        else:
            assert (folder / name).read_bytes() == b"x"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_linked_subfolder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "linked").symlink_to(tmp_path / "outside")

    with pytest.raises(MediaFolderError, match="blocks the path"):
        install(folder, "linked/a.jpeg", b"x")

    assert list((tmp_path / "outside").iterdir()) == []


def test_a_link_under_the_files_name_is_replaced_not_written_through(
    folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    (folder / "a.jpeg").symlink_to(outside)

    install(folder, "a.jpeg", b"keep")

    assert not (folder / "a.jpeg").is_symlink()
    assert outside.read_bytes() == b"keep"


def contents(folder: Path) -> dict[str, bytes]:
    """Files by path; what was moved aside with a * for what is random."""
    return {
        re.sub("aside-[0-9a-f]{8}", "aside-*", str(path.relative_to(folder))): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_file_that_became_a_folder_at_the_sender_and_back_is_followed(folder: Path) -> None:
    install(folder, "a.jpeg", b"file")
    assert install(folder, "a.jpeg/b/c.jpeg", b"within") is Outcome.DISPLACED
    assert install(folder, "a.jpeg/d.jpeg", b"too") is Outcome.INSTALLED
    assert contents(folder) == {
        "a.jpeg.moved-aside-*": b"file",
        "a.jpeg/b/c.jpeg": b"within",
        "a.jpeg/d.jpeg": b"too",
    }
    assert install(folder, "a.jpeg", b"file again") is Outcome.DISPLACED
    assert contents(folder) == {
        "a.jpeg": b"file again",
        "a.jpeg.moved-aside-*": b"file",
        "a.jpeg.moved-aside-*/b/c.jpeg": b"within",
        "a.jpeg.moved-aside-*/d.jpeg": b"too",
    }


def test_an_empty_folder_in_the_way_is_removed(folder: Path) -> None:
    (folder / "a.jpeg").mkdir()
    assert install(folder, "a.jpeg", b"x") is not Outcome.UNCHANGED
    assert contents(folder) == {"a.jpeg": b"x"}


def test_the_receivers_own_files_are_moved_not_deleted(folder: Path) -> None:
    (folder / "a.jpeg" / "sub").mkdir(parents=True)
    (folder / "a.jpeg" / "sub" / "own.txt").write_bytes(b"own")
    (folder / "note").write_bytes(b"own too")
    install(folder, "a.jpeg", b"x")
    install(folder, "note/b.jpeg", b"y")
    assert contents(folder) == {
        "a.jpeg": b"x",
        "a.jpeg.moved-aside-*/sub/own.txt": b"own",
        "note.moved-aside-*": b"own too",
        "note/b.jpeg": b"y",
    }


def test_a_name_of_the_greatest_length_can_be_moved_aside(folder: Path) -> None:
    name = "\u00f1" * 125 + ".jpg"
    (folder / name).write_bytes(b"file")
    assert install(folder, f"{name}/b.jpeg", b"x") is Outcome.DISPLACED
    assert sorted(contents(folder).values()) == [b"file", b"x"]


def test_a_link_or_pipe_in_the_place_of_a_folder_is_one_sentence(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    for name in ("linked/a.jpeg", "pipe/a.jpeg"):
        with pytest.raises(MediaFolderError, match="blocks the path"):
            install(folder, name, b"y")
    with pytest.raises(MediaFolderError, match="No such file"):
        install(folder / "absent", "a.jpeg", b"y")


def test_only_the_installers_own_leftovers_are_cleaned(folder: Path, tmp_path: Path) -> None:
    leftover = ".ar-sync-0123456789abcdef"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / leftover).write_bytes(b"x")
    (folder / "sub").mkdir()
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "sub" / ".ar-sync-fedcba9876543210").symlink_to(tmp_path / "outside" / leftover)
    staged, other = f".ar-sync-{OWNER}-0123abcd-17", ".ar-sync-ffffffff-0123abcd-17"
    for name in (
        *(leftover, f"sub/{leftover}", ".ar-sync-notes", "a.jpeg", f"{leftover}0"),
        *(staged, f"sub/{staged}.old", other),
    ):
        (folder / name).write_bytes(b"x")

    assert clean_leftovers(folder, OWNER) == 4

    assert sorted(os.listdir(folder)) == [  # noqa: PTH208  names are what is compared
        f"{leftover}0",
        other,
        ".ar-sync-notes",
        "a.jpeg",
        "linked",
        "sub",
    ]
    assert (tmp_path / "outside" / leftover).exists()
    assert clean_leftovers(folder, OWNER) == 0


@pytest.mark.parametrize("mode", [0, 0o300], ids=["lost+found", "a folder that cannot be listed"])
def test_a_folder_that_the_account_cannot_open_does_not_stop_the_cleaning(
    folder: Path, mode: int
) -> None:
    leftover = f".ar-sync-{OWNER}-0123abcd-17"
    for name in ("open", "lost+found"):
        (folder / "sub" / name).mkdir(parents=True)
        (folder / "sub" / name / leftover).touch()
    (folder / "sub" / "lost+found").chmod(mode)

    with permissions_count():
        assert clean_leftovers(folder, OWNER) == 1


def test_a_tree_deeper_than_the_stack_is_cleaned(folder: Path) -> None:
    leftover = f".ar-sync-{OWNER}-0123abcd-17"
    (folder / ("d/" * LEVELS)).mkdir(parents=True)
    for level in (0, LEVELS):
        (folder / ("d/" * level) / leftover).touch()

    with small_limits():
        assert clean_leftovers(folder, OWNER) == 2


def test_a_leftover_that_cannot_be_removed_is_an_error(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / f".ar-sync-{OWNER}-0123abcd-17").touch()
    (folder / "sub").chmod(0o500)

    with permissions_count(), pytest.raises(MediaFolderError, match="cannot be cleaned"):
        clean_leftovers(folder, OWNER)


def test_pictures_go_from_folder_to_archive_to_folder(folder: Path, tmp_path: Path) -> None:
    pictures = {"-rf.jpeg": b"1", "2017/ñ.jpeg": b"2" * 5000, "empty.jpeg": b""}
    path = write_archive(tmp_path, make_source(tmp_path / "files", media=pictures))

    for expected in (Outcome.INSTALLED, Outcome.UNCHANGED):
        with open_archive(path) as reader:
            entries = {entry.member: entry for entry in reader.manifest.media}
            stage = new_stage(folder)
            outcomes = [stage.stage(s, entries[name], ARCHIVE) for name, s in reader.members()]
        put_in_place(stage)
        assert outcomes == [expected] * 3

    assert {f.path: f.location.read_bytes() for f in scan_media(folder, ["*"])} == pictures
