"""Work for each of many small media files: no folder is opened and no large buffer made for it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.inventory import scan_media
from ar_sync_pipeline_tests.archive.building import make_entry
from ar_sync_pipeline_tests.media.loading import ARCHIVE, end, new_stage, show, stage_files

FILES = {f"{folder}/{number:03}.jpeg": b"%d" % number for folder in "ab" for number in range(100)}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is opened from now on."""
    paths = list[object]()
    really_open = os.open

    def counted(path: str | Path, *args: int, dir_fd: int | None = None) -> int:
        paths.append(path)
        return really_open(path, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", counted)
    return paths


def make_files(folder: Path) -> None:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def test_hashing_opens_each_file_and_each_folder_once(tmp_path: Path, opened: list[object]) -> None:
    make_files(tmp_path)
    entries = list(hash_media(sorted(scan_media(tmp_path, ["*.jpeg"]))))
    assert entries == [
        make_entry(name, FILES[name]).model_copy(update={"modified_at": entry.modified_at})
        for name, entry in zip(FILES, entries, strict=True)
    ]
    assert len(opened) <= len(FILES) + 4


@pytest.mark.parametrize("known", ["new", "replaced", "new folders"])
def test_renaming_opens_folders_and_not_files(
    tmp_path: Path, opened: list[object], known: str
) -> None:
    if known == "replaced":
        make_files(tmp_path)
    elif known == "new":
        for folder in "ab":
            (tmp_path / folder).mkdir()
    stage = new_stage(tmp_path)
    files = {name: content + b" newer" for name, content in FILES.items()}
    stage_files(stage, files)
    opened.clear()
    show(stage)
    stage.close()
    end(tmp_path, committed=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    # A file that waits outside of its new folder is reached from the media folder.
    assert len(opened) <= 40 + (len(files) if known != "new" else 0) * 2


def test_small_file_is_read_into_a_small_buffer(tmp_path: Path) -> None:
    sizes = list[int]()

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            sizes.append(size or -1)
            return super().read(size)

    stage = new_stage(tmp_path)
    stage.stage(Stream(b"tiny"), make_entry("a.jpeg", b"tiny"), ARCHIVE)
    stage.close()
    end(tmp_path, committed=False)
    assert sizes
    assert max(sizes) <= 5
