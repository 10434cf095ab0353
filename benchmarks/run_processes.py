"""Memory of the processes of runs that wait for the end of a window."""

from __future__ import annotations

import statistics
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

_BEFORE_THE_END = timedelta(seconds=4)
_LOOK_SECONDS = 0.5


class WaitingProcesses(threading.Thread):
    """Looks at all processes of runs, a few seconds before the end of each window.

    A page that several processes share counts in each of them by its share (proc(5), "Pss" in
    ``smaps_rollup``).

    Args:
        dagster_home: The instance whose runs are looked at.
        window: Length of a window.
    """

    def __init__(self, dagster_home: Path, window: timedelta) -> None:
        super().__init__(daemon=True)
        self._marker = f"DAGSTER_HOME={dagster_home}".encode()
        self._window = window
        self._done = threading.Event()
        self._looks: list[list[float]] = []

    def end(self) -> None:
        """Stop looking."""
        self._done.set()
        self.join()

    def run(self) -> None:
        """Look before each end."""
        looked_at = None
        while not self._done.wait(_LOOK_SECONDS):
            number, since = divmod(datetime.now(UTC).timestamp(), self._window.total_seconds())
            left = self._window - timedelta(seconds=since)
            if left <= _BEFORE_THE_END and looked_at != number:
                looked_at = number
                self._looks.append([self._pss_mb(one) for one in self._processes()])

    def __str__(self) -> str:
        """Describe the median number of processes, and the median and the largest of them."""
        each = [megabytes for look in self._looks for megabytes in look]
        if not each:
            return "no process was there before the end of a window"
        number = statistics.median(len(look) for look in self._looks)
        seconds = _BEFORE_THE_END.seconds
        return (
            f"{seconds} s before the ends of {len(self._looks)} windows: {number:.0f} processes of"
            f" runs, {statistics.median(each):.0f} MB each, {max(each):.0f} MB at most"
        )

    def _processes(self) -> list[Path]:
        return [
            process
            for process in Path("/proc").glob("[0-9]*")
            if b"spawn_main" in _content(process / "cmdline")
            and self._marker in _content(process / "environ").split(b"\0")
        ]

    @staticmethod
    def _pss_mb(process: Path) -> float:
        for line in _content(process / "smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) / 1e3
        return 0.0


def _content(file: Path) -> bytes:
    """Return the content of a file of ``/proc``; nothing if its process has ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""
