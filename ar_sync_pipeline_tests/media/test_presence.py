"""A media folder of which every known file is missing is told from one in which people deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ar_sync_pipeline.media import presence
from ar_sync_pipeline.media.presence import (
    PathSample,
    are_all_missing,
    is_below_mount,
    mount_point,
)

PATHS = [f"2026/{number}.jpeg" for number in range(5)]


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=400))
def test_sample_is_bounded_and_does_not_depend_on_the_order(paths: set[str]) -> None:
    taken = []
    for order in (sorted(paths), sorted(paths, reverse=True)):
        sample = PathSample()
        for path in order:
            sample.add(path)
        taken.append(sample.paths)
    assert taken[0] == taken[1]
    assert len(taken[0]) == min(200, len(paths))
    assert set(taken[0]) <= paths


def test_one_file_that_is_left_shows_that_the_folder_is_there(tmp_path: Path) -> None:
    assert are_all_missing(tmp_path, PATHS)
    (tmp_path / "2026").mkdir()
    (tmp_path / PATHS[3]).touch()
    assert not are_all_missing(tmp_path, PATHS)


def test_few_missing_files_may_have_been_deleted_singly(tmp_path: Path) -> None:
    assert not are_all_missing(tmp_path, PATHS[:4])
    assert not are_all_missing(tmp_path, [])


def test_folder_that_does_not_exist_is_not_judged(tmp_path: Path) -> None:
    assert not are_all_missing(tmp_path / "none", PATHS)


def test_mount_point_is_found_through_links(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    assert mount_point(tmp_path / "link") == mount_point(tmp_path)
    assert mount_point(Path("/proc/self/fd")) == Path("/proc")


def test_only_an_empty_folder_without_its_mount_looks_unmounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = mount_point(tmp_path)
    assert not is_below_mount(tmp_path, here)
    assert is_below_mount(tmp_path, tmp_path)
    (tmp_path / ".ar-sync-pair").touch()
    assert is_below_mount(tmp_path, tmp_path)
    (tmp_path / "any").touch()
    assert not is_below_mount(tmp_path, tmp_path)
    monkeypatch.setattr(presence, "mount_point", lambda _: tmp_path)
    assert not is_below_mount(tmp_path, tmp_path)
