"""An archive that was not applied, and the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.disk_errors import is_full
from ar_sync_pipeline.errors import (
    LONGEST_PROBLEM,
    LONGEST_REMEDY,
    NO_ACTION,
    ArSyncError,
    RetryPolicy,
)
from ar_sync_pipeline.merge.errors import UnprovenDeletionError
from ar_sync_pipeline.spool.errors import SpoolAccessError
from ar_sync_pipeline.spool.lacking import Lacking, LackingTable
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState, park, quarantine
from ar_sync_pipeline.sync.errors import ContentLackingError, SetBackError
from ar_sync_pipeline.visible_text import listed, visible

_MOST_NAMES = 3


@dataclass(frozen=True)
class Rejection:
    """An archive that was not applied, and why.

    Attributes:
        name: Name of the archive, without the prefix of waiting ones.
        code: Code of the error; empty if it is not known.
        waits: Whether the archive is tried again when something changes.
        since: Time when it was first rejected; None if it is not known.
        replaced: Whether the receiver has all of its content by now.
    """

    name: str
    problem: str
    remedy: str
    code: str
    waits: bool
    since: datetime | None = None
    replaced: bool = False

    @classmethod
    def of(cls, archive: SpooledArchive, error: ArSyncError) -> Self:
        """Return the rejection of an archive for an error."""
        waits = error.policy is RetryPolicy.WAIT
        return cls(archive.name.applied, error.problem, error.remedy, error.code, waits)

    @classmethod
    def read(cls, archive: SpooledArchive) -> Self:
        """Return why a parked or quarantined archive was rejected, from the file beside it."""
        name, waits = archive.name.applied, archive.state is SpoolState.PARKED
        written = read_reason(archive.path)
        if written is None:
            problem = f"no reason is written beside {name}"
            return cls(name, problem, f"look into {archive.path.parent}", "", waits)
        return cls(
            name,
            # Every account that can write to the spool may have written it.
            visible(written.reason, LONGEST_PROBLEM),
            visible(written.remedy, LONGEST_REMEDY),
            written.error,
            waits,
            written.since,
        )

    @property
    def clause(self) -> str:
        """Problem as a clause that names the archive, which not every error does."""
        return self.problem if self.name in self.problem else f"{self.name}: {self.problem}"

    def __str__(self) -> str:
        """Return one sentence for people: the problem, then the remedy."""
        return f"{self.clause}: {self.remedy}."


def as_state(problem: str, remedy: str, longest: int | None = None) -> str:
    """Return why an archive is not applied, with the whole remedy if that is to wait."""
    to_do = f"; {remedy}" if remedy.startswith(NO_ACTION) else ""
    if longest is None:
        return problem + to_do
    to_do = to_do[: longest - 1]
    return visible(problem, longest - len(to_do)) + to_do


def most_urgent_first(
    rejections: Iterable[Rejection], data_until: datetime | None
) -> list[Rejection]:
    """Return first what needs a person, and of that first what keeps newer data from being loaded.

    Args:
        rejections: At the sender the receiver's report has the remedy in the reason, see
            `as_state`.
        data_until: Time up to which the receiver has the sender's data.
    """

    def order(one: Rejection) -> tuple[bool, bool]:
        ends_by_itself = f"; {NO_ACTION}" in as_state(one.problem, one.remedy)
        archive = ArchiveName.parse(one.name)
        if archive is None or data_until is None:
            return ends_by_itself, False
        return ends_by_itself, archive.snapshot_at <= data_until

    return sorted(rejections, key=order)


@dataclass(frozen=True)
class Cause:
    """One reason, and the archives that were rejected for it.

    Attributes:
        names: Names of the archives, in the order in which they were given.
        problem: What is wrong, about "the archive".
        clause: What is wrong, with the names of the first archives.
    """

    names: tuple[str, ...]
    problem: str
    remedy: str
    clause: str

    def __str__(self) -> str:
        """Return one sentence for people: the problem, then the remedy."""
        return f"{self.clause}: {self.remedy}."


def by_cause(rejections: Iterable[Rejection]) -> list[Cause]:
    """Return each cause once: many archives may be rejected for the same reason."""
    found: dict[tuple[str, str], list[Rejection]] = {}
    for one in rejections:
        found.setdefault((_of_any_archive(one), one.remedy), []).append(one)
    return [_cause(problem, remedy, same) for (problem, remedy), same in found.items()]


def _of_any_archive(rejection: Rejection) -> str:
    problem, name = rejection.problem, rejection.name
    return problem.replace(WAITING_PREFIX + name, name).replace(name, "the archive")


def _cause(problem: str, remedy: str, same: Sequence[Rejection]) -> Cause:
    names = tuple(dict.fromkeys(one.name for one in same))
    many = f"{', '.join(listed([*names], _MOST_NAMES))}: {problem}"
    return Cause(names, problem, remedy, many if len(names) > 1 else same[0].clause)


def reject(
    spool: Path,
    archive: SpooledArchive,
    error: ArSyncError,
    at: datetime,
    *,
    verified: bool = False,
) -> Rejection:
    """Park an archive that is to be tried again; quarantine one that can never be applied.

    If the disk has no space for the reason file, the archive is parked without one, and the next
    run checks it again. If another one is parked under its name, it is quarantined.

    Args:
        at: Current time, aware UTC.
        verified: Whether all bytes of the archive were verified.

    Raises:
        ArchiveGoneError: The file no longer exists.
        SpoolAccessError: The operating system refuses.
    """
    rejection = Rejection.of(archive, error)
    if not rejection.waits:
        try:
            quarantine(spool, archive, error, at=at)
        except SpoolAccessError as refused:
            if not is_full(refused):
                raise
            if not archive.path.exists():  # it was renamed, and the disk was full for the fsync
                quarantine(spool, archive, error, at=at)
                return rejection
            rejection = replace(rejection, waits=True)
        else:
            return rejection
    parked = park(spool, archive, error, at=at, verified=verified, lacking=_lacking(error))
    return rejection if parked.state is SpoolState.PARKED else Rejection.read(parked)


def _lacking(error: ArSyncError) -> Lacking | None:
    """Return what only a complete brings; None: the archive waits for something else."""
    if isinstance(error, UnprovenDeletionError) and not error.after_gap:
        # Of an archive that came late, any later complete will do: nothing has to be carried.
        named = () if error.table is None else (LackingTable(name=error.table),)
        return Lacking(tables=named)
    return error.lacking if isinstance(error, ContentLackingError | SetBackError) else None
