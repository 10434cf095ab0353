"""Check that the receiver's media folder is the one in which completes installed files."""

from __future__ import annotations

from pathlib import Path

import psycopg

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.media.errors import MediaFolderError, MediaLostError, MediaNotMountedError
from ar_sync_pipeline.media.presence import are_all_missing, is_below_mount
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.installed_media import read_installed
from ar_sync_pipeline.settings.model import ReceiverSettings


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


def lost_media_in_words(settings: ReceiverSettings) -> str:
    """Return the problem of the media folder; empty if there is none, or it cannot be known now."""
    try:
        with connect(settings.database_url, application="check") as connection:
            error = lost_media(connection, settings.receiver_media_fldr)
    except (ArSyncError, psycopg.Error):
        return ""
    return error.problem if error is not None else ""


def check_mounted(connection: Connection, folder: Path) -> None:
    """Check, before anything is written to the media folder, that its disk is mounted.

    Raises:
        MediaNotMountedError: It looks as if it is not.
    """
    error = lost_media(connection, folder)
    if isinstance(error, MediaNotMountedError):
        raise error
