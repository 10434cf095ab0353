"""The disks that a side fills, and which of them have too little free space."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ar_sync_pipeline.disk_errors import DiskFailedError, measure_free_space
from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.alerting import incidents_file


def filled_folders(settings: SenderSettings | ReceiverSettings) -> dict[str, Path]:
    """Return the folders that a side fills, by the names that are shown."""
    state = existing_folder(incidents_file(settings).parent)
    if isinstance(settings, ReceiverSettings):
        spool, media = settings.remote_bkp_fldr, settings.receiver_media_fldr
        return {"spool": spool, "media": media, "state": state}
    return {"scratch": settings.tmp_bkp_fldr, "state": state}


def existing_folder(folder: Path) -> Path:
    """Return a folder that is made when it is needed, or the one in which it will be made."""
    # A link to a disk that is not mounted is there: no folder can be made in its place.
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def leads_nowhere(path: Path) -> bool:
    """Return whether a path is a link to what does not exist, such as a disk not mounted."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:
        return False
    return False


def known_spaces(folders: Mapping[str, Path]) -> dict[str, FreeSpace]:
    """Return the free space of the folders that can be measured."""
    spaces = {}
    for name, folder in folders.items():
        # A check of the folder, or whatever uses it, reports the failure.
        with suppress(DiskFailedError):
            space = measure_free_space(folder)
            if space.is_known:
                spaces[name] = space
    return spaces


def low_disks(settings: SenderSettings | ReceiverSettings) -> tuple[str, ...]:
    """Return a clause that names the folders with too little free space; none if there are none."""
    floor, spaces = settings.free_space_floor, known_spaces(filled_folders(settings))
    low = [name for name, space in spaces.items() if space.is_below(floor)]
    return (f"less than {floor} % of the disk is free: {', '.join(low)}",) if low else ()
