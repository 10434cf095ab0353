"""Check that the receiver's media folder is the one in which completes installed files."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.media.errors import MediaFolderError, MediaLostError, MediaNotMountedError
from ar_sync_pipeline.media.presence import are_all_missing, is_below_mount
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.installed_media import read_installed


def lost_media(
    connection: Connection, folder: Path
) -> MediaLostError | MediaNotMountedError | None:
    """Return the error of a media folder that has no file of the newest complete; None if it has.

    What cannot be read is not judged: other checks report it.
    """
    known = read_installed(connection)
    if known is None or not are_all_missing(folder, known.paths):
        return None
    try:
        unmounted = is_below_mount(folder, Path(known.mounted_at))
    except MediaFolderError:
        return None
    if unmounted:
        return MediaNotMountedError(folder, known.mounted_at)
    return MediaLostError(folder, len(known.paths))


def check_mounted(connection: Connection, folder: Path) -> None:
    """Check, before anything is written to the media folder, that its disk is mounted.

    Raises:
        MediaNotMountedError: It looks as if it is not.
    """
    error = lost_media(connection, folder)
    if isinstance(error, MediaNotMountedError):
        raise error
