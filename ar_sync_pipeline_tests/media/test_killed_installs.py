"""A load that is killed before any of its steps: all files are as before it, or as after it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from ar_sync_pipeline.media.errors import MediaFolderError
from ar_sync_pipeline_tests.media.killable import FILES, recover
from ar_sync_pipeline_tests.media.loading import end, new_stage, show, stage_files

_KILLED, _LONG_AGO = -9, 1_500_000_000
_ALWAYS_THERE = {
    "old.jpeg": (b"old", b"newer"),
    "2017/c.jpeg": (b"c", b"newer c"),
    "own.jpeg": (b"own",) * 2,
}
State = dict[str, object]


class Killable:
    """The process that forks children which die."""

    def __init__(self) -> None:
        module = "ar_sync_pipeline_tests.media.killable"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def run(self, what: str, step: int, folder: Path) -> bool:
        """Whether it came to its end before that step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what} {step} {folder}\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status in {0, _KILLED}
        return status == 0

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def killable() -> Iterator[Killable]:
    process = Killable()
    yield process
    process.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "media"


def lay_out(folder: Path) -> State:
    """A folder with something of every kind in the way of the files to come."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("committed").unlink(missing_ok=True)
    files = {"folder/own.txt": b"own too", "note": b"a note"}
    files |= {name: contents[0] for name, contents in _ALWAYS_THERE.items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (_LONG_AGO, _LONG_AGO))
    (folder / "empty").mkdir()
    (folder / "link.jpeg").symlink_to(folder / "own.jpeg")
    os.mkfifo(folder / "pipe")
    return state(folder)


def state(folder: Path) -> State:
    """Everything in a folder, with content, link target or kind, and the time of files."""
    found: State = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        name = re.sub("aside-[0-9a-f]{8}", "aside-*", str(path.relative_to(folder)))
        if path.is_symlink():
            found[name] = os.readlink(path)  # noqa: PTH115  the text of it
        elif stat.S_ISREG(facts.st_mode):
            found[name] = (path.read_bytes(), facts.st_mtime_ns)
        else:
            found[name] = stat.S_IFMT(facts.st_mode)
    return found


def assert_all_or_nothing(folder: Path, before: State) -> None:
    after = state(folder)
    if not folder.with_name("committed").exists():
        assert after == before
        return
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert (folder / "own.jpeg").read_bytes() == b"own"
    assert [name for name in after if "aside" in name or name.startswith(".")] == [
        *(name for name in after if name.startswith(("folder.moved", "note.moved"))),
    ]
    assert after["note.moved-aside-*"] == before["note"]
    assert after["folder.moved-aside-*/own.txt"] == before["folder/own.txt"]


def assert_nothing_is_missing(folder: Path) -> None:
    for name, contents in _ALWAYS_THERE.items():
        assert (folder / name).read_bytes() in contents


@pytest.mark.long
@pytest.mark.parametrize("how", ["install", "install_at_once"])
def test_killed_before_any_step_and_recovered(killable: Killable, folder: Path, how: str) -> None:
    for step in count(1):
        before = lay_out(folder)
        finished = killable.run(how, step, folder)
        assert_nothing_is_missing(folder)
        recover(folder)
        assert_all_or_nothing(folder, before)
        if finished:
            break
    assert step > 4 * len(FILES)


@pytest.mark.long
def test_recovery_can_be_killed_before_any_step_itself(killable: Killable, folder: Path) -> None:
    for step in count(5, 7):
        before = lay_out(folder)
        finished = killable.run("install", step, folder)
        for killed_at in count(1):
            if killable.run("recover", killed_at, folder):
                break
            assert_nothing_is_missing(folder)
        assert_all_or_nothing(folder, before)
        if finished:
            break


def test_refused_load_takes_back_everything(folder: Path) -> None:
    before = lay_out(folder)
    stage = new_stage(folder)
    stage_files(stage, FILES)
    show(stage)
    assert (folder / "new" / "x" / "y.jpeg").read_bytes() == b"y"
    assert_nothing_is_missing(folder)
    stage.journal.close()
    end(folder, committed=False)
    assert state(folder) == before


def test_where_links_cannot_be_made_the_old_file_is_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    before = lay_out(folder)
    for committed in (False, True):
        stage = new_stage(folder)
        stage_files(stage, FILES)
        show(stage)
        assert_nothing_is_missing(folder)
        stage.journal.close()
        end(folder, committed=committed)
        assert committed or state(folder) == before
    folder.with_name("committed").touch()
    assert_all_or_nothing(folder, before)


def test_files_that_appeared_meanwhile_stay(folder: Path) -> None:
    before = lay_out(folder)
    stage = new_stage(folder)
    stage_files(stage, FILES)
    show(stage)
    (folder / "newest").write_bytes(b"theirs")
    (folder / "newest").rename(folder / "new.jpeg")
    (folder / "new" / "theirs.txt").write_bytes(b"theirs too")
    stage.journal.close()
    end(folder, committed=False)
    after = state(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"new.jpeg", "new", "new/theirs.txt"}


_FIRST = '["1234abcd-00000000", "5f3c2d9e-0000-4000-8000-000000000001"]\n'


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        '["x"]\n[0, "../x", 0, false, 1]',
        "\0" * 100,
        "{}\n",
        "[" * 100_000 + "\n",
        '["1234abcd-00000000", 7]\n',
        '["1234abcd-00000000", "no id"]\n',
        _FIRST.replace("1234abcd-", "/../../") + '[0, "old.jpeg", 0, true, 1]\n',
        *(
            f"{_FIRST}{line}\n"
            for line in (
                '[0, "a", 0, false]',
                '["q", "a", 0, false, 1]',
                "[0, 5, 0, false, 1]",
                '[1, "a", 0, false, 1]',
                '[-2, "a", 0, false, 1]',
                '[0, "a", 9, false, 1]',
                '[0, "a", -1, false, 1]',
                '[0, "\\ud800", 0, false, 1]',
                '[0, "a", 0, false, "1"]',
            )
        ),
    ],
    ids=lambda content: content[-20:],
)
def test_journal_that_is_not_whole_takes_back_nothing_and_goes(folder: Path, content: str) -> None:
    before = lay_out(folder)
    (folder / ".ar-sync-1234abcd.journal").write_text(content)
    recover(folder)
    assert state(folder) == before


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("old.jpeg")])
def test_journal_that_is_no_file_is_an_error_that_names_it_and_waits_for_nothing(
    folder: Path, make: Callable[[Path], object]
) -> None:
    lay_out(folder)
    journal = folder / ".ar-sync-1234abcd.journal"
    make(journal)
    with pytest.raises(MediaFolderError, match=re.escape(f"{journal} is not a regular file")):
        recover(folder)
