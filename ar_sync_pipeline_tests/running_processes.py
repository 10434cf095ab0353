"""Whether a process that is not a child of this one still runs."""

from __future__ import annotations

from pathlib import Path


def is_running(process_id: int) -> bool:
    """Return whether a process runs; a zombie, which nobody has reaped yet, does not."""
    try:
        stat = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second if it ends while it is read
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
