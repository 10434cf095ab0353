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
    group: int
    session: int


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends, where the system can do this."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(*, command: int) -> None:
    """Take note of the ends of adopted orphans, which would stay as zombies, not of the command."""
    if not hasattr(os, "waitid"):
        return  # nor does that system adopt orphans
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with suppress(ChildProcessError):  # there is none
        while (ended := os.waitid(os.P_ALL, 0, how)) is not None and ended.si_pid != command:
            os.waitpid(ended.si_pid, os.WNOHANG)


def kill_session(leader: int) -> None:
    """Kill all processes of a session, also those that left the group of its leader."""
    for one in _running():
        if one.session == leader:
            _send(one.number, signal.SIGKILL)


def end_descendants(
    number: signal.Signals, *, within_seconds: float, except_group: int | None = None
) -> list[int]:
    """Send a signal to all descendants until none is left; return those that are left at the end.

    One that is started meanwhile gets it, too. Without /proc there seem to be none.

    Args:
        except_group: Process group that has already got it; a second one would interrupt cleanups.
    """
    told, deadline = set[int](), time.monotonic() + within_seconds
    while left := _descendants():
        for process in left:
            if process.number not in told and process.group != except_group:
                _send(process.number, number)
            told.add(process.number)
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE_SECONDS)
    return [process.number for process in left]


def _descendants() -> list[_Process]:
    """Return the processes that this one and its descendants have started."""
    running = list(_running())
    found, parents = list[_Process](), {os.getpid()}
    while parents:
        children = [one for one in running if one.parent in parents]
        found += children
        parents = {one.number for one in children}
    return found


def _send(process: int, number: signal.Signals) -> None:
    # It has ended, or it is that of another account, as of sudo.
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def _running() -> Iterator[_Process]:
    """Yield the processes of this machine, without zombies (proc(5), ``/proc/PID/stat``)."""
    with suppress(OSError):
        if str(Path("/proc/self").readlink()) != str(os.getpid()):
            return  # it is that of another namespace, whose numbers are others
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            text = path.read_text("utf-8", errors="replace")
            state, *numbers = text.rpartition(")")[2].split()[:4]
            if state != "Z":
                yield _Process(int(path.parent.name), *map(int, numbers))
