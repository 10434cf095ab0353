"""Areas of a preflight of which one hangs, as on a mount whose server is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.sync.watch.parallel_areas import examine_areas


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A path whose opening blocks in the kernel until the test ends it."""
    path = tmp_path / "mount"
    os.mkfifo(path)
    yield path
    answer(path)


def answer(mount: Path) -> None:
    """Let everybody go who waits, and wait for them."""
    while waiting := [one for one in threading.enumerate() if one.name == "check media"]:
        os.close(os.open(mount, os.O_RDWR | os.O_NONBLOCK))
        for one in waiting:
            one.join(0.05)


def reading(path: Path) -> Callable[[], Iterator[Finding]]:
    def area() -> Iterator[Finding]:
        with path.open("rb"):
            yield Finding(Level.WARNING, "it was read", "do nothing")

    return area


def said(owner: Path, mount: Path) -> list[str]:
    areas = {"media": reading(mount), "clock": reading(Path("/dev/null"))}
    return [f"{one.area}: {one.problem}" for one in examine_areas(owner, areas, 0.2)]


def test_area_that_hangs_is_not_started_again(tmp_path: Path, mount: Path) -> None:
    assert said(tmp_path, mount) == [
        "clock: it was read", "media: the check of media did not end within 0 s"
    ]  # fmt: skip
    before = threading.active_count()
    for _ in range(3):
        assert said(tmp_path, mount) == [
            "clock: it was read", "media: the check of media has not ended for 0 min"
        ]  # fmt: skip
    assert threading.active_count() == before


def test_area_that_answers_again_is_examined_again(tmp_path: Path, mount: Path) -> None:
    said(tmp_path, mount)
    answer(mount)
    mount.unlink()
    mount.touch()
    assert said(tmp_path, mount) == ["media: it was read", "clock: it was read"]
    mount.unlink()
    os.mkfifo(mount)


def test_same_area_of_another_pair_is_examined(tmp_path: Path, mount: Path) -> None:
    said(tmp_path / "one", mount)
    (tmp_path / "two").touch()
    assert said(tmp_path / "two", tmp_path / "two") == ["media: it was read", "clock: it was read"]


def test_error_of_the_code_is_raised_and_the_hung_area_remembered(
    tmp_path: Path, mount: Path
) -> None:
    def broken() -> list[Finding]:
        raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        examine_areas(tmp_path, {"media": reading(mount), "broken": broken}, 0.2)
    assert "media: the check of media has not ended for 0 min" in said(tmp_path, mount)
