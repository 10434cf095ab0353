"""A file system that takes two names for one is recognized, and nothing is left behind."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from ar_sync_pipeline.files import HeldFolder
from ar_sync_pipeline.media.folded_names import folding_of
from ar_sync_pipeline.media.install import clean_leftovers
from ar_sync_pipeline.media.remove import Removal, remove_media
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.media.fix_folding import fold_names

FOLDINGS: dict[str, tuple[Callable[[str], str], str]] = {
    "SMB": (str.casefold, "ignores case in names"),
    "HFS+ with case": (lambda name: unicodedata.normalize("NFD", name), "normalizes Unicode"),
    "ext4 casefold": (
        lambda name: unicodedata.normalize("NFD", name).casefold(),
        "ignores case in names and normalizes Unicode in names",
    ),
}


def test_ordinary_folder_keeps_names_apart(tmp_path: Path) -> None:
    assert folding_of(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fold", "problem"), FOLDINGS.values(), ids=list(FOLDINGS))
def test_folder_that_takes_two_names_for_one_is_recognized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: Callable[[str], str], problem: str
) -> None:
    fold_names(monkeypatch, fold)
    assert problem in (folding_of(tmp_path) or "")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_tried_is_not_blamed(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with permissions_count():
        assert folding_of(closed) is None
    assert folding_of(tmp_path / "missing") is None


def test_probes_of_killed_processes_are_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(HeldFolder, "remove", lambda *_: False)
        folding_of(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert clean_leftovers(tmp_path, "1234abcd") == 2


@pytest.mark.parametrize(
    ("folding", "path", "removal"),
    [
        ("a", "a/foto 1.jpeg", Removal.RENAMED),
        ("a", "a/straße.jpeg", Removal.RENAMED),
        ("a", "a/año.1", Removal.RENAMED),
        ("a", f"a/{'ñ' * 127}", Removal.RENAMED),
        ("a", f"a/{'x' * 255}", Removal.RENAMED),
        ("a", "a/b/c.jpeg", Removal.RENAMED),
        (".", "a/b/c.jpeg", Removal.RENAMED),
        ("a/b/c", "a/b/c.jpeg", Removal.REMOVED),
        ("a", "a/1/2.3", Removal.REMOVED),
    ],
)
def test_file_that_may_be_a_renamed_one_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folding: str, path: str, removal: Removal
) -> None:
    """As it would be by its former name; it counts which folder of its path folds names."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).touch()
    fold_names(
        monkeypatch,
        lambda name: unicodedata.normalize("NFD", name.replace("SS", "?")).lower(),
        tmp_path / folding,
    )

    nothing = sha256(b"").hexdigest()
    assert remove_media(tmp_path, path, size_bytes=0, sha256=nothing) is removal
    assert (tmp_path / path).exists() == (removal is Removal.RENAMED)


def test_two_files_whose_names_differ_in_case_are_two(tmp_path: Path) -> None:
    for name in ("a.jpeg", "A.JPEG"):
        (tmp_path / name).touch()
    nothing = sha256(b"").hexdigest()
    assert remove_media(tmp_path, "a.jpeg", size_bytes=0, sha256=nothing) is Removal.REMOVED
