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

_STATE = "state"


def filled_folders(settings: SenderSettings | ReceiverSettings) -> dict[str, Path]:
    """Return the folders that a side fills, by the names that are shown."""
    state = _state_folder(settings)
    if isinstance(settings, ReceiverSettings):
        spool, media = settings.remote_bkp_fldr, settings.receiver_media_fldr
        return {"spool": spool, "media": media, _STATE: state}
    return {"scratch": settings.tmp_bkp_fldr, _STATE: state}


def _state_folder(settings: SenderSettings | ReceiverSettings) -> Path:
    return existing_folder(incidents_file(settings).parent)


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


def unwritable_folders(spaces: Mapping[str, FreeSpace]) -> tuple[str, ...]:
    """Return a clause for each folder in which no file can be made, however much is free."""
    return tuple(
        f"{name} cannot be written ({space.unwritable})"
        f"{', so no new alert is kept' if name == _STATE else ''}"
        for name, space in spaces.items()
        if space.unwritable
    )


def why_no_alert_is_kept(settings: SenderSettings | ReceiverSettings) -> str:
    """Return that the folder of incidents cannot be written, as a clause; empty if it can be."""
    return "".join(unwritable_folders(_measured({_STATE: _state_folder(settings)})))


def known_spaces(folders: Mapping[str, Path]) -> dict[str, FreeSpace]:
    """Return the free space of the folders that can be measured."""
    return {name: space for name, space in _measured(folders).items() if space.is_known}


def _measured(folders: Mapping[str, Path]) -> dict[str, FreeSpace]:
    spaces = {}
    for name, folder in folders.items():
        # A check of the folder, or whatever uses it, reports the failure.
        with suppress(DiskFailedError):
            spaces[name] = measure_free_space(folder)
    return spaces


def low_disks(settings: SenderSettings | ReceiverSettings) -> tuple[str, ...]:
    """Return clauses that name folders that cannot be written, or have too little free space."""
    floor, spaces = settings.free_space_floor, _measured(filled_folders(settings))
    low = [name for name, space in spaces.items() if space.is_below(floor)]
    clause = f"less than {floor} % of the disk is free: {', '.join(low)}"
    return (*unwritable_folders(spaces), *([clause] if low else []))
