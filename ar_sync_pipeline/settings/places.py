"""Where settings are read from, for messages: the environment, and ``.env`` in this folder."""

from __future__ import annotations

from pathlib import Path

from ar_sync_pipeline.files import is_kind

_FILE = Path(".env")


def settings_file() -> Path:
    """Return the file that commands and Dagster read settings from, whether or not it exists."""
    return _FILE.absolute()


def settings_places() -> str:
    """Return where a setting that was read can be corrected."""
    try:
        file = settings_file()
    except FileNotFoundError:  # the current folder was deleted
        return "the environment"
    reason = unreadable_reason()
    if reason is not None:
        return f"the environment or {file}, which this account cannot read ({reason})"
    if file.exists():
        return f"the environment or {file}"
    return f"the environment (there is no {file})"


def unreadable_reason() -> str | None:
    """Return why the file of settings cannot be read; None if it can, or does not exist.

    python-dotenv takes a file in a folder that this account may not enter for a missing one.
    """
    try:
        # Opening a named pipe waits for whoever writes to it; it was read already.
        if _FILE.is_fifo():
            return None
        with _FILE.open("rb"):
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)


def unreadable_remedy() -> str:
    """Return what to do if the file of settings cannot be read."""
    if is_kind(Path.is_dir, _FILE):
        return "remove the folder, and write the settings into a file of that name"
    return "run the command as the account of the product, such as with sudo -u ar_sync"
