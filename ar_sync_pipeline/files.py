"""Safe access to files in folders that others may write to: by descriptor, never through a link.

A name is resolved relative to the descriptor of its folder and with ``O_NOFOLLOW`` (openat(2)), so
a folder or a file that is replaced between two steps cannot redirect an access. No file is changed
in place: it is written under a temporary name and renamed (rename(2) is atomic), so a write never
reaches another file through a hard link.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from ar_sync_pipeline.progress import report_progress

TEMPORARY_PREFIX = ".writing-"
_READ_BYTES = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for its other end; for files it does nothing.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A smaller file is read quickly, and may be a media file that a crash left full of zeros.
_SMALLEST_HOLES_BYTES = 16 * 1024 * 1024
_LEAST_SHARE_WRITTEN = 4


class FileEntry(NamedTuple):
    """A file in a folder, with its lstat(2) result."""

    name: str
    facts: os.stat_result


@dataclass(frozen=True)
class HeldFolder:
    """An open folder, independent of later changes to its path.

    Every name that a method takes is one path component.

    Attributes:
        path: Path under which the folder was opened, for messages.
        fd: File descriptor of the folder.
    """

    path: Path
    fd: int

    @classmethod
    def open(cls, path: Path, *, follow: bool = False) -> Self:
        """Open a folder.

        Args:
            path: Path of the folder; links before its last component are followed.
            follow: Whether the last component may be a link, too.

        Raises:
            OSError: ``ENOTDIR`` or ``ELOOP`` if the path is a link or not a folder.
        """
        return cls(path, os.open(path, _FOLDER if follow else _FOLDER | os.O_NOFOLLOW))

    def subfolder(self, name: str) -> HeldFolder:
        """Open a folder in this one; raises the same errors as `open`."""
        fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
        return HeldFolder(self.path / name, fd)

    def __enter__(self) -> Self:
        """Return the open folder."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the folder."""
        self.close()

    def close(self) -> None:
        """Close the folder, for use without a ``with`` block."""
        os.close(self.fd)

    @property
    def path_by_descriptor(self) -> Path:
        """Path that reaches this folder by its descriptor, for code that needs a path (proc(5)).

        On a system without ``/proc`` it is the ordinary path.
        """
        by_descriptor = Path(f"/proc/self/fd/{self.fd}")
        return by_descriptor if by_descriptor.exists() else self.path

    def facts(self, name: str) -> os.stat_result | None:
        """Return the lstat(2) result of a name; None if there is nothing of this name."""
        return status_of(self.fd, name)

    def file_facts(self, name: str) -> os.stat_result | None:
        """Return the lstat(2) result of a regular file; None if the name is none."""
        facts = self.facts(name)
        return facts if facts is not None and stat.S_ISREG(facts.st_mode) else None

    def regular_files(self) -> list[FileEntry]:
        """Return all regular files; links, pipes, devices and folders are not listed."""
        with os.scandir(self.fd) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        found = ((name, self.file_facts(name)) for name in names)
        return [FileEntry(name, facts) for name, facts in found if facts is not None]

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read a small file.

        Raises:
            OSError: The file does not exist, is not a regular file, or is larger.
        """
        fd = open_file(self.fd, name)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                content = file.read(most_bytes + 1)
        finally:
            os.close(fd)
        if len(content) > most_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes")
        return content

    def write(
        self, name: str, content: bytes, mode: int | None = None, owner: int | None = None
    ) -> None:
        """Write or replace a small file atomically.

        Args:
            name: Name of the file.
            content: Its content.
            mode: Its permissions, whatever the umask; None: 0644 without what the umask takes.
            owner: Id of its owner, where the operating system allows it; None: this account.
        """
        with self.new_file() as (fd, temporary):
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(content)
            if mode is not None:
                os.fchmod(fd, mode)
            if owner is not None:
                with suppress(PermissionError):
                    os.fchown(fd, owner, -1)
            os.fsync(fd)
            self.move_folder_away(name)
            self.move(temporary, self, name)

    def move_folder_away(self, name: str) -> None:
        """Rename a folder that blocks the name of a file, within its parent.

        Only an account that may write to the folder itself can rename it into another parent.
        """
        facts = self.facts(name)
        if facts is not None and stat.S_ISDIR(facts.st_mode):
            aside = f".moved-aside-{secrets.token_hex(8)}"
            os.rename(name, aside, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    @contextmanager
    def new_file(self, kind: str = "") -> Iterator[tuple[int, str]]:
        """Create a file under a temporary name; the block renames it, an error removes it.

        Args:
            kind: Beginning of the name, after `TEMPORARY_PREFIX`.
        """
        temporary = f"{TEMPORARY_PREFIX}{kind}{secrets.token_hex(8)}"
        fd = create_file(temporary, 0o644, self.fd)
        try:
            yield fd, temporary
        except BaseException:
            self.remove(temporary)
            raise
        finally:
            os.close(fd)

    def move(self, name: str, target: HeldFolder, new_name: str) -> None:
        """Rename a file within one file system and fsync both folders."""
        os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)
        target.sync()
        if target.fd != self.fd:
            self.sync()

    def remove(self, name: str) -> bool:
        """Remove a file, or a link itself; return whether it existed."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def make_folder(self, name: str, *, durable: bool = True) -> None:
        """Create a folder in this one; an existing one stays."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=self.fd)
            if durable:
                self.sync()

    def sync(self) -> None:
        """Fsync the folder: only then does a rename survive a power failure."""
        os.fsync(self.fd)


@dataclass(frozen=True)
class FreeSpace:
    """Free space of a file system, calculated as ``df`` does.

    Attributes:
        free_bytes: Bytes that an ordinary user can still write, without the reserve of root.
        usable_bytes: Free and used bytes together; 0: the file system does not report its space, as
            some FUSE and network file systems.
        unwritable: Why no file can be made, however many bytes are free; empty if nothing says so.
    """

    free_bytes: int
    usable_bytes: int
    unwritable: str = ""

    @classmethod
    def of_blocks(
        cls, block_bytes: int, blocks: int, free: int, available: int, unwritable: str = ""
    ) -> Self:
        """Return the space of a file system by its blocks, as statvfs(3) counts them."""
        return cls(block_bytes * available, block_bytes * (blocks - free + available), unwritable)

    @property
    def is_known(self) -> bool:
        """Whether the file system reports its space."""
        return self.usable_bytes > 0

    @property
    def free_percent(self) -> float:
        """Free space in percent of the usable space; 100 if it is not known."""
        return 100.0 * self.free_bytes / self.usable_bytes if self.is_known else 100.0

    def is_too_small_for(self, needed_bytes: float) -> bool:
        """Return whether so many bytes are known not to fit."""
        return self.is_known and needed_bytes > self.free_bytes

    def is_below(self, floor_percent: float) -> bool:
        """Return whether free space is below a floor."""
        return self.free_percent < floor_percent


def free_space(place: Path | int) -> FreeSpace:
    """Return the free space of the file system of a path or an open file."""
    facts = os.statvfs(place)
    full = bool(facts.f_blocks and not facts.f_bavail)
    unwritable = why_unwritable(facts.f_files, facts.f_favail, facts.f_flag, full=full)
    return FreeSpace.of_blocks(
        facts.f_frsize, facts.f_blocks, facts.f_bfree, facts.f_bavail, unwritable
    )


def why_unwritable(inodes: int, available: int, flags: int, *, full: bool = False) -> str:
    """Return why no file can be made on a file system, as statvfs(3) tells it; empty if it can.

    Args:
        inodes: Inodes of the file system; 0: it has no fixed number, as Btrfs.
        full: Whether no byte is left: ZFS makes inodes of free bytes, so it has none left then.
    """
    if flags & os.ST_RDONLY:
        return "its file system is mounted read-only"
    return "its file system has no inode left" if inodes and not available and not full else ""


def is_read_only(path: Path) -> bool:
    """Return whether the file system of a path is known to be mounted read-only."""
    with suppress(OSError):
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    return False


def status_of(parent: int, name: str) -> os.stat_result | None:
    """Return the facts of an entry of a folder, not of a link's target; None if it is missing."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def sha256_of(parent: int, name: str) -> str:
    """Return the SHA-256 of a file of a folder in hex."""
    with os.fdopen(open_file(parent, name), "rb") as file:
        return digest_of(file)


def digest_of(file: io.BufferedReader) -> str:
    """Return the SHA-256 of the rest of an open file in hex."""
    digest = hashlib.sha256()
    while block := file.read(_READ_BYTES):
        report_progress()
        digest.update(block)
    return digest.hexdigest()


def create_file(path: str | Path, mode: int, parent: int | None = None) -> int:
    """Create a file that does not exist yet, and open it for writing; return its descriptor.

    Args:
        path: Path of the file, or its name in a folder.
        mode: Permissions, before the umask.
        parent: Descriptor of that folder.

    Raises:
        FileExistsError: There is something of this name, be it a link.
    """
    return os.open(path, _NEW_FILE, mode, dir_fd=parent)


def open_file(folder_fd: int, name: str) -> int:
    """Open a file in a folder for reading, never through a link; return its descriptor."""
    return os.open(name, _FILE, dir_fd=folder_fd)


def is_mostly_holes(fd: int, size_bytes: int, *, enough_bytes: int | None = None) -> bool:
    """Return whether a file has large holes and less than a quarter of it was ever written.

    A sparse file of a terabyte takes no disk space and hours to read. An archive contains
    compressed rows and media files, hence few zeros, and its writer and SFTP write every byte; a
    program that downloads a picture may reserve its space before.
    ``SEEK_DATA`` finds holes. It includes data that is not on the disk yet. The block count does
    not (delayed allocation), and it is too small on a compressing file system. A file system
    without support for holes reports everything as data.

    Args:
        enough_bytes: Written bytes that are enough, whatever the share; None: no number is.
    """
    least = min(size_bytes // _LEAST_SHARE_WRITTEN, size_bytes - _SMALLEST_HOLES_BYTES)
    least = least if enough_bytes is None else min(least, enough_bytes)
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


def write_atomically(path: Path, content: bytes, mode: int | None = None) -> None:
    """Write or replace a small file in a trusted folder; see `HeldFolder.write`.

    What root writes belongs to the owner of the folder: a service has to read its journal after
    `sudo ar-sync status`, whatever the umask of root.
    """
    with HeldFolder.open(path.parent, follow=True) as folder:
        owner = os.fstat(folder.fd).st_uid if os.geteuid() == 0 else None
        folder.write(path.name, content, mode, owner)


def sync_folder(path: Path) -> None:
    """Fsync a trusted folder; see `HeldFolder.sync`."""
    with HeldFolder.open(path, follow=True) as folder:
        folder.sync()


def is_kind(kind: Callable[[Path], bool], path: Path) -> bool:
    """Return whether a path is such as `Path.is_dir` tests; False for what cannot be looked up."""
    try:
        return kind(path)
    except OSError:  # for example no permission to enter a parent folder
        return False


def may(path: Path, mode: int) -> bool:
    """Return whether this process may access a path in the way of access(2)."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
