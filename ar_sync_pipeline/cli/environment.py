"""Settings of the commands: the environment, and ``.env`` as Dagster reads it."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values

from ar_sync_pipeline.errors import TerminalError
from ar_sync_pipeline.settings.loading import PREFIX


class EnvironmentFileError(TerminalError):
    """The file of settings exists and cannot be read."""


def operator_environment() -> dict[str, str]:
    """Return the variables of ``.env`` in the current folder, overridden by the environment.

    Variables of other programs, such as PGPASSFILE, are set for this process too, as Dagster does:
    libpq and TLS read them from there.

    Raises:
        EnvironmentFileError: The file is not readable for this account, or is not text.
    """
    # Not Path.cwd(), which fails in a folder that was deleted.
    file = Path(".env")
    try:
        values = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise EnvironmentFileError(
            f"the settings in {file.absolute()} cannot be read ({reason})",
            remedy="run the command as the account of the product, or in another folder",
        ) from error
    if any("\0" in text for pair in values.items() for text in pair if text):
        raise EnvironmentFileError(
            f"the settings in {file.absolute()} cannot be read (a byte in them is 0)",
            remedy="write the file again, as text in UTF-8",
        )
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if not name.startswith(PREFIX):
            os.environ.setdefault(name, value)
    return given | dict(os.environ)
