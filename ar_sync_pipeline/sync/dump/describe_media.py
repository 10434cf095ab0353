"""Hashes the media files of an archive; a file that cannot be hashed prevents no other one."""

from __future__ import annotations

import time

from ar_sync_pipeline.archive.file_stamp import steady_stamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.media.errors import (
    MediaChangedError,
    MediaGoneError,
    MediaUnreadableError,
)
from ar_sync_pipeline.media.inventory import MediaFile, OmittedMedia, hash_media
from ar_sync_pipeline.sync.dump.bundle_files import BundleFiles
from ar_sync_pipeline.sync.dump.select_media import WENT_AWAY, MediaSelection

_TRIES = 3
_PAUSE_SECONDS = 1.0
_WRITTEN = "it was being written"


def describe_all(chosen: MediaSelection) -> None:
    """Hash the chosen files that are not described yet; omit those that cannot be hashed.

    Files that are being written are retried after the others.
    """
    files = chosen.files
    for path in files.folders_among_files():
        chosen.omit(OmittedMedia(path, "it became a folder while it was read", temporary=True))
    for attempt in range(_TRIES):
        left = False
        for file in files.undescribed():
            if attempt and not left:
                time.sleep(_PAUSE_SECONDS)
            left = True
            problem = _describe(files, file.found_in(chosen.folder))[1]
            if problem is not None:
                chosen.omit(problem)
        if not left:
            return
    for file in files.undescribed():
        chosen.omit(OmittedMedia(file.path, _WRITTEN, temporary=True))


def describe_again(
    files: BundleFiles, file: MediaFile
) -> tuple[MediaEntry | None, OmittedMedia | None]:
    """Hash a file that may have changed; return its entry, or why it was dropped."""
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        entry, problem = _describe(files, file)
        if entry is not None or problem is not None:
            break
    else:
        problem = OmittedMedia(file.path, _WRITTEN, temporary=True)
    if problem is not None:
        files.drop(file.path)
    return entry, problem


def _describe(files: BundleFiles, file: MediaFile) -> tuple[MediaEntry | None, OmittedMedia | None]:
    """Hash a file; neither an entry nor a problem: it is being written."""
    # Before the hash, so that an equal stamp later proves that the file is unchanged.
    stamp = steady_stamp(file.location)
    try:
        entry = next(hash_media([file]))
    except MediaGoneError:
        return None, OmittedMedia(file.path, WENT_AWAY)
    except MediaUnreadableError as error:
        return None, OmittedMedia(file.path, _cause(error), temporary=True)
    except MediaChangedError:
        return None, None
    files.describe(entry, stamp)
    return entry, None


def _cause(error: MediaUnreadableError) -> str:
    cause = error.__cause__
    text = cause.strerror if isinstance(cause, OSError) else None
    return f"it cannot be read ({text or 'no reason is known'})"
