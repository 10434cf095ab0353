"""Opens the file of an archive, which may be a link, a pipe or a sparse file."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.files import HeldFolder, is_mostly_holes, open_file

_READ_BYTES = 1024 * 1024


def open_regular_file(path: Path) -> io.BufferedReader:
    """Open an untrusted file, unless it is a link, a pipe or a device.

    The folder of the file must not be a link; links before it are followed.

    Raises:
        UnreadableArchiveError: The file cannot be opened, or its folder is a link.
        CorruptArchiveError: The file is not a regular file, or most of it was never written.
    """
    try:
        with HeldFolder.open(path.parent) as folder:
            fd = open_file(folder.fd, path.name)
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise CorruptArchiveError("it is a symbolic link", archive=path.name) from error
        raise UnreadableArchiveError(path, error) from error
    try:
        _check_content(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return io.BufferedReader(io.FileIO(fd, "rb"), buffer_size=_READ_BYTES)


def _check_content(fd: int, path: Path) -> None:
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        raise CorruptArchiveError("it is not a regular file", archive=path.name)
    if is_mostly_holes(fd, facts.st_size):
        raise CorruptArchiveError(
            f"most of its {facts.st_size} bytes were never written (it is a sparse file)",
            archive=path.name,
        )
