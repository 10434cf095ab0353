"""A media folder belongs to one pair, so that no other one replaces its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.media.errors import MediaFolderError, MediaOfAnotherError
from ar_sync_pipeline.media.pair_mark import MARK, check_mark, claim_folder
from ar_sync_pipeline.media.safe_paths import media_name_problem


def test_folder_is_that_of_the_first_pair_until_the_mark_is_deleted(tmp_path: Path) -> None:
    claim_folder(tmp_path, "santiago")
    claim_folder(tmp_path, "santiago")
    for other in ("lima", ""):
        with pytest.raises(MediaOfAnotherError, match="is that of the pair santiago") as refused:
            claim_folder(tmp_path, other)
    assert str(tmp_path / MARK) in refused.value.remedy
    (tmp_path / MARK).unlink()
    claim_folder(tmp_path, "lima")
    assert check_mark(tmp_path, "lima")


def test_pair_without_a_name_leaves_no_mark(tmp_path: Path) -> None:
    claim_folder(tmp_path, "")
    assert list(tmp_path.iterdir()) == []


def test_no_archive_can_carry_the_mark() -> None:
    assert media_name_problem(MARK) is not None


def test_mark_that_is_no_small_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARK).symlink_to("/etc/hostname")
    with pytest.raises(MediaFolderError, match="cannot be used"):
        claim_folder(tmp_path, "santiago")
