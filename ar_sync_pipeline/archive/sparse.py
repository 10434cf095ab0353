"""Files whose size says little: a sparse file of a terabyte takes no disk, and hours to be read."""

from __future__ import annotations

import errno
import os

# Less than this is read in no time, and a damaged picture of zeros has fewer.
_SMALLEST_HOLES_BYTES = 16 * 1024 * 1024
_LEAST_SHARE_WRITTEN = 4


def is_mostly_holes(fd: int, size_bytes: int) -> bool:
    """Whether less than a quarter of a file was ever written, and the rest is large.

    An archive holds compressed rows and pictures, hence hardly a zero, and its writer and SFTP
    write every byte. Holes are asked for with ``SEEK_DATA``, which knows what is written and not
    yet on the disk; the count of blocks does not (delayed allocation), and is smaller than the
    size where a file system compresses. Where a file system knows nothing of holes, all is data.
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
