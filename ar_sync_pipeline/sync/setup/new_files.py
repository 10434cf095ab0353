"""Files that are new or not written at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ar_sync_pipeline.errors import TerminalError

_SECRETS = 0o600


class FileExistsAlreadyError(TerminalError):
    """A file that would be written is there."""


def write_new_files(contents: Mapping[Path, str]) -> None:
    """Write all files, readable for their owner only.

    Raises:
        FileExistsAlreadyError: one of them is there; none is written then.
        OSError: the folder is not there, or cannot be written to.
    """
    refuse_existing(contents)
    for path, text in contents.items():
        # O_EXCL: neither a file nor a link that appears meanwhile is written to.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _SECRETS)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def refuse_existing(paths: Iterable[Path]) -> None:
    """Refuse to overwrite.

    Raises:
        FileExistsAlreadyError: one of the files is there, or a link of this name.
    """
    for path in paths:
        if path.exists() or path.is_symlink():
            raise FileExistsAlreadyError(
                f"{path} is there, and nothing is overwritten",
                remedy="move it away, or name another folder with --folder",
            )
