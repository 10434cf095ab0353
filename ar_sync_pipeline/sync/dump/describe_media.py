"""Hashes the media files of an archive; a file that cannot be hashed prevents no other one."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable

from ar_sync_pipeline.archive.file_stamp import FileStamp, steady_stamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.media.errors import MediaChangedError, MediaGoneError, MediaUnreadableError
from ar_sync_pipeline.media.hash_media import hash_media
from ar_sync_pipeline.media.media_file import MediaFile, OmittedMedia
from ar_sync_pipeline.sync.dump.bundle_files import BundleFiles
from ar_sync_pipeline.sync.dump.select_media import WENT_AWAY, MediaSelection

_TRIES = 3
_PAUSE_SECONDS = 1.0
_WRITTEN = "it was being written"
_TOO_LONG = "its path, with that of the media folder, is too long to be opened"
_PATH_MAX_BYTES = 4096  # of Linux, with the byte that ends it

_Described = list[tuple[MediaEntry, FileStamp | None]]


def describe_all(chosen: MediaSelection) -> None:
    """Hash the chosen files that are not described yet; omit those that cannot be hashed.

    Files that are being written are retried after the others.
    """
    files = chosen.files
    for path in files.folders_among_files():
        chosen.omit(OmittedMedia(path, "it became a folder while it was read", temporary=True))
    for attempt in range(_TRIES):
        left = False
        for page in files.undescribed():
            if attempt and not left:
                time.sleep(_PAUSE_SECONDS)
            left = True
            described, problems = _hash(
                [file.found_in(chosen.folder) for file in page], is_retried=attempt > 0
            )
            files.describe(described)
            for problem in problems:
                chosen.omit(problem)
        if not left:
            return
    for page in files.undescribed():
        for file in page:
            chosen.omit(OmittedMedia(file.path, _WRITTEN, temporary=True))


def describe_again(
    files: BundleFiles, file: MediaFile
) -> tuple[MediaEntry | None, OmittedMedia | None]:
    """Hash a file that may have changed; return its entry, or why it was dropped."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        described, problems = _hash([file], is_retried=True)
        if described:
            files.describe(described)
            return described[0][0], None
        if problems:
            break
    files.drop(file.path)
    return None, next(iter(problems), OmittedMedia(file.path, _WRITTEN, temporary=True))


def _hash(files: Iterable[MediaFile], *, is_retried: bool) -> tuple[_Described, list[OmittedMedia]]:
    """Hash files; one that is neither described nor a problem is being written.

    Args:
        is_retried: Whether the files may have changed since they were found.
    """
    described, problems = _Described(), list[OmittedMedia]()
    fitting = list[MediaFile]()
    for file in files:
        if len(os.fsencode(file.location)) < _PATH_MAX_BYTES:
            fitting.append(file)
        else:  # An upload opens a file by its whole path, unlike the hash.
            problems.append(OmittedMedia(file.path, _TOO_LONG))
    # Before the hash, so that an equal stamp later proves that the file is unchanged.
    left = deque(
        (file, (not is_retried and file.stamp) or steady_stamp(file.location)) for file in fitting
    )
    while left:
        try:
            for entry in hash_media([file for file, _ in left]):
                described.append((entry, left.popleft()[1]))
        except MediaChangedError as error:
            file, _ = left.popleft()
            if isinstance(error, MediaGoneError):
                problems.append(OmittedMedia(file.path, WENT_AWAY))
            elif isinstance(error, MediaUnreadableError):
                problems.append(OmittedMedia(file.path, _cause(error), temporary=True))
    return described, problems


def _cause(error: MediaUnreadableError) -> str:
    cause = error.__cause__
    text = cause.strerror if isinstance(cause, OSError) else None
    return f"it cannot be read ({text or 'no reason is known'})"
