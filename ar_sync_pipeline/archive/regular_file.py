"""Opening the file of an archive, which may be a link, a pipe, or a size without bytes."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import TYPE_CHECKING

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.files import HeldFolder, open_file

if TYPE_CHECKING:
    from pathlib import Path

_PIECE_BYTES = 1024 * 1024
# Less than this is read in no time, and a picture that a crash left full of zeros has fewer.
_SMALLEST_HOLES_BYTES = 16 * 1024 * 1024
_LEAST_SHARE_WRITTEN = 4


def open_regular_file(path: Path) -> io.BufferedReader:
    """Open a file that anybody may have put there, unless it is a link, a pipe or a device.

    The folder of the file is not opened through a link, either; links before it are followed.

    Raises:
        UnreadableArchiveError: the file cannot be opened, or a link is in the folder's place.
        CorruptArchiveError: it is not a regular file, or almost nothing of it was ever written.
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
    return io.BufferedReader(io.FileIO(fd, "rb"), buffer_size=_PIECE_BYTES)


def _check_content(fd: int, path: Path) -> None:
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        raise CorruptArchiveError("it is not a regular file", archive=path.name)
    if _is_mostly_holes(fd, facts.st_size):
        raise CorruptArchiveError(
            f"most of its {facts.st_size} bytes were never written (it is a sparse file)",
            archive=path.name,
        )


def _is_mostly_holes(fd: int, size_bytes: int) -> bool:
    """Whether less than a quarter of a file was ever written, and the rest is large.

    A sparse file of a terabyte takes no disk, and hours to be read. An archive holds compressed
    rows and pictures, hence hardly a zero, and its writer and SFTP write every byte. Holes are
    asked for with ``SEEK_DATA``, which knows what is written and not yet on the disk; the count of
    blocks does not (delayed allocation), and is smaller than the size where a file system
    compresses. Where a file system knows nothing of holes, all is data.
    """
    least = min(size_bytes // _LEAST_SHARE_WRITTEN, size_bytes - _SMALLEST_HOLES_BYTES)
    written_bytes = end = 0
    try:
        while written_bytes < least:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            written_bytes += end - start
    except OSError as error:
        # ENXIO: there is no data after this place.
        return error.errno == errno.ENXIO
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return False
