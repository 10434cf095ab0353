"""Files of folders that others may write to: reached by descriptors, never through a link.

A name is resolved relative to the descriptor of its folder and with ``O_NOFOLLOW`` (openat(2)), so
a folder or a file that is replaced between two steps leads nowhere else. Nothing is written in
place: a file of ours is written under another name and renamed (rename(2) is atomic), so a hard
link, which shares the bytes of a file, is never written through.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

TEMPORARY_PREFIX = ".writing-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a named pipe must not wait for its other end; for files it does nothing.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileEntry(NamedTuple):
    """A file of a folder, and what lstat(2) says of it."""

    name: str
    facts: os.stat_result


@dataclass(frozen=True)
class HeldFolder:
    """An open folder, whatever its name leads to by now; each name in it is one component.

    Attributes:
        path: under which it was opened, for messages.
        fd: its descriptor.
    """

    path: Path
    fd: int

    @classmethod
    def open(cls, path: Path, *, follow: bool = False) -> Self:
        """Hold a folder until the block ends.

        Args:
            path: of the folder; links before its last component are followed.
            follow: whether the last component may be a link, too.

        Raises:
            OSError: ``ENOTDIR`` or ``ELOOP`` where it is a link or no folder.
        """
        return cls(path, os.open(path, _FOLDER if follow else _FOLDER | os.O_NOFOLLOW))

    def subfolder(self, name: str) -> HeldFolder:
        """Hold a folder in this one; the errors are those of `open`."""
        fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.fd)
        return HeldFolder(self.path / name, fd)

    def __enter__(self) -> Self:
        """Nothing more to do: it is open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self.close()

    def close(self) -> None:
        """Let go of it, without a block."""
        os.close(self.fd)

    @property
    def path_by_descriptor(self) -> Path:
        """A path that leads to this very folder, for code that knows paths only (proc(5)).

        Where there is no ``/proc`` it is the ordinary one.
        """
        by_descriptor = Path(f"/proc/self/fd/{self.fd}")
        return by_descriptor if by_descriptor.exists() else self.path

    def facts(self, name: str) -> os.stat_result | None:
        """What is under a name, a link itself and not what it leads to; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def file_facts(self, name: str) -> os.stat_result | None:
        """The same of a regular file only; None: there is none of this name."""
        facts = self.facts(name)
        return facts if facts is not None and stat.S_ISREG(facts.st_mode) else None

    def regular_files(self) -> list[FileEntry]:
        """All regular files; links, pipes, devices and folders are not listed."""
        with os.scandir(self.fd) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        found = ((name, self.file_facts(name)) for name in names)
        return [FileEntry(name, facts) for name, facts in found if facts is not None]

    def read(self, name: str, most_bytes: int) -> bytes:
        """Read a small file.

        Raises:
            OSError: it is not there, not a regular file, or larger.
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

    def write(self, name: str, content: bytes) -> None:
        """Write or replace a small file; a reader sees the old one or the new one, never a part."""
        with self.new_file() as (fd, temporary):
            with os.fdopen(fd, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(fd)
            self._move_folder_away(name)
            self.move(temporary, self, name)

    def _move_folder_away(self, name: str) -> None:
        """Nobody but somebody else makes a folder of a name that is a file of ours."""
        facts = self.facts(name)
        if facts is not None and stat.S_ISDIR(facts.st_mode):
            aside = f".moved-aside-{secrets.token_hex(8)}"
            os.rename(name, aside, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    @contextmanager
    def new_file(self) -> Iterator[tuple[int, str]]:
        """Make a file under a temporary name, which the block gives another one or loses."""
        temporary = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        fd = os.open(temporary, _NEW_FILE, 0o644, dir_fd=self.fd)
        try:
            yield fd, temporary
        except BaseException:
            self.remove(temporary)
            raise
        finally:
            os.close(fd)

    def move(self, name: str, target: HeldFolder, new_name: str) -> None:
        """Rename within one file system, and bring both folders to the disk."""
        os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=target.fd)
        target.sync()
        if target.fd != self.fd:
            self.sync()

    def remove(self, name: str) -> bool:
        """Remove a file, or a link itself; whether there was one."""
        try:
            os.unlink(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def make_folder(self, name: str) -> None:
        """Make a folder in this one, durably; one that is there already stays."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=self.fd)
            self.sync()

    def sync(self) -> None:
        """Bring the folder's entries to the disk: a rename is there after a power cut only then."""
        os.fsync(self.fd)


def open_file(folder_fd: int, name: str) -> int:
    """A descriptor for reading the file of this name in a folder; never through a link."""
    return os.open(name, _FILE, dir_fd=folder_fd)


def write_atomically(path: Path, content: bytes) -> None:
    """Write or replace a small file in a folder of our own; see `HeldFolder.write`."""
    with HeldFolder.open(path.parent, follow=True) as folder:
        folder.write(path.name, content)


def sync_folder(path: Path) -> None:
    """Bring the entries of a folder of our own to the disk; see `HeldFolder.sync`."""
    with HeldFolder.open(path, follow=True) as folder:
        folder.sync()
