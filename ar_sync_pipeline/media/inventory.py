"""Which media files there are: by scanning the folder, or by the names that rows refer to.

Names are data, wherever they come from (old system, D16 to D19): no shell sees them, none is
taken for an option, and none leads out of the folder. A name that cannot travel is reported.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.manifest import MediaEntry
from ar_sync_pipeline.media.beneath import (
    media_name_problem,
    open_file,
    open_parent,
)
from ar_sync_pipeline.media.errors import MediaChangedError, MediaFolderError, MediaGoneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime(9000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND - 1
_PIECE_BYTES = 1024 * 1024
# Nothing is there, or a folder or a link has taken the place of the file or of a folder on its way.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})


@dataclass(frozen=True, order=True, slots=True)
class MediaFile:
    """A media file that can travel.

    Attributes:
        path: relative to the media folder, ``/`` between components.
        folder: the media folder.
        size_bytes: when it was found.
        modified_at: its mtime, aware UTC, to the microsecond.
    """

    path: str
    folder: Path
    size_bytes: int
    modified_at: datetime

    @property
    def location(self) -> Path:
        """Where the file lies."""
        return self.folder / self.path


@dataclass(frozen=True)
class RefusedName:
    """A name that cannot travel, printable, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReferencedMedia:
    """What became of the names that rows refer to; each name is in exactly one of the three.

    Attributes:
        found: files inside the media folder, sorted.
        missing: harmless names without a file, sorted.
        refused: names that are not those of a regular file inside the folder.
    """

    found: tuple[MediaFile, ...]
    missing: tuple[str, ...]
    refused: tuple[RefusedName, ...]


def scan_media(
    folder: Path,
    patterns: Sequence[str],
    *,
    modified_within: tuple[datetime, datetime] | None = None,
    on_refused: Callable[[RefusedName], None] | None = None,
) -> Iterator[MediaFile]:
    """Find the files of a folder and its subfolders, sorted by path.

    Symbolic links are not followed and hidden names are left out, as by a shell's ``*``: a
    hidden file travels when a row refers to it. Unfinished files of the installer never do.

    Args:
        folder: the media folder.
        patterns: which files, by shell patterns with their case kept; a pattern with a ``/``
            is held against the whole relative path, any other against the last component.
        modified_within: only files whose mtime lies in this half-open interval.
        on_refused: told of each matching file whose name cannot travel (not UTF-8, a newline).

    Raises:
        MediaFolderError: the folder or one of its subfolders cannot be read.
    """
    for relative, entry in _walk(folder, ""):
        if not _matches(relative, patterns):
            continue
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue  # deleted since it was listed: as if the scan had come a moment later
        modified_at = _modified_at(facts)
        if modified_within and not modified_within[0] <= modified_at < modified_within[1]:
            continue
        problem = media_name_problem(relative)
        if problem is None:
            yield MediaFile(relative, folder, facts.st_size, modified_at)
        elif on_refused is not None:
            on_refused(RefusedName(_printable(relative), problem))


def resolve_references(folder: Path, names: Iterable[str]) -> ReferencedMedia:
    """Find the files that rows name, whatever their pattern, and only inside the folder.

    Raises:
        MediaFolderError: the media folder cannot be read.
    """
    found, missing, refused = [], [], []
    _check_folder(folder)
    for name in sorted(set(names)):
        problem = media_name_problem(name)
        try:
            facts = None if problem else _facts_beneath(folder, name)
        except (FileNotFoundError, NotADirectoryError):
            # A link in the place of a folder is ENOTDIR with O_DIRECTORY: refused, not missing.
            if _has_link(folder, name):
                problem = "a folder on its way is a symbolic link"
            else:
                missing.append(name)
                continue
        except OSError as error:
            problem = f"it cannot be opened ({error.strerror})"
        else:
            if facts is not None and not stat.S_ISREG(facts.st_mode):
                problem = "it is not a regular file"
            elif facts is not None:
                found.append(MediaFile(name, folder, facts.st_size, _modified_at(facts)))
        if problem is not None:
            refused.append(RefusedName(_printable(name), problem))
    return ReferencedMedia(tuple(found), tuple(missing), tuple(refused))


def hash_media(files: Iterable[MediaFile]) -> Iterator[MediaEntry]:
    """Describe each file for a manifest, one at a time, by reading it to its end.

    Raises:
        MediaGoneError: a file went away.
        MediaChangedError: a file changed while it was read.
    """
    for file in files:
        try:
            entry = _hash_file(file)
        except OSError as error:
            kind = MediaGoneError if error.errno in _GONE else MediaChangedError
            raise _changed(file, str(error.strerror), kind) from error
        yield entry


def _hash_file(file: MediaFile) -> MediaEntry:
    with open_parent(file.folder, file.path) as (parent, name):
        fd = open_file(parent, name)
    try:
        stream = os.fdopen(fd, "rb", buffering=0)
    except IsADirectoryError:
        os.close(fd)
        raise
    digest = hashlib.sha256()
    with stream:
        before = os.fstat(stream.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise _changed(file, "it is no longer a regular file", MediaGoneError)
        size_bytes = 0
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            size_bytes += len(piece)
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (size_bytes, after.st_mtime_ns):
        raise _changed(file, "it was being written")
    return MediaEntry(
        path=file.path,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        modified_at=_modified_at(after),
    )


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Regular files below a folder with their relative paths, in the order of these paths."""
    try:
        with os.scandir(folder / prefix) as listing:
            entries = [entry for entry in listing if not entry.name.startswith(".")]
    except FileNotFoundError as error:
        if prefix:
            return  # a subfolder deleted since it was listed
        raise _folder_error(folder, error) from error
    except OSError as error:
        raise _folder_error(folder / prefix, error) from error
    # A folder sorts as "name/", so that the walk's order is that of the whole paths.
    order = {e: e.name + "/" * e.is_dir(follow_symlinks=False) for e in entries}
    for entry in sorted(entries, key=order.__getitem__):
        relative = prefix + order[entry]
        if relative.endswith("/"):
            yield from _walk(folder, relative)
        elif entry.is_file(follow_symlinks=False):
            yield relative, entry


def _matches(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(fnmatchcase(relative if "/" in p else name, p) for p in patterns)


def _facts_beneath(folder: Path, name: str) -> os.stat_result:
    with open_parent(folder, name) as (parent, last):
        return os.stat(last, dir_fd=parent, follow_symlinks=False)


def _has_link(folder: Path, name: str) -> bool:
    return any((folder / parent).is_symlink() for parent in list(Path(name).parents)[:-1])


def _check_folder(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _folder_error(folder, error) from error


def _folder_error(folder: Path, error: OSError) -> MediaFolderError:
    return MediaFolderError(
        f"media folder {_printable(str(folder))} cannot be read ({error.strerror})",
        remedy="check that it exists and that this account may list it",
    )


def _changed(
    file: MediaFile, change: str, kind: type[MediaChangedError] = MediaChangedError
) -> MediaChangedError:
    return kind(
        f"{_printable(str(file.location))} changed while it was hashed ({change})",
        remedy="build the archive again",
    )


def _modified_at(facts: os.stat_result) -> datetime:
    # From nanoseconds, because a float of seconds no longer holds microseconds. Cameras without
    # a clock and 64-bit file systems have times that no calendar has.
    microseconds = min(max(facts.st_mtime_ns // 1000, _EARLIEST), _LATEST)
    return _EPOCH + timedelta(microseconds=microseconds)


def _printable(name: str) -> str:
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")
