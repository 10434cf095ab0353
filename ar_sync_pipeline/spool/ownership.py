"""Whose file an archive is: the owner of a file may change it, and remove it from a sticky folder.

An archive arrives as a file of the account that the sender logs in with. What is admitted becomes
a file of the receiver's account by being copied, since only root may give a file away.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from ar_sync_pipeline.files import HeldFolder, open_file
from ar_sync_pipeline.spool.errors import ArchiveGoneError, access_to
from ar_sync_pipeline.spool.layout import PARKED, folder_of, open_folder, spool_of

_PIECE_BYTES = 1024 * 1024
_READABLE = 0o644
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def take_ownership(path: Path) -> None:
    """Replace another account's file by a copy of this account's.

    The copy is made where only the receiver may write, and takes the place of the file by one
    rename. A file that does not fit on the disk a second time stays as it is, since loads are what
    makes room in the spool.

    Args:
        path: of an archive in the spool.

    Raises:
        ArchiveGoneError: something that is no regular file took its place meanwhile.
        SpoolAccessError: the operating system refuses.
    """
    with folder_of(path) as folder, access_to(path):
        facts = folder.file_facts(path.name)
        if facts is None or facts.st_uid == os.geteuid():
            return
        with open_folder(spool_of(path), PARKED) as private:
            try:
                _replace_by_copy(folder, path.name, private)
            except OSError as error:
                if error.errno not in _NO_SPACE:
                    raise


def _replace_by_copy(folder: HeldFolder, name: str, private: HeldFolder) -> None:
    try:
        source = open_file(folder.fd, name)
    except PermissionError:
        return  # its owner closed it since it was verified: the load says so of this archive
    try:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode):
            raise ArchiveGoneError(folder.path / name)
        _check_room(facts.st_size, private)
        with private.new_file() as (copy, temporary):
            remaining = facts.st_size
            # Not to the end of the file: its owner may still be writing to it.
            while remaining and (piece := os.read(source, min(_PIECE_BYTES, remaining))):
                remaining -= len(piece)
                while piece:
                    piece = piece[os.write(copy, piece) :]
            with suppress(PermissionError):  # a group that this account is not in
                os.fchown(copy, -1, facts.st_gid)
            os.fchmod(copy, facts.st_mode & _READABLE)
            os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            os.fsync(copy)
            try:
                private.move(temporary, folder, name)
            except OSError as error:
                if error.errno in _NO_SPACE:
                    raise
                # Said of the archive: it is its folder that refuses, not the private one.
                with access_to(folder.path / name):
                    raise
    finally:
        os.close(source)


def _check_room(size_bytes: int, folder: HeldFolder) -> None:
    """Before the disk is filled up for everybody else, too."""
    disk = os.fstatvfs(folder.fd)
    if size_bytes > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
