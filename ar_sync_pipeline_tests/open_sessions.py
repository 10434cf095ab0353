"""Connections of the tests themselves, which are used again: to open one costs ten milliseconds."""

from __future__ import annotations

import atexit
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

Session = psycopg.Connection[tuple[object, ...]]

_MOST_OPEN = 6


class _OpenSessions:
    """Idle sessions by URL, the newest last; one that is in use is not in here."""

    def __init__(self) -> None:
        self._idle: OrderedDict[str, Session] = OrderedDict()
        self._guard = threading.Lock()

    def take(self, url: str) -> Session:
        with self._guard:
            idle = self._idle.pop(url, None)
        if idle is not None:
            try:
                idle.execute("DISCARD ALL")
            except psycopg.Error:  # a database that was dropped, a server that was killed
                idle.close()
            else:
                return idle
        # psycopg would go on using the prepared statements which DISCARD ALL has dropped
        return psycopg.connect(url, autocommit=True, prepare_threshold=None)

    def give_back(self, url: str, session: Session) -> None:
        surplus = [session]
        with self._guard:
            if not session.closed and url not in self._idle:
                self._idle[url] = surplus.pop()
            if len(self._idle) > _MOST_OPEN:
                surplus.append(self._idle.popitem(last=False)[1])
        for old in surplus:
            old.close()

    def close(self, url: str | None = None) -> None:
        with self._guard:
            urls = list(self._idle) if url is None else [url]
            closed = [self._idle.pop(name) for name in urls if name in self._idle]
        for session in closed:
            session.close()


_SESSIONS = _OpenSessions()
atexit.register(_SESSIONS.close)


@contextmanager
def session(url: str) -> Iterator[Session]:
    """Lend an autocommit session that has no state of its former user."""
    lent = _SESSIONS.take(url)
    try:
        yield lent
    except BaseException:
        lent.close()
        raise
    _SESSIONS.give_back(url, lent)


def close_sessions(url: str) -> None:
    """Close the idle session of a database, which is to be dropped or copied."""
    _SESSIONS.close(url)
