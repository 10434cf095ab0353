"""Errors of media files.

::

    MediaFolderError (parked)      the operator must correct a folder or file
    ├── MediaLostError             none of the installed files is in the folder any more
    └── MediaNotMountedError       the folder is the empty one below its mount
    MediaSpaceError (parked)       the disk has too little free space
    MediaChangedError (transient)  a file changed while it was hashed
    ├── MediaGoneError             the file no longer exists
    └── MediaUnreadableError       the file cannot be read
    MediaTakenOverError (transient)  another load uses the folder
    MediaContentError (terminal)   the bytes differ from the manifest
    MediaNameError (terminal)      the name leads out of the folder, or is reserved
"""

from __future__ import annotations

import errno
from pathlib import Path

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError

# The name does not exist, or the file or one of its folders was replaced by a folder or a link.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})


class MediaFolderError(ParkedError):
    """The media folder, or an entry in it, is missing, of the wrong type or not accessible."""


class MediaLostError(MediaFolderError):
    """The receiver's media folder has none of the files that the newest complete left in it."""

    def __init__(self, folder: Path, looked_for: int) -> None:
        super().__init__(
            f"the media folder {folder} has none of the files that the newest complete left in it"
            f" ({looked_for} of them were looked for)",
            remedy="mount its disk, or correct AR_SYNC_RECEIVER_MEDIA_FLDR; if the files were"
            " deleted or the folder is new, the sender's next complete and the one after it bring"
            " them by themselves",
        )


class MediaNotMountedError(MediaFolderError):
    """The receiver's media folder is empty, and its file system is not mounted as it was."""

    def __init__(self, folder: Path, mounted_at: str) -> None:
        super().__init__(
            f"the media folder {folder} is empty, and its disk, which was mounted at {mounted_at}"
            " when the newest complete was applied, is not mounted there",
            remedy=f"mount the disk at {mounted_at}, loads wait for it; if there is no such disk"
            f" now, make a file {folder}/files_are_lost: loads continue, and the sender's next"
            " complete and the one after it bring the files by themselves",
        )


class MediaOfAnotherError(TerminalError):
    """The receiver's media folder is that of another pair."""


class MediaSpaceError(ParkedError):
    """The disk of the media folder has too little free space for a file."""


class MediaChangedError(TransientError):
    """A file changed or was deleted after it was found and before it was hashed."""


class MediaGoneError(MediaChangedError):
    """A file was deleted after it was found and before it was hashed."""


class MediaUnreadableError(MediaChangedError):
    """A file cannot be read: permissions are missing or the disk fails."""


class MediaTakenOverError(TransientError):
    """Another load uses the receiver's media folder, or the journal of the load was removed."""


class MediaContentError(TerminalError):
    """The bytes of a file differ from the manifest."""


class MediaNameError(TerminalError):
    """A name from an archive is not that of a file inside the media folder."""
