"""Ownership of archives: the owner of a file may change it, and remove it from a sticky folder.

An uploaded archive belongs to the account that the sender logs in with. An admitted archive is
copied, so that it belongs to the receiver's account: only root may change the owner of a file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from ar_sync_pipeline.disk_errors import NO_SPACE
from ar_sync_pipeline.files import TEMPORARY_PREFIX, HeldFolder, free_space, open_file
from ar_sync_pipeline.spool.errors import ArchiveGoneError, access_to
from ar_sync_pipeline.spool.layout import PARKED, folder_of, open_folder, spool_of

_BLOCK_BYTES = 1024 * 1024
_READABLE = 0o644
_COPY = "copy-"
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
# Its process locks a new copy in less time.
_LOCKED_SECONDS = 5


def take_ownership(path: Path) -> None:
    """Replace another account's file by a copy that belongs to this account.

    The copy is made in a folder that only the receiver can write to, and replaces the file by one
    rename. If the disk has no space for a copy, the file stays as it is: only loads free space in
    the spool.

    Args:
        path: Path of an archive in the spool.

    Raises:
        ArchiveGoneError: The file was replaced by something that is not a regular file.
        SpoolAccessError: The operating system refuses.
    """
    with folder_of(path) as folder, access_to(path):
        facts = folder.file_facts(path.name)
        if facts is None or facts.st_uid == os.geteuid():
            return
        with open_folder(spool_of(path), PARKED) as private:
            try:
                _replace_by_copy(folder, path.name, private)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise


def remove_dead_copies(spool: Path) -> None:
    """Remove the copies that killed processes left unfinished; each may be as large as an archive.

    The process that makes a copy holds a lock on it, which ends with the process (flock(2)).

    Raises:
        SpoolAccessError: The operating system refuses.
    """
    locked_by_now = time.time() - _LOCKED_SECONDS
    with open_folder(spool, PARKED) as private:
        for entry in private.regular_files():
            if _is_copy(entry.name) and entry.facts.st_mtime < locked_by_now:
                with suppress(OSError):  # it is locked, or was renamed meanwhile
                    _remove_unless_locked(private, entry.name)


def may_be_copied_now(folder: HeldFolder, name: str) -> bool:
    """Return whether a file is a copy that a process may be making; its age does not tell."""
    if not _is_copy(name):
        return False
    try:
        fd = open_file(folder.fd, name)
    except OSError:
        return True  # it was renamed meanwhile, or this account may not read it
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _WITHOUT_LOCKS
    finally:
        os.close(fd)
    return False


def _is_copy(name: str) -> bool:
    return name.startswith(TEMPORARY_PREFIX + _COPY)


def _remove_unless_locked(private: HeldFolder, name: str) -> None:
    fd = open_file(private.fd, name)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        private.remove(name)
    finally:
        os.close(fd)


def _replace_by_copy(folder: HeldFolder, name: str, private: HeldFolder) -> None:
    try:
        source = open_file(folder.fd, name)
    except PermissionError:
        return  # its owner revoked read permission after verification: the load reports it
    try:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode):
            raise ArchiveGoneError(folder.path / name)
        _check_space(facts.st_size, private)
        with private.new_file(_COPY) as (copy, temporary):
            with suppress(OSError):  # a file system without locks
                fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remaining = facts.st_size
            # Not to the end of the file: its owner may still append to it.
            while remaining and (block := os.read(source, min(_BLOCK_BYTES, remaining))):
                remaining -= len(block)
                while block:
                    block = block[os.write(copy, block) :]
            with suppress(PermissionError):  # a group that this account is not in
                os.fchown(copy, -1, facts.st_gid)
            os.fchmod(copy, facts.st_mode & _READABLE)
            os.fsync(copy)
            # As late as this: without locks only its age shows that it is not abandoned.
            os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
            try:
                private.move(temporary, folder, name)
            except OSError as error:
                if error.errno in NO_SPACE:
                    raise
                # The error names the archive: its folder refuses, not the private one.
                with access_to(folder.path / name):
                    raise
    finally:
        os.close(source)


def _check_space(size_bytes: int, folder: HeldFolder) -> None:
    """Raise ENOSPC before a copy fills the disk."""
    if free_space(folder.fd).is_too_small_for(size_bytes):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
