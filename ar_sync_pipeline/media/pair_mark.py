"""Mark of a receiver's media folder: the pair that installs files in it.

Two pairs with one folder would replace each other's files of the same name. A pair without a name
leaves no mark, since it is the only one of its Dagster instance.
"""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.files import HeldFolder, write_atomically
from ar_sync_pipeline.media.errors import MediaFolderError, MediaOfAnotherError
from ar_sync_pipeline.media.safe_paths import TEMPORARY_PREFIX
from ar_sync_pipeline.visible_text import visible

MARK = f"{TEMPORARY_PREFIX}pair"
"""Name of the mark; no archive can carry a file of this name."""

_MOST_BYTES = 1_000


def check_mark(folder: Path, pair: str) -> bool:
    """Return whether a media folder is marked as that of a pair.

    Args:
        folder: The media folder.
        pair: Name of the pair; empty: the only one.

    Raises:
        MediaOfAnotherError: It is marked as that of another pair.
        MediaFolderError: The folder or the mark cannot be read.
    """
    try:
        with HeldFolder.open(folder, follow=True) as held:
            found = held.read(MARK, _MOST_BYTES).decode(errors="replace").strip()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(folder, error) from error
    if found != pair:
        raise MediaOfAnotherError(
            f"the media folder {folder} is that of the pair {visible(found) or 'without a name'},"
            f" and this receiver's pair is {pair or 'without a name'}",
            remedy="give each pair its own AR_SYNC_RECEIVER_MEDIA_FLDR; if this pair took the place"
            f" of that one, delete {folder / MARK}",
        )
    return True


def claim_folder(folder: Path, pair: str) -> None:
    """Mark a media folder as that of a pair, or refuse that of another one.

    Raises:
        MediaOfAnotherError: It is marked as that of another pair.
        MediaFolderError: The mark cannot be read or written.
    """
    if check_mark(folder, pair) or not pair:
        return
    try:
        write_atomically(folder / MARK, f"{pair}\n".encode())
        # Receivers of other pairs may run as other accounts.
        (folder / MARK).chmod(0o644)
    except OSError as error:
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: OSError) -> MediaFolderError:
    failed = disk_error(error)
    remedy = "check that the folder exists and that this account may read and write in it"
    return MediaFolderError(
        f"the mark {folder / MARK} of the media folder cannot be used ({error.strerror})",
        remedy=failed.remedy if failed else remedy,
    )
