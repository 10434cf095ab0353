"""Opens the file of an archive, which may be a link, a pipe or a sparse file."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.files import HeldFolder, open_file

_READ_BYTES = 1024 * 1024
# A smaller file is read quickly, and may be a media file that a crash left full of zeros.
_SMALLEST_HOLES_BYTES = 16 * 1024 * 1024
_LEAST_SHARE_WRITTEN = 4


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
    if _is_mostly_holes(fd, facts.st_size):
        raise CorruptArchiveError(
            f"most of its {facts.st_size} bytes were never written (it is a sparse file)",
            archive=path.name,
        )


def _is_mostly_holes(fd: int, size_bytes: int) -> bool:
    """Return whether a file has large holes and less than a quarter of it was ever written.

    A sparse file of a terabyte takes no disk space and hours to read. An archive contains
    compressed rows and media files, hence few zeros, and its writer and SFTP write every byte.
    ``SEEK_DATA`` finds holes. It includes data that is not on the disk yet. The block count does
    not (delayed allocation), and it is too small on a compressing file system. A file system
    without support for holes reports everything as data.
    """
    least = min(size_bytes // _LEAST_SHARE_WRITTEN, size_bytes - _SMALLEST_HOLES_BYTES)
    written_bytes = end = 0
    try:
        while written_bytes < least:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
            written_bytes += end - start
    except OSError as error:
        # ENXIO: there is no data after this offset.
        return error.errno == errno.ENXIO
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return False
