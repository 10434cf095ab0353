"""Folder of a demo; each demo has its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.errors import DemoFolderError
from ar_sync_pipeline.disk_errors import disk_error

_MARKER = ".ar_sync_demo"
_PREFIX = "ar-sync-demo-"
# Others may enter the folder, not list it: a database that root starts runs as another account.
_MODE = 0o711


@contextmanager
def demo_folder(named: Path | None) -> Iterator[Path]:
    """Provide an empty folder that no other demo uses while the block runs.

    Args:
        named: Folder that the operator named, which is kept. None: a new temporary folder, which is
            removed unless the demo fails.

    Raises:
        DemoFolderError: The folder belongs to another account, a running demo uses it, or it
            contains files that no demo made.
    """
    if named is not None:
        with _own(named.absolute()):
            yield named.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(_MODE)
    with _own(folder):
        fails = True
        try:
            yield folder
            fails = False
        except KeyboardInterrupt:
            fails = False
            raise
        finally:
            if not fails:
                EmbeddedPostgres(folder / "postgres").destroy()
                shutil.rmtree(folder)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Lock the folder of a demo, and remove the files of an earlier demo."""
    # The lock ends with this process, also if it is killed.
    with _marker(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoFolderError(
                f"a running demo uses {folder}",
                remedy="end that demo, or let --folder name another folder; without --folder every"
                " demo has its own folder",
            ) from error
        _clear(folder)
        yield


def _marker(folder: Path) -> TextIO:
    """Return the open marker of a folder that a demo can use; a new folder is made."""
    try:
        if folder.exists():
            _check(folder)
        folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
        return (folder / _MARKER).open("a")
    except OSError as error:
        if disk_error(error) is not None:
            raise
        raise DemoFolderError(
            f"{folder} cannot be made, read or written ({error.strerror})",
            remedy="let --folder name another place",
        ) from error


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise DemoFolderError(f"{folder} is not a folder", remedy="let --folder name another place")
    if folder.stat().st_uid != os.geteuid():
        raise DemoFolderError(
            f"{folder} belongs to another account", remedy="let --folder name another folder"
        )
    if not (folder / _MARKER).is_file() and any(folder.iterdir()):
        raise DemoFolderError(
            f"{folder} contains files that no demo made",
            remedy="let --folder name an empty or a new folder",
        )


def _clear(folder: Path) -> None:
    """Stop the database of a killed demo, and remove all files but the locked marker."""
    EmbeddedPostgres(folder / "postgres").destroy()
    for path in folder.iterdir():
        if path.name != _MARKER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
