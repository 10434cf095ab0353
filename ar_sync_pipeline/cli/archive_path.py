"""The argument ARCHIVE: resolves a name or a path to the file of an archive."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from ar_sync_pipeline.archive.names import WAITING_PREFIX
from ar_sync_pipeline.archive.spool_names import INCOMING, RECEIPTS
from ar_sync_pipeline.cli.environment import EnvironmentFileError, operator_environment
from ar_sync_pipeline.cli.given_path import GivenPath
from ar_sync_pipeline.files import is_kind
from ar_sync_pipeline.spool.layout import FOLDERS

Command = TypeVar("Command", bound=Callable[..., Any])


def archive_argument(*, required: bool = True) -> Callable[[Command], Command]:
    """Return the argument ARCHIVE: a file, or the name of an archive in the spool."""
    return click.argument(
        "archive",
        type=GivenPath(),
        required=required,
        callback=lambda _context, _parameter, path: path and _file(path),
    )


def _file(path: Path) -> Path:
    # An operator, unlike the spool, may name a folder that is a link. What cannot be looked up, for
    # example in a folder that this account may not enter, the command itself reports.
    if is_kind(Path.is_symlink, path.parent):
        return path.parent.resolve() / path.name
    if path.name != str(path) or is_kind(Path.exists, path):
        return path
    # The command itself reports unreadable settings.
    with suppress(EnvironmentFileError):
        return _in_spool(path.name) or path
    return path


def _in_spool(name: str) -> Path | None:
    """Return the archive of this name in any folder of the spool; None if there is none."""
    spool = operator_environment().get("AR_SYNC_REMOTE_BKP_FLDR")
    found = (
        Path(spool, folder, candidate)
        for folder in FOLDERS
        if folder not in (INCOMING, RECEIPTS)
        for candidate in (WAITING_PREFIX + name, name)
        if spool
    )
    return next((path for path in found if is_kind(Path.is_file, path)), None)
