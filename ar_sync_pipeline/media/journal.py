"""Journal of the staged media files of a load, from which a killed load is recovered.

It is in the media folder while a load has staged files, and durable before the first file is
renamed into place. The temporary names follow from it. Together they determine how each rename is
finished or undone, in whatever step the load was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import UUID

from pydantic_core import to_json

from ar_sync_pipeline.archive.member_names import folders_of
from ar_sync_pipeline.files import HeldFolder, create_file, open_file, sync_folder
from ar_sync_pipeline.media.errors import MediaFolderError, MediaTakenOverError
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX, media_name_problem

_MOVED_ASIDE = ".moved-aside-"
_LONGEST_SHOWN = 200
# It becomes a part of file names.
_LOAD = re.compile("[0-9a-f]{8}-[0-9a-f]{8}")


class StagedFile(NamedTuple):
    """A file under a temporary name, on the file system of its final path.

    Attributes:
        archive_id: Id of the archive that contains the file.
        path: Final path, relative to the media folder.
        depth: Number of folders of the path that existed at staging; the last one contains the
            staged file.
        replaces: Whether an entry had the name of the file or of one of its folders.
        inode: Inode of the staged file, which identifies it after the rename.
        load: Digits that mark the temporary names of one load.
        number: Number of the file in the load.
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
        """Path of the staged file, relative to the media folder."""
        return "/".join([*self.path.split("/")[: self.depth], self.staged_name])

    @property
    def staged_name(self) -> str:
        """Temporary name of the staged file."""
        return staged_name(self.load, self.number)

    @property
    def backup_name(self) -> str:
        """Temporary name of the file that it replaces, in the folder of the final path."""
        return f"{self.staged_name}.old"

    @property
    def folders(self) -> list[str]:
        """Folders of the final path, relative to the media folder, outermost first."""
        return [*folders_of(self.path)][::-1]

    @property
    def has_its_folder(self) -> bool:
        """Whether the staged file is in the folder of its final path."""
        return self.depth == self.path.count("/")

    def moved_name(self, name: str) -> str:
        """Return the new name of an entry of another type that blocks ``name``.

        It is short enough for any file system, and differs for each name.
        """
        shown = name.encode()[:_LONGEST_SHOWN].decode(errors="ignore")
        digest = hashlib.sha256(f"{self.load}/{name}".encode()).hexdigest()
        return f"{shown}{_MOVED_ASIDE}{digest[:8]}"


def staged_name(load: str, number: int) -> str:
    """Return the temporary name of a file in a load."""
    return f"{TEMPORARY_PREFIX}{load}-{number}"


class JournalWriter:
    """Writes the journal of one load; the first file creates it.

    Args:
        folder: The media folder.
        owner: Eight hexadecimal digits that mark the temporary names of one ledger.
        archives: Ids of all archives that the load applies.
    """

    def __init__(self, folder: Path, owner: str, archives: Sequence[UUID]) -> None:
        self.load = f"{owner}-{secrets.token_hex(4)}"
        self._path = _path(folder, owner)
        self._archives = {archive: number for number, archive in enumerate(archives)}
        self._file: IO[str] | None = None

    @property
    def has_files(self) -> bool:
        """Whether a file was staged."""
        return self._file is not None

    def add(self, file: StagedFile) -> None:
        """Record a staged file; `sync` makes the record durable.

        Raises:
            MediaTakenOverError: There is another load's journal.
        """
        if self._file is None:
            try:
                fd = create_file(self._path, 0o600)
            except FileExistsError as error:
                raise taken_over(self._path.parent) from error
            self._file = os.fdopen(fd, "w", encoding="utf-8")
            _write(self._file, [self.load, *map(str, self._archives)])
        number = self._archives[file.archive_id]
        _write(self._file, [number, file.path, file.depth, file.replaces, file.inode])

    def sync(self) -> None:
        """Fsync the journal."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            sync_folder(self._path.parent)

    def close(self) -> None:
        """Close the journal; its file stays."""
        if self._file is not None:
            # It writes what an earlier write or `sync` could not, and reported.
            with suppress(OSError):
                self._file.close()


class Journal:
    """Journal of a load on the disk; iterating over it yields the staged files.

    An incomplete line was being written when the load was killed, before any rename. It and
    everything after it are ignored, as is a line that no load writes: other accounts may be able to
    write to the media folder.

    Attributes:
        load: Digits that mark the temporary names of the load; empty if the first line is
            incomplete.
        archives: Ids of all archives that the load applies; empty if the first line is incomplete.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as file:
            self.load, self._archives = _head(_parsed(file.readline()))

    @property
    def archives(self) -> frozenset[UUID]:
        """Return the ids of all archives that the load applies."""
        return frozenset(self._archives)

    def __iter__(self) -> Iterator[StagedFile]:
        """Yield the staged files in order; none if it is the journal of another load by now."""
        with self._open() as file:
            if _head(_parsed(file.readline()))[0] != self.load:
                return
            for number, line in enumerate(file):
                staged = self._staged(_parsed(line), number)
                if staged is None:
                    return
                yield staged

    def remove(self) -> None:
        """Delete the journal durably, after all its files were finished or undone.

        The journal of another load stays.
        """
        with suppress(FileNotFoundError):
            if Journal(self._path).load == self.load:
                self._path.unlink()
        sync_folder(self._path.parent)

    def _staged(self, fields: list[Any] | None, number: int) -> StagedFile | None:
        """Return the file of a line; None if no load has written it."""
        match fields:
            case [int(archive), str(path), int(depth), bool(replaces), int(inode)] if (
                0 <= archive < len(self._archives)
                and media_name_problem(path) is None
                and 0 <= depth <= path.count("/")
            ):
                archive_id = self._archives[archive]
                return StagedFile(archive_id, path, depth, replaces, inode, self.load, number)
        return None

    def _open(self) -> IO[str]:
        with HeldFolder.open(self._path.parent, follow=True) as folder:
            facts = folder.facts(self._path.name)
            if facts is not None and not stat.S_ISREG(facts.st_mode):
                raise self._unusable()
            fd = open_file(folder.fd, self._path.name)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise self._unusable()
        return os.fdopen(fd, encoding="utf-8", errors="replace")

    def _unusable(self) -> MediaFolderError:
        return MediaFolderError(
            f"{self._path} is not a regular file",
            remedy="remove it; loads write a journal of this name, and nothing else does",
        )


def read_journal(folder: Path, owner: str) -> Journal | None:
    """Return the journal of a killed or running load; None if there is none."""
    try:
        return Journal(_path(folder, owner))
    except FileNotFoundError:
        return None


def taken_over(folder: Path) -> MediaTakenOverError:
    """Return the error for a journal that is not that of this load."""
    return MediaTakenOverError(
        f"another load uses {folder}, or somebody has removed the journal of this load from it",
        remedy="it is tried again by itself; leave files that begin with .ar-sync- to the loads",
    )


def _path(folder: Path, owner: str) -> Path:
    return folder / f"{TEMPORARY_PREFIX}{owner}.journal"


def _write(file: IO[str], line: list[object]) -> None:
    file.write(to_json(line).decode() + "\n")


def _head(fields: list[Any] | None) -> tuple[str, list[UUID]]:
    """Return the digits of the load and its archives; none if no load has written the line."""
    match fields:
        case [str(load), *archives] if _LOAD.fullmatch(load):
            with suppress(ValueError):
                return load, [UUID(str(archive)) for archive in archives]
    return "", []


def _parsed(line: str) -> list[Any] | None:
    try:
        fields = json.loads(line) if line.endswith("\n") else None
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, list) else None
