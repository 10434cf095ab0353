"""Processes that a command has started, also those that left its process group.

GNU ``timeout``, a shell with job control and ``setsid`` give what they start a process group of its
own. On Linux the orphans among the descendants of a subreaper become its children (prctl(2),
``PR_SET_CHILD_SUBREAPER``), so none of them gets away.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_CHILD_SUBREAPER: Final = 36
_PAUSE_SECONDS: Final = 0.05


@dataclass(frozen=True)
class _Process:
    number: int
    parent: int
    session: int


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends, where the system can do this."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """Return the processes that this one and its descendants have started; empty without /proc."""
    running = list(_running())
    found, parents = list[int](), {os.getpid()}
    while parents:
        children = [one.number for one in running if one.parent in parents]
        found += children
        parents = set(children)
    return found


def kill_session(leader: int) -> None:
    """Kill all processes of a session, also those that left the group of its leader."""
    for one in _running():
        if one.session == leader:
            _send(one.number, signal.SIGKILL)


def end_descendants(number: signal.Signals, *, within_seconds: float) -> list[int]:
    """Send a signal to all descendants until none is left; return those that are left at the end.

    One that is started meanwhile gets it, too.
    """
    told, deadline = set[int](), time.monotonic() + within_seconds
    while left := descendants():
        for process in left:
            if process not in told:
                _send(process, number)
        told.update(left)
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    return left


def _send(process: int, number: signal.Signals) -> None:
    # It has ended, or it is that of another account, as of sudo.
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _running() -> Iterator[_Process]:
    """Yield the processes of this machine, without zombies (proc(5), ``/proc/PID/stat``)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            text = path.read_text("utf-8", errors="replace")
            state, parent, _, session = text.rpartition(")")[2].split()[:4]
            if state != "Z":
                yield _Process(int(path.parent.name), int(parent), int(session))
