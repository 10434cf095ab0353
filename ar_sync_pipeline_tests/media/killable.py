"""A process whose children install files, or recover, and kill themselves before a chosen step.

``python -m ar_sync_pipeline_tests.media.killable FOLDER`` reads ``install``, ``install_at_once``
(no file is made durable for itself) or ``recover``, and the number of a step, one order a line, and
answers with the child's exit status. The file
``committed`` beside the folder stands for the ledger.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import Any

from ar_sync_pipeline.media import durability
from ar_sync_pipeline.media import install as install_module
from ar_sync_pipeline.media.install import clean_leftovers
from ar_sync_pipeline_tests.media.loading import OWNER, end, new_stage, show, stage_files

_CHANGES = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"})
FILES = {
    "old.jpeg": b"newer",
    "2017/c.jpeg": b"newer c",
    "link.jpeg": b"no link",
    "pipe": b"no pipe",
    "folder": b"no folder",
    "empty": b"not empty",
    "note/b.jpeg": b"in a note",
    "note/c/d.jpeg": b"deeper",
    "new/x/y.jpeg": b"y",
    "new/x/z.jpeg": b"z",
    "new/w/v.jpeg": b"v",
    "new.jpeg": b"new",
}


def install(folder: Path) -> None:
    stage = new_stage(folder)
    stage_files(stage, FILES)
    show(stage)
    stage.journal.close()
    folder.with_name("committed").touch()
    end(folder, committed=True)


def install_at_once(folder: Path) -> None:
    durability._MOST_SINGLE = 0  # noqa: SLF001
    install_module._MOST_FOLDERS = 0  # noqa: SLF001
    install(folder)


def recover(folder: Path) -> None:
    end(folder, committed=folder.with_name("committed").exists())
    clean_leftovers(folder, OWNER)


def die_before(step: int) -> None:
    steps = count(1)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        opens_to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if (event in _CHANGES or opens_to_write) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def run(what: str, step: int, folder: Path) -> int:
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        die_before(step)
        {"install": install, "install_at_once": install_at_once, "recover": recover}[what](folder)
        status = 0
    except BaseException:  # noqa: BLE001  a child that returned would read its parent's orders
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Fork a child for each order, and say how it ended."""
    while line := sys.stdin.readline():
        what, step, folder = line.split()
        print(run(what, int(step), Path(folder)), flush=True)  # noqa: T201  the answer


if __name__ == "__main__":
    main()
