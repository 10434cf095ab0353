"""Every demo has a folder of its own, and destroys no other one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.errors import DemoFolderError
from ar_sync_pipeline.demo.folder import demo_folder
from ar_sync_pipeline_tests.missing_parts import require_root


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_two_demos_at_once_have_two_folders_of_which_nothing_is_left(temporary: Path) -> None:
    with demo_folder(None) as first, demo_folder(None) as second:
        assert first != second
        (first / "file").touch()
    assert list(temporary.iterdir()) == []


def test_interrupted_demo_leaves_nothing(temporary: Path) -> None:
    with pytest.raises(KeyboardInterrupt), demo_folder(None):
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


def test_folder_of_a_failed_demo_stays_to_be_read() -> None:
    with pytest.raises(ValueError, match="failed"), demo_folder(None) as folder:
        (folder / "server.log").touch()
        raise ValueError("failed")
    assert (folder / "server.log").exists()


def test_named_folder_is_cleared_of_an_earlier_demo_only(tmp_path: Path) -> None:
    with demo_folder(tmp_path / "demo") as folder:
        (folder / "file").touch()
    assert (folder / "file").exists()
    with demo_folder(tmp_path / "demo") as folder:
        assert not (folder / "file").exists()


def test_folder_of_a_running_demo_is_refused_and_its_database_keeps_running(tmp_path: Path) -> None:
    with (
        demo_folder(tmp_path / "demo") as folder,
        EmbeddedPostgres(folder / "postgres") as postgres,
    ):
        with pytest.raises(DemoFolderError, match="a running demo uses") as refused:
            demo_folder(tmp_path / "demo").__enter__()
        assert "--folder" in refused.value.remedy
        postgres.create_database("still_there")


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(DemoFolderError, match="no demo made"):
        demo_folder(tmp_path).__enter__()
    assert (tmp_path / "thesis.txt").exists()


def test_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DemoFolderError, match="is not a folder"):
        demo_folder(tmp_path / "file").__enter__()


def test_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    require_root("give a folder away")
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / ".ar_sync_demo").touch()
    os.chown(folder, 65534, 65534)
    with pytest.raises(DemoFolderError, match="belongs to another account"):
        demo_folder(folder).__enter__()
    assert (folder / ".ar_sync_demo").exists()
