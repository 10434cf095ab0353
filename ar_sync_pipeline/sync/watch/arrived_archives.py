"""Archives that have arrived, and completes that no longer come although partials do.

Their schedule is off, its runs fail, or somebody cancels them. Partials keep the data recent and
leave no gap; what only a complete repairs, deletions and drift, stays wrong, and nothing else shows
it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.clock import not_ahead
from ar_sync_pipeline.settings.cron import longest_pause
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings

TOO_LATE = timedelta(hours=6)
"""Time after the longest pause of the schedule in which a complete is made, sent and applied."""
# After a longer stop of the sender, the time for its next complete starts from zero.
_STOP = timedelta(hours=6)


@dataclass(frozen=True)
class Arrived:
    """An archive that was sent, or applied.

    Attributes:
        name: Name without the prefix of waiting archives.
        at: Time when it was sent or applied.
        size_bytes: Size of its file in bytes; None if only the file says it.
    """

    name: str
    kind: ArchiveKind
    snapshot_at: datetime
    at: datetime
    size_bytes: int | None = None


def newest_of_each_kind(archives: Iterable[Arrived]) -> tuple[Arrived, ...]:
    """Return the archive of each kind with the newest snapshot."""
    found = {one.kind: one for one in sorted(archives, key=lambda one: one.snapshot_at)}
    return tuple(found[kind] for kind in ArchiveKind if kind in found)


def at_possible_times(archives: Iterable[Arrived], now: datetime) -> list[Arrived]:
    """Return the archives; one that came in the future, by a clock that was ahead, as it was made.

    When it really came is unknown.
    """
    return [
        one if not_ahead([one.at], now) else replace(one, at=one.snapshot_at) for one in archives
    ]


def complete_due_within(settings: SenderSettings | ReceiverSettings, now: datetime) -> timedelta:
    """Return how long a pair may be without a new complete, or without its first one."""
    return longest_pause(settings.complete_cron, settings.timezone, now) + TOO_LATE


def overdue_since(
    archives: Iterable[Arrived], within: timedelta, remembered: datetime | None = None
) -> datetime | None:
    """Return when the newest complete arrived, if partials have come for too long since then.

    None: it is recent, there is none yet, or no partial comes either, which is another problem.

    Args:
        archives: Archives that count.
        within: Time within which the next complete is due.
        remembered: Time before which partials may be forgotten; None: none is.
    """
    ordered = sorted(archives, key=lambda one: one.snapshot_at)
    completes = [n for n, one in enumerate(ordered) if one.kind is ArchiveKind.COMPLETE]
    if not completes:
        return None
    newest, *partials = ordered[completes[-1] :]
    since, last = newest.at, max(newest.snapshot_at, remembered or newest.snapshot_at)
    for partial in partials:
        if partial.snapshot_at - last > _STOP:
            since = max(since, partial.snapshot_at)
        last = partial.snapshot_at
    return newest.at if ordered[-1].snapshot_at - since > within else None


def overdue_in_words(since: datetime | None, ignored: ArchiveName | None = None) -> list[str]:
    """Return the clause that says since when no complete has come; none if none is overdue.

    Args:
        ignored: Complete in the receiver's spool that no load takes.
    """
    if since is None:
        return []
    text = (
        f"no complete has come since {since:%Y-%m-%d %H:%M} UTC, and only a complete repairs"
        " deletions and drift: look at the newest run of the sender's complete_dump, and switch"
        " complete_dump_schedule on"
    )
    if ignored is not None:
        text = (
            f"{ignored.applied} waits and is not loaded, although newer partials are: look at the"
            " newest run of complete_loaddata, and switch new_complete_archives on"
        )
    return [text]
