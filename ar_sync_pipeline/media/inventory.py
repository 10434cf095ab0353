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
from ar_sync_pipeline.files import open_file
from ar_sync_pipeline.media.errors import (
    MediaChangedError,
    MediaFolderError,
    MediaGoneError,
    MediaUnreadableError,
)
from ar_sync_pipeline.media.safe_paths import (
    media_name_problem,
    open_parent,
)
from ar_sync_pipeline.visible_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime(9000, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND - 1
_PIECE_BYTES = 1024 * 1024
IS_A_FOLDER = "it is a folder, of which only the files are sent"
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
    """A name that cannot travel, printable, with the reason.

    Attributes:
        temporary: whether the file may well travel later, once it can be read; the name is then
            as it is.
    """

    name: str
    reason: str
    temporary: bool = False


@dataclass(frozen=True)
class OmittedMedia:
    """Something in the media folder that is not sent as it is now.

    Attributes:
        path: relative to the media folder; of a folder with a ``/`` at its end.
        reason: why, as a clause.
        temporary: whether it may be sent once it can be read.
    """

    path: str
    reason: str
    temporary: bool = False


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
    on_omitted: Callable[[OmittedMedia], None] | None = None,
    below: str = "",
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
        on_omitted: told of each link, folder or special file that matches, of each link to a
            folder, and of what cannot be read, which is an error without it.
        below: only what is in this subfolder, such as ``2017/``.

    Raises:
        MediaFolderError: the folder cannot be read, or one of its subfolders.
    """
    walk = _Walk(folder, patterns, modified_within, on_omitted)
    for relative, facts in walk.files(below):
        problem = media_name_problem(relative)
        if problem is None:
            yield MediaFile(relative, folder, facts.st_size, _modified_at(facts))
        elif on_refused is not None:
            on_refused(RefusedName(visible(relative), problem))


def resolve_references(folder: Path, names: Iterable[str]) -> ReferencedMedia:
    """Find the files that rows name, whatever their pattern, and only inside the folder.

    Raises:
        MediaFolderError: the media folder cannot be read.
    """
    found, missing, refused = [], [], []
    _check_folder(folder)
    for name in sorted(set(names)):
        problem, temporary = media_name_problem(name), False
        try:
            facts = None if problem else _facts_below(folder, name)
        except (FileNotFoundError, NotADirectoryError):
            # A link in the place of a folder is ENOTDIR with O_DIRECTORY: refused, not missing.
            if _has_link(folder, name):
                problem = "a folder on its way is a symbolic link"
            else:
                missing.append(name)
                continue
        except OSError as error:
            problem = f"it cannot be opened ({error.strerror})"
            temporary = error.errno not in _GONE
        else:
            if facts is not None and not stat.S_ISREG(facts.st_mode):
                problem = "it is not a regular file"
            elif facts is not None:
                found.append(MediaFile(name, folder, facts.st_size, _modified_at(facts)))
        if problem is not None:
            shown = name if temporary else visible(name)
            refused.append(RefusedName(shown, problem, temporary))
    return ReferencedMedia(tuple(found), tuple(missing), tuple(refused))


def hash_media(files: Iterable[MediaFile]) -> Iterator[MediaEntry]:
    """Describe each file for a manifest, one at a time, by reading it to its end.

    Raises:
        MediaGoneError: a file went away.
        MediaUnreadableError: it cannot be opened or read.
        MediaChangedError: a file changed while it was read.
    """
    for file in files:
        try:
            entry = _hash_file(file)
        except OSError as error:
            kind = MediaGoneError if error.errno in _GONE else MediaUnreadableError
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
            if size_bytes > before.st_size:
                break  # it grows, perhaps faster than it can be read
        after = os.fstat(stream.fileno())
    if (before.st_size, before.st_mtime_ns) != (size_bytes, after.st_mtime_ns):
        raise _changed(file, "it was being written")
    return MediaEntry(
        path=file.path,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        modified_at=_modified_at(after),
    )


@dataclass(frozen=True)
class _Walk:
    """The files of a folder that match, in the order of their whole paths; the rest is told."""

    folder: Path
    patterns: Sequence[str]
    modified_within: tuple[datetime, datetime] | None
    on_omitted: Callable[[OmittedMedia], None] | None

    def files(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Regular files below a subfolder, ``""`` or a path with a ``/`` at its end."""
        for order, entry in self._entries(prefix):
            relative = prefix + order
            if relative.endswith("/"):
                # Of a pattern such as "*.jpeg", not of one that fits every folder.
                if _matches(relative[:-1], [p for p in self.patterns if p[-1:] != "*"]):
                    self._tell(relative, IS_A_FOLDER, entry)
                yield from self.files(relative)
            elif (facts := self._file(relative, entry)) is not None:
                yield relative, facts

    def _file(self, relative: str, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return what there is to say of a regular file that matches; anything else is told."""
        matches = _matches(relative, self.patterns)
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # deleted since it was listed: as if the scan had come a moment later
        except OSError as error:
            if matches:
                self._fail(relative, error)
            return None
        if stat.S_ISREG(facts.st_mode):
            return facts if matches and self._in_time(facts) else None
        if _leads_to_folder(entry):
            self._tell(f"{relative}/", "it is a symbolic link to a folder", entry)
        elif matches:
            self._tell(relative, _kind_of(facts.st_mode), entry)
        return None

    def _entries(self, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
        """Return what is in a folder, a folder as ``name/``, so that the order is that of whole paths."""
        try:
            with os.scandir(self.folder / prefix) as listing:
                found = [entry for entry in listing if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError) as error:
            if prefix:
                return []  # a subfolder deleted since it was listed, or a file by now
            raise _folder_error(self.folder, error) from error
        except OSError as error:
            if not prefix:
                raise _folder_error(self.folder, error) from error
            self._fail(prefix, error)
            return []
        return sorted(((_order(entry), entry) for entry in found), key=lambda pair: pair[0])

    def _in_time(self, facts: os.stat_result) -> bool:
        within = self.modified_within
        return within is None or within[0] <= _modified_at(facts) < within[1]

    def _tell(self, relative: str, reason: str, entry: os.DirEntry[str]) -> None:
        """Say what is not sent; with an interval of time only what came in it."""
        if self.on_omitted is None:
            return
        try:
            in_time = self._in_time(entry.stat(follow_symlinks=False))
        except OSError:
            in_time = True
        if in_time:
            self.on_omitted(OmittedMedia(relative, reason))

    def _fail(self, relative: str, error: OSError) -> None:
        if self.on_omitted is None:
            raise _folder_error(self.folder / relative, error) from error
        self.on_omitted(
            OmittedMedia(relative, f"it cannot be read ({error.strerror})", temporary=True)
        )


def _order(entry: os.DirEntry[str]) -> str:
    try:
        return entry.name + "/" * entry.is_dir(follow_symlinks=False)
    except OSError:
        return entry.name


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:
        return False


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file"


def _matches(relative: str, patterns: Sequence[str]) -> bool:
    name = relative.rpartition("/")[2]
    return any(fnmatchcase(relative if "/" in p else name, p) for p in patterns)


def _facts_below(folder: Path, name: str) -> os.stat_result:
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
        f"media folder {visible(str(folder))} cannot be read ({error.strerror})",
        remedy="check that it exists and that this account may list it",
    )


def _changed(
    file: MediaFile, change: str, kind: type[MediaChangedError] = MediaChangedError
) -> MediaChangedError:
    what = "cannot be read" if kind is MediaUnreadableError else "changed while it was hashed"
    return kind(
        f"{visible(str(file.location))} {what} ({change})", remedy="build the archive again"
    )


def _modified_at(facts: os.stat_result) -> datetime:
    # From nanoseconds, because a float of seconds no longer holds microseconds. Cameras without
    # a clock and 64-bit file systems have times that no calendar has.
    microseconds = min(max(facts.st_mtime_ns // 1000, _EARLIEST), _LATEST)
    return _EPOCH + timedelta(microseconds=microseconds)
