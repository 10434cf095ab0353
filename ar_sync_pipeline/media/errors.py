"""What can go wrong with media files, as errors with a policy.

::

    MediaFolderError (parked)      a folder or file that the operator must put right
    MediaSpaceError (parked)       the disk has no room
    MediaChangedError (transient)  a picture changed while it was being hashed
    ├── MediaGoneError             it is no longer there
    └── MediaUnreadableError       the operating system does not give its bytes
    MediaContentError (terminal)   bytes that are not those which the manifest declares
    MediaNameError (terminal)      a name that would leave the folder, or is reserved
"""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TerminalError, TransientError


class MediaFolderError(ParkedError):
    """The media folder, or something in it, is missing, of the wrong kind, or not accessible."""


class MediaSpaceError(ParkedError):
    """The disk of the media folder has no room for a file."""


class MediaChangedError(TransientError):
    """A file changed or went away between being found and being hashed."""


class MediaGoneError(MediaChangedError):
    """A file went away between being found and being hashed."""


class MediaUnreadableError(MediaChangedError):
    """A file's bytes cannot be read: no right, a fault of the disk; another try now is no use."""


class MediaContentError(TerminalError):
    """A file's bytes are not those that its manifest declares."""


class MediaNameError(TerminalError):
    """A name from an archive that is not one of a file inside the media folder."""
