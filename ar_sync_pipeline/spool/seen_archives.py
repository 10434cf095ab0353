"""The receiver's list of archives that it has seen and that are not applied yet.

An archive that somebody or a disk removes from the spool leaves no other trace there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.receiver_files import ReceiverFile

# At 60 bytes per name, half of what such a file may have.
_MOST = 500


class SeenArchives(ReceiverFile):
    """Applied-form names of archives that waited or were parked when they were last seen."""

    FILE: ClassVar[str] = "seen.json"

    archives: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=200)], ...], Field(max_length=_MOST)
    ] = ()


def read_seen(spool: Path, *, signing_keys: Sequence[bytes]) -> frozenset[ArchiveName]:
    """Return the archives on the list; none if it cannot be used, since it is only a memory.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    try:
        seen = SeenArchives.read(spool, signing_keys=signing_keys)
    except ReceiptError:
        return frozenset()
    names = map(ArchiveName.parse, seen.archives if seen else ())
    return frozenset(name for name in names if name is not None)


def newest_archives(archives: Iterable[ArchiveName]) -> frozenset[ArchiveName]:
    """Return the archives that a list may have: of very many, the newest."""
    in_order = sorted(archives, key=lambda name: (name.snapshot_at, name.kind))
    return frozenset(in_order[-_MOST:])


def write_seen(
    spool: Path, archives: Iterable[ArchiveName], *, signing_keys: Sequence[bytes]
) -> None:
    """Replace the list; of very many archives it has the newest.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    names = tuple(sorted(name.applied for name in newest_archives(archives)))
    SeenArchives(archives=names).write(spool, signing_keys=signing_keys)
