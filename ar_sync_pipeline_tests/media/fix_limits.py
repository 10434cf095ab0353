"""A process with a short stack and few descriptors, as one that works on a much deeper tree."""

from __future__ import annotations

import inspect
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LEVELS = 400
_FRAMES, _DESCRIPTORS = 100, 50


@contextmanager
def small_limits() -> Iterator[None]:
    """Allow far fewer calls within each other, and open files, than `LEVELS`."""
    frames, (soft, hard) = sys.getrecursionlimit(), resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208  names are numbers
    sys.setrecursionlimit(len(inspect.stack()) + _FRAMES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + _DESCRIPTORS, hard))
    try:
        yield
    finally:
        sys.setrecursionlimit(frames)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
