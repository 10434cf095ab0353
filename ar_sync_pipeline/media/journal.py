"""The journal of a load's media files: what is staged where, so that a killed load is recovered.

It lies in the media folder while a load has staged files. It is on the disk before the first file
is renamed into place; together with the temporary names, which follow from it, it says how each
rename is finished or taken back, whatever was done of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from ar_sync_pipeline.files import sync_folder
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX, media_name_problem

_MOVED_ASIDE = ".moved-aside-"
_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that waits under a temporary name, on the file system of its place.

    Attributes:
        archive_id: of the archive that brought it.
        path: of its place, relative to the media folder.
        depth: how many folders of the path existed when it was staged; it waits in the last one.
        replaces: whether there was something in its place, or in that of one of its folders.
        inode: of the waiting file, by which it is known again under its name.
        load: marks the temporary names of one load.
        number: of the file in the load.
    """

    archive_id: UUID
    path: str
    depth: int
    replaces: bool
    inode: int
    load: str
    number: int

    @property
    def staged_path(self) -> str:
        """Where it waits, relative to the media folder."""
        return "/".join([*self.path.split("/")[: self.depth], self.staged_name])

    @property
    def staged_name(self) -> str:
        """The temporary name under which it waits."""
        return staged_name(self.load, self.number)

    @property
    def kept_name(self) -> str:
        """The temporary name of what it replaces, in the folder of its place."""
        return f"{self.staged_name}.old"

    @property
    def folders(self) -> list[str]:
        """The folders of its path, relative to the media folder, outermost first."""
        parts = self.path.split("/")
        return ["/".join(parts[:count]) for count in range(1, len(parts))]

    @property
    def has_its_folder(self) -> bool:
        """Whether it waits in the folder of its place."""
        return self.depth == self.path.count("/")

    def moved_name(self, name: str) -> str:
        """Return the name that something of another kind gets which is in the way under ``name``.

        Short enough for any file system, and its own for each name.
        """
        shown = name.encode()[:_LONGEST_SHOWN].decode(errors="ignore")
        digest = hashlib.sha256(f"{self.load}/{name}".encode()).hexdigest()
        return f"{shown}{_MOVED_ASIDE}{digest[:8]}"


def staged_name(load: str, number: int) -> str:
    """Return the temporary name of a load's file number ``number``."""
    return f"{TEMPORARY_PREFIX}{load}-{number}"


class JournalWriter:
    """Writes the journal of one load; it is made with the first file.

    Args:
        folder: the media folder.
        owner: eight hexadecimal digits that mark the files of one ledger's loads.
        archives: all that the load applies.
    """

    def __init__(self, folder: Path, owner: str, archives: Sequence[UUID]) -> None:
        self.load = f"{owner}-{secrets.token_hex(4)}"
        self._path = _path(folder, owner)
        self._archives = {archive: number for number, archive in enumerate(archives)}
        self._file: IO[str] | None = None

    def add(self, file: StagedFile) -> None:
        """Note a file that is staged; it reaches the disk with `sync`."""
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._path, flags, 0o600), "w", encoding="utf-8")
            _write(self._file, [self.load, *map(str, self._archives)])
        number = self._archives[file.archive_id]
        _write(self._file, [number, file.path, file.depth, file.replaces, file.inode])

    def sync(self) -> None:
        """Bring the journal to the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            sync_folder(self._path.parent)

    def close(self) -> None:
        """Let go of the file, which stays."""
        if self._file is not None:
            self._file.close()


class Journal:
    """The journal of a load, as it is on the disk; iterated, it gives the staged files.

    A line that is not whole was being written when the load was killed, before anything was
    renamed: what follows it does not count.

    Attributes:
        archives: all that the load applies; none in a journal without a whole first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self._load, *archives = _parsed(file.readline()) or [""]
        self._archives = [UUID(archive) for archive in archives]

    @property
    def archives(self) -> frozenset[UUID]:
        """All archives that the load applies."""
        return frozenset(self._archives)

    def __iter__(self) -> Iterator[StagedFile]:
        """Read the staged files, in their order."""
        with self._open() as file:
            file.readline()
            for number, line in enumerate(file):
                fields = _parsed(line)
                if fields is None:
                    return
                archive, path, depth, replaces, inode = fields
                if media_name_problem(path) is None:
                    archive_id = self._archives[archive]
                    yield StagedFile(archive_id, path, depth, replaces, inode, self._load, number)

    def remove(self) -> None:
        """Delete it, durably: all that it says is done."""
        self._path.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def _open(self) -> IO[str]:
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return os.fdopen(fd, encoding="utf-8", errors="replace")


def read_journal(folder: Path, owner: str) -> Journal | None:
    """Return the journal that a load left or is writing; None if there is none."""
    try:
        return Journal(_path(folder, owner))
    except FileNotFoundError:
        return None


def _path(folder: Path, owner: str) -> Path:
    return folder / f"{TEMPORARY_PREFIX}{owner}.journal"


def _write(file: IO[str], line: list[object]) -> None:
    file.write(json.dumps(line) + "\n")


def _parsed(line: str) -> list[Any] | None:
    try:
        fields = json.loads(line) if line.endswith("\n") else None
    except ValueError:
        return None
    return fields if isinstance(fields, list) else None
