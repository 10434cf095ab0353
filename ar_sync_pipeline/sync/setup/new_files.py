"""Writing of new files, all or none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

from ar_sync_pipeline.errors import TerminalError

_SECRETS = 0o600


class FileExistsAlreadyError(TerminalError):
    """A file that would be written already exists."""


def write_new_files(contents: Mapping[Path, str]) -> None:
    """Write all files, readable only for their owner.

    Raises:
        FileExistsAlreadyError: One of them exists; then none is written.
        OSError: The folder does not exist or is not writable, or its disk is full; then those that
            were written are removed.
    """
    refuse_existing(contents)
    with ExitStack() as written:
        for path, text in contents.items():
            # O_EXCL: a file or link that was made since the check is not written to.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRETS)
            written.callback(path.unlink, missing_ok=True)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        written.pop_all()


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to overwrite files.

    Raises:
        FileExistsAlreadyError: One of the files, or a link of its name, exists.
    """
    for path in paths:
        if path.exists() or path.is_symlink():
            raise FileExistsAlreadyError(
                f"{path} is there, and nothing is overwritten",
                remedy="move it away, or name another folder with --folder",
            )
