"""An SFTP server whose faults are chosen by a test."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import struct
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import asyncssh

from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint


class SftpTestServer(Protocol):
    """What a test needs from any of the servers."""

    @property
    def root(self) -> Path: ...

    @property
    def spool_path(self) -> Path: ...

    @property
    def spool(self) -> PurePosixPath: ...

    @property
    def known_hosts(self) -> Path: ...

    def endpoint(self) -> SftpEndpoint: ...

    def remote_path(self, path: Path) -> PurePosixPath: ...

    def make_unwritable(self) -> None: ...


@dataclass
class Faults:
    """Faults of the asyncssh server from now on.

    Attributes:
        unsupported: Extensions that it does not offer: posix_rename, fsync, statvfs.
        refusal: Its answer to these.
        failing_fsyncs: Number of flushes that fail from now on, as on a disk with errors.
        failing_closes: Number of files that it fails to close from now on, as NFS without space.
        read_only: Whether nobody can write.
        free_bytes: Bytes that its disk still accepts; None for the real number.
        refused_at: Offset at which the next write is refused for lack of space; later ones are
            accepted.
        blocks: Blocks of a gigabyte that its disk has, by statvfs, if ``blocks_free`` is set.
        blocks_free: Number of them that are free; None for the numbers of the real disk.
        inodes_free: Number of its 100 inodes that are free, if ``blocks_free`` is set.
        lose_next_rename_reply: Whether it renames, then drops the connection instead of answering.
        cross_device: Whether every folder is on its own file system.
        freeze: Whether it answers no write any more.
        lose_last_bytes: Whether it reports success of a write and writes one byte less.
        seconds_per_write: Duration of each write.
        seconds_per_fsync: Duration of each flush.
        announced_attributes: Number of extended attributes that it announces for every file, and
            does not send.
    """

    unsupported: set[str] = field(default_factory=set)
    refusal: Exception = field(
        default_factory=lambda: asyncssh.SFTPOpUnsupported("Operation unsupported")
    )
    failing_fsyncs: int = 0
    failing_closes: int = 0
    read_only: bool = False
    free_bytes: int | None = None
    refused_at: int | None = None
    blocks: int = 100
    blocks_free: int | None = None
    inodes_free: int = 100
    lose_next_rename_reply: bool = False
    cross_device: bool = False
    freeze: threading.Event = field(default_factory=threading.Event)
    lose_last_bytes: bool = False
    seconds_per_write: float = 0
    seconds_per_fsync: float = 0
    announced_attributes: int = 0


class LyingAttributes(asyncssh.SFTPAttrs):
    """Attributes of a file that announce extended ones and have none."""

    def __init__(self, announced: int) -> None:
        super().__init__()
        self._announced = announced

    def encode(self, _sftp_version: int) -> bytes:
        return struct.pack(">II", asyncssh.FILEXFER_ATTR_EXTENDED, self._announced)


class FaultySftp(asyncssh.SFTPServer):
    """asyncssh's server with `Faults`."""

    def __init__(
        self, channel: asyncssh.SSHServerChannel[bytes], root: Path, faults: Faults
    ) -> None:
        super().__init__(channel, chroot=os.fsencode(root))
        self._faults = faults

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> Any:
        if self._faults.read_only and pflags & asyncssh.FXF_WRITE:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return super().open(path, pflags, attrs)

    def mkdir(self, path: bytes, attrs: asyncssh.SFTPAttrs) -> Any:
        if self._faults.read_only:
            raise asyncssh.SFTPPermissionDenied("Permission denied")
        return super().mkdir(path, attrs)

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        if self._faults.freeze.is_set():
            assert isinstance(file_obj, io.IOBase)
            # asyncssh does not close the open file when the task of the session is cancelled.
            with file_obj:
                await asyncio.Event().wait()
        if self._faults.seconds_per_write:
            await _sleep_or_close(self._faults.seconds_per_write, file_obj)
        refused = self._faults.refused_at
        if refused is not None and offset <= refused < offset + len(data):
            self._faults.refused_at = None
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        free = self._faults.free_bytes
        if free is not None:
            if free < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._faults.free_bytes = free - len(data)
        kept = data[:-1] if self._faults.lose_last_bytes else data
        written = super().write(file_obj, offset, kept)
        assert isinstance(written, int)
        return len(data)

    def close(self, file_obj: object) -> Any:
        super().close(file_obj)
        if self._faults.failing_closes:
            self._faults.failing_closes -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> Any:
        self._offered("posix_rename")
        if self._faults.cross_device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        result = super().posix_rename(oldpath, newpath)
        if self._faults.lose_next_rename_reply:
            self._faults.lose_next_rename_reply = False
            self.connection.abort()
        return result

    def rename(self, oldpath: bytes, newpath: bytes) -> Any:
        if self._faults.cross_device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return super().rename(oldpath, newpath)

    def statvfs(self, path: bytes) -> Any:
        self._offered("statvfs")
        if (free := self._faults.blocks_free) is not None:
            gigabyte, blocks = 10**9, self._faults.blocks
            inodes = (100, self._faults.inodes_free, self._faults.inodes_free)
            return asyncssh.SFTPVFSAttrs(gigabyte, gigabyte, blocks, free, free, *inodes)
        return super().statvfs(path)

    async def fsync(self, file_obj: object) -> None:
        self._offered("fsync")
        if self._faults.failing_fsyncs:
            self._faults.failing_fsyncs -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await _sleep_or_close(self._faults.seconds_per_fsync, file_obj)
        super().fsync(file_obj)

    def stat(self, path: bytes) -> Any:
        return self._lie() or super().stat(path)

    def lstat(self, path: bytes) -> Any:
        return self._lie() or super().lstat(path)

    async def scandir(self, path: bytes) -> AsyncIterator[asyncssh.SFTPName]:
        async for found in super().scandir(path):
            yield asyncssh.SFTPName(found.filename, attrs=self._lie() or found.attrs)

    def _lie(self) -> LyingAttributes | None:
        announced = self._faults.announced_attributes
        return LyingAttributes(announced) if announced else None

    def _offered(self, name: str) -> None:
        if name in self._faults.unsupported:
            raise self._faults.refusal


class AsyncsshTestServer(LoopbackSftpServer):
    """The demo's server with a spool and faults."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults()
        root = folder / "root"
        self.spool_path = root / "spool"
        self.spool_path.mkdir(parents=True)
        super().__init__(
            root,
            folder / "keys",
            sftp_factory=lambda channel: FaultySftp(channel, root, self.faults),
        )

    @property
    def spool(self) -> PurePosixPath:
        return self.remote_path(self.spool_path)

    def make_unwritable(self) -> None:
        # A server that runs as root ignores permissions.
        self.faults.read_only = True


async def _sleep_or_close(seconds: float, file_obj: object) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        # As in `FaultySftp.write`.
        assert isinstance(file_obj, io.IOBase)
        file_obj.close()
        raise
