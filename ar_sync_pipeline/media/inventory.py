"""Finds media files by a scan of the folder, or by the names in rows.

All names are data (old system, D16 to D19): they reach no shell, are never taken for an option,
and never lead out of the folder. A name that cannot be sent is reported.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.files import status_of
from ar_sync_pipeline.media.errors import GONE, MediaFolderError
from ar_sync_pipeline.media.media_file import (
    MediaFile,
    OmittedMedia,
    ReferencedMedia,
    RefusedName,
    modified_at,
)
from ar_sync_pipeline.media.safe_paths import NearestFolder, media_name_problem
from ar_sync_pipeline.progress import report_progress
from ar_sync_pipeline.visible_text import visible

_Match = Callable[[str], re.Match[str] | None]

_NOTHING = "(?!)"
IS_A_FOLDER = "it is a folder, and only files are sent"
_LINKED = "it is a symbolic link to a folder"
_DANGLING = "it is a symbolic link that leads to no readable file or folder"


def scan_media(
    folder: Path,
    patterns: Sequence[str],
    *,
    modified_within: tuple[datetime, datetime] | None = None,
    on_refused: Callable[[RefusedName], None] | None = None,
    on_omitted: Callable[[OmittedMedia], None] | None = None,
    below: str = "",
) -> Iterator[MediaFile]:
    """Find the files of a folder and its subfolders, in no order.

    Symbolic links are not followed and hidden names are omitted, as by ``*`` in a shell: a hidden
    file is sent if a row refers to it. Temporary files of the installer are never sent.

    Args:
        folder: The media folder.
        patterns: Case-sensitive shell patterns; a pattern with a ``/`` is compared with the whole
            relative path, any other with the last component.
        modified_within: Half-open interval that the mtime of a file must be in.
        on_refused: Called for each matching file whose name cannot be sent (not UTF-8, a newline).
        on_omitted: Called for each link, folder or special file that matches, for each link to a
            folder or to nothing, as a folder, and for each unreadable entry except ``lost+found``.
        below: Subfolder to scan, such as ``2017/``.

    Raises:
        MediaFolderError: The folder cannot be read.
    """
    walk = _Walk(folder, patterns, modified_within, on_omitted)
    for relative, facts in walk.files(below):
        problem = media_name_problem(relative)
        if problem is None:
            yield MediaFile.of(relative, folder, facts)
        elif on_refused is not None:
            on_refused(RefusedName(relative, problem))


def resolve_references(folder: Path, names: Iterable[str]) -> ReferencedMedia:
    """Find the files that rows name, independent of patterns, and only inside the folder.

    Raises:
        MediaFolderError: The media folder cannot be read.
    """
    found, missing, refused = list[MediaFile](), list[str](), list[RefusedName]()
    _check_folder(folder)
    with closing(NearestFolder(folder)) as nearest:
        for name in sorted(set(names)):
            match _resolved(nearest, folder, name):
                case None:
                    missing.append(name)
                case MediaFile() as file:
                    found.append(file)
                case RefusedName() as problem:
                    refused.append(problem)
    return ReferencedMedia(tuple(found), tuple(missing), tuple(refused))


def _resolved(nearest: NearestFolder, folder: Path, name: str) -> MediaFile | RefusedName | None:
    """Return the file of a name in a row, or why there cannot be one; None if it is missing."""
    if problem := media_name_problem(name):
        return RefusedName(name, problem)
    try:
        facts = _facts_below(nearest, name)
    except FileNotFoundError as error:
        raise _folder_error(folder, error) from error
    except NotADirectoryError as error:
        problem = "a folder in its path is a link or special file"
        return RefusedName(name, problem, omits=f"{error.filename}/")
    except OSError as error:
        problem = f"it cannot be opened ({error.strerror})"
        return RefusedName(name, problem, temporary=error.errno not in GONE)
    if facts is None:
        return None
    if not stat.S_ISREG(facts.st_mode):
        omits = None if stat.S_ISDIR(facts.st_mode) else name
        return RefusedName(name, "it is not a regular file", omits=omits)
    return MediaFile.of(name, folder, facts)


@dataclass(frozen=True)
class _Walk:
    """Finds the matching files of a folder, and reports the others."""

    folder: Path
    patterns: Sequence[str]
    modified_within: tuple[datetime, datetime] | None
    on_omitted: Callable[[OmittedMedia], None] | None

    def files(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the regular files below a subfolder, ``""`` or a path that ends with ``/``."""
        # Not by recursion: a tree may have more levels than Python's stack.
        prefixes = [prefix]
        while prefixes:
            prefix = prefixes.pop()
            for name, entry in self._listed(prefix):
                report_progress()
                relative = prefix + name
                if relative.endswith("/"):
                    # A folder is reported if it matches "*.jpeg", not if it matches "*".
                    if matches_any(relative[:-1], [p for p in self.patterns if p[-1:] != "*"]):
                        self._report(relative, IS_A_FOLDER, entry)
                    prefixes.append(relative)
                elif (facts := self._file(relative, entry)) is not None:
                    yield relative, facts

    def _file(self, relative: str, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Return the metadata of a matching regular file; report anything else that matches."""
        matches = matches_any(relative, self.patterns)
        try:
            facts = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None  # deleted after it was listed, as if before the scan
        except OSError as error:
            if matches:
                self._fail(relative, error)
            if _may_be_folder(entry):
                self._fail(f"{relative}/", error)
            return None
        if stat.S_ISREG(facts.st_mode):
            return facts if matches and self._in_time(facts) else None
        if stat.S_ISLNK(facts.st_mode) and _may_be_folder(entry):
            is_folder = _leads_to_folder(entry)
            self._report(f"{relative}/", _LINKED if is_folder else _DANGLING, entry)
            matches = matches and not is_folder
        if matches:
            self._report(relative, _kind_of(facts.st_mode), entry)
        return None

    def _listed(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield the entries of a folder; the name of a subfolder ends with ``/``."""
        try:
            with os.scandir(self.folder / prefix) as listing:
                for entry in listing:
                    if not entry.name.startswith("."):
                        yield _listed_name(entry), entry
        except (FileNotFoundError, NotADirectoryError) as error:
            if not prefix:  # else the subfolder was deleted or replaced after it was listed
                raise _folder_error(self.folder, error) from error
        except OSError as error:
            if not prefix:
                raise _folder_error(self.folder, error) from error
            if not is_lost_and_found(self.folder / prefix):
                self._fail(prefix, error)

    def _in_time(self, facts: os.stat_result) -> bool:
        within = self.modified_within
        return within is None or within[0] <= modified_at(facts) < within[1]

    def _report(self, relative: str, reason: str, entry: os.DirEntry[str]) -> None:
        """Report an entry that is not sent, if it was modified within the interval."""
        if self.on_omitted is None:
            return
        try:
            in_time = self._in_time(entry.stat(follow_symlinks=False))
        except OSError:
            in_time = True
        if in_time:
            self.on_omitted(OmittedMedia(relative, reason))

    def _fail(self, relative: str, error: OSError) -> None:
        if self.on_omitted is not None:
            reason = f"it cannot be read ({error.strerror})"
            self.on_omitted(OmittedMedia(relative, reason, temporary=True))


def is_empty(folder: Path) -> bool:
    """Return whether the media folder contains nothing but hidden names.

    Raises:
        MediaFolderError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as listing:
            return all(entry.name.startswith(".") for entry in listing)
    except OSError as error:
        raise _folder_error(folder, error) from error


def is_lost_and_found(folder: Path) -> bool:
    """Return whether a folder is that of e2fsck(8), in which only root can have files."""
    try:
        return folder.name == "lost+found" and folder.lstat().st_uid == 0
    except OSError:
        return False


def _listed_name(entry: os.DirEntry[str]) -> str:
    try:
        return entry.name + "/" * entry.is_dir(follow_symlinks=False)
    except OSError:
        return entry.name


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is no file, as far as can be seen: its disk may not be mounted."""
    try:
        return not entry.is_file()
    except OSError:
        return True


def _kind_of(mode: int) -> str:
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file"


def matches_any(relative: str, patterns: Sequence[str]) -> bool:
    """Return whether a pattern matches the name of a file, or its path if the pattern has a /."""
    of_names, of_paths = _compiled(tuple(patterns))
    name = relative.rpartition("/")[2]
    return of_names(name) is not None or of_paths(relative) is not None


@lru_cache
def _compiled(patterns: tuple[str, ...]) -> tuple[_Match, _Match]:
    """Return one function each for the patterns of names and those of paths."""
    return _any_of(p for p in patterns if "/" not in p), _any_of(p for p in patterns if "/" in p)


def _any_of(patterns: Iterable[str]) -> _Match:
    expressions = map(translate, patterns)
    return re.compile("|".join(expressions) or _NOTHING).match


def _facts_below(nearest: NearestFolder, name: str) -> os.stat_result | None:
    """Return the metadata of a name; None if the name or one of its folders is missing."""
    parent, depth = nearest.of(name)
    *folders, last = name.split("/")
    return status_of(parent, last) if depth == len(folders) else None


def _check_folder(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise _folder_error(folder, error) from error


def _folder_error(folder: Path, error: OSError) -> MediaFolderError:
    failed = disk_error(error)
    remedy = "check that it exists and that this account has permission to list it"
    return MediaFolderError(
        f"media folder {visible(str(folder))} cannot be read ({error.strerror})",
        remedy=failed.remedy if failed else remedy,
    )
