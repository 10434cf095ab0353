"""Signs of progress of long work, for whoever ends work that hangs.

The work reports each block, file or folder where it handles it, however deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A thread has it only if it runs in the context of the work (`contextvars.copy_context`).
_LISTENER: ContextVar[Callable[[], object] | None] = ContextVar("listener", default=None)


def report_progress() -> None:
    """Report that the work has done something that it will not do again."""
    listener = _LISTENER.get()
    if listener is not None:
        listener()


@contextmanager
def progress_to(listener: Callable[[], object]) -> Iterator[None]:
    """Call a function for each sign of progress inside of the block.

    The function returns at once: the work and the watch of its locks call it, in several threads.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
