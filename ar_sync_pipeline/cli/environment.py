"""Where the commands find their settings: the environment, and ``.env`` as Dagster reads it."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv import dotenv_values


def operator_environment(folder: Path | None = None) -> dict[str, str]:
    """The variables of a command: those of ``.env`` in the current folder, the process's on top."""
    values = dotenv_values((folder or Path.cwd()) / ".env")
    return {name: value for name, value in values.items() if value is not None} | dict(os.environ)
