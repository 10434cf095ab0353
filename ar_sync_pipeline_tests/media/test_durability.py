"""Files of a load are durable before their names are, and both before the commit of the rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ar_sync_pipeline.media import durability, install
from ar_sync_pipeline_tests.media.loading import end, new_stage, show, stage_files
from ar_sync_pipeline_tests.missing_parts import skipif_unless_in_ci

MANY = {f"{n % 100}/{n}.jpeg": b"%d" % n for n in range(300)}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process asks of the disk, in order."""
    found = list[str]()

    def recorded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def record(*arguments: Any, **named: Any) -> Any:
            found.append(name)
            return call(*arguments, **named)

        return record

    for name in ("fsync", "rename", "write"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    monkeypatch.setattr(durability, "_syncfs", recorded("syncfs", durability._syncfs))  # noqa: SLF001
    return found


def installed(folder: Path, files: dict[str, bytes]) -> None:
    stage = new_stage(folder)
    stage_files(stage, files)
    show(stage)
    stage.close()
    end(folder, committed=True)
    assert {name: (folder / name).read_bytes() for name in files} == files


@skipif_unless_in_ci(not durability.HAS_SYNCFS, "this kernel does not report failed writes")
def test_many_files_are_made_durable_at_once_before_their_renames_and_after(
    tmp_path: Path, steps: list[str]
) -> None:
    installed(tmp_path, MANY)
    first, last = steps.index("rename"), len(steps) - 1 - steps[::-1].index("rename")
    last_write = len(steps) - 1 - steps[::-1].index("write")
    assert "syncfs" in steps[last_write:first]
    assert "syncfs" in steps[last:]
    # 64 single files, the folders of both steps as far as they are few, the journal and its folder.
    assert steps.count("fsync") < 64 + 2 * 66 + 10


def test_few_files_do_not_write_the_whole_file_system(tmp_path: Path, steps: list[str]) -> None:
    installed(tmp_path, dict(list(MANY.items())[:20]))
    assert "syncfs" not in steps
    assert steps.count("fsync") >= 20 + 20


def test_without_syncfs_every_file_and_folder_is_fsynced(
    tmp_path: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (durability, install):
        monkeypatch.setattr(module, "HAS_SYNCFS", False)
    installed(tmp_path, MANY)
    assert "syncfs" not in steps
    assert steps.count("fsync") >= len(MANY) + 100


def test_failed_write_is_an_error_before_any_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    stage = new_stage(tmp_path)
    stage_files(stage, MANY)
    with monkeypatch.context() as patch:
        patch.setattr(durability, "_syncfs", broken)
        with pytest.raises(OSError, match=f"Input/output error.*{tmp_path}"):
            show(stage)
    stage.close()
    end(tmp_path, committed=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_syncfs_of_this_system_works(tmp_path: Path) -> None:
    made = durability.Durability()
    with (tmp_path / "file").open("wb") as file:
        folder = os.open(tmp_path, os.O_RDONLY)
        made.add_folder(folder)
        file.write(b"content")
        os.close(folder)
        made.flush()
    made.close()
    if durability.HAS_SYNCFS:
        with pytest.raises(OSError, match="Bad file descriptor"):
            durability._syncfs(10_000)  # noqa: SLF001
