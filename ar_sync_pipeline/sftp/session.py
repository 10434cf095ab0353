"""An SFTP session in which every call ends and every failure is an `ArSyncError`."""

from __future__ import annotations

import math
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import PurePosixPath

import paramiko
from paramiko.sftp import SFTPError

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import FreeSpace
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.errors import (
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileMissingError,
    SpoolNotWritableError,
)
from ar_sync_pipeline.sftp.failures import FAILURES, connection_lost
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.watchdog import Watchdog

_DISK_FULL_TEXT = re.compile(r"no space|quota|disk full", re.IGNORECASE)
_READ_ONLY_TEXT = re.compile(r"read.only", re.IGNORECASE)
_UNSUPPORTED_TEXT = re.compile(r"unsupported|not supported|not implemented", re.IGNORECASE)
# With less free space than one sender has bytes in flight, a "Failure" means a full disk.
_FULL_BELOW_BYTES = protocol.IN_FLIGHT_BYTES
_MOUNT_OR_FREE_INODES = (
    "at the receiver mount the spool's file system writable (`mount`, the kernel's log), or free"
    " inodes on it (`df -i`)"
)
_SIGN_OF_LIFE_SECONDS = 15
_FIRST_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.001, 0.1


class SftpSession:
    """An open SFTP session; every method ends within the limits and raises only `ArSyncError`.

    A session is for one thread. Paths are those that the account sees.
    """

    def __init__(
        self,
        endpoint: SftpEndpoint,
        limits: SessionLimits,
        transport: paramiko.Transport,
        client: paramiko.SFTPClient,
        watchdog: Watchdog,
    ) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.transport = transport
        self.client = client
        self._watchdog = watchdog
        self._round_trip_seconds = math.inf
        whole = limits.whole_seconds
        self._end = None if whole is None else time.monotonic() + whole

    def progress(self) -> None:
        """Tell the watchdog that the current call made progress."""
        self._watchdog.progress()

    @contextmanager
    def operation(
        self, doing: str, path: PurePosixPath, *, total_seconds: float | None = None
    ) -> Iterator[None]:
        """Limit the time of the block, and translate its errors.

        Args:
            doing: Description of the operation for messages, such as "writing to".
            path: Path of the operation.
            total_seconds: Limit of the whole block; by default only silence is limited.
        """
        try:
            with self._bounded(total_seconds):
                yield
        except ArSyncError:
            raise
        except FAILURES as error:
            raise self._translate(error, doing, path) from error

    @property
    def round_trip_seconds(self) -> float:
        """Shortest round trip so far in seconds; infinite before the first answer."""
        return self._round_trip_seconds

    def abandon(self) -> None:
        """Close the connection from another thread; every call that waits on it ends at once."""
        self.transport.close()

    def wait_for(self, ready: Callable[[], bool], at_most_seconds: float) -> bool:
        """Wait for a slow answer as long as the server is alive.

        A flush or a hash of many GB is silent for minutes, and so is a dead network. An SSH request
        that every server answers at once (RFC 4254, section 4) distinguishes the two.

        Returns:
            Whether ``ready`` became true in time.
        """
        end, pause = time.monotonic() + at_most_seconds, _FIRST_POLL_SECONDS
        every = min(_SIGN_OF_LIFE_SECONDS, self.limits.silence_seconds / 3)
        next_sign = time.monotonic() + every
        while not ready():
            now = time.monotonic()
            if now >= end or not self.transport.is_active():
                return ready()
            if now >= next_sign:
                self.transport.global_request("keepalive@openssh.com", wait=True)
                self.progress()
                next_sign = time.monotonic() + every
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
        return True

    def size_bytes(self, path: PurePosixPath) -> int | None:
        """Return the size of a regular file in bytes; None if the path does not exist.

        Raises:
            RefusedByServerError: The path is not a regular file.
        """
        found = self._attributes(path)
        if found is None:
            return None
        if not stat.S_ISREG(found.mode or stat.S_IFREG):
            raise RefusedByServerError(
                f"{path} at {self.endpoint.host} is not a regular file",
                remedy="check it at the receiver and move it away",
            )
        return found.size_bytes or 0

    def is_folder(self, path: PurePosixPath, *, follow: bool = True) -> bool | None:
        """Return whether a path is a folder; None if it does not exist.

        Args:
            path: Path to check.
            follow: Whether a symbolic link to a folder counts as a folder.
        """
        found = self._attributes(path, follow=follow)
        return None if found is None else stat.S_ISDIR(found.mode or stat.S_IFDIR)

    def modified_at_seconds(self, path: PurePosixPath) -> int | None:
        """Return the mtime of a file by the receiver's clock, in seconds since 1970."""
        found = self._attributes(path)
        return None if found is None else found.modified_at_seconds

    def space(self, path: PurePosixPath) -> FreeSpace | None:
        """Return the free space at ``path``; None if the server cannot tell."""
        with self.operation("asking for the free space of", path):
            return self._space(path)

    def file_names(self, folder: PurePosixPath) -> list[str]:
        """Return the unvalidated names of the regular files of a folder."""
        with self.operation("listing", folder):
            found = protocol.list_folder(self.client, str(folder))
        return [name for name, mode in found if stat.S_ISREG(mode or stat.S_IFREG)]

    def make_folder(self, path: PurePosixPath) -> None:
        """Make a folder in an existing one, unless it exists already."""
        try:
            with self.operation("making the folder", path):
                self.client.mkdir(str(path))
        except RefusedByServerError:
            # SFTP version 3 also answers this if the folder was made meanwhile.
            if not self.is_folder(path):
                raise

    def is_empty(self, folder: PurePosixPath) -> bool:
        """Return whether a folder is empty."""
        with self.operation("listing", folder):
            found = protocol.list_folder(self.client, str(folder))
        return all(name in {".", ".."} for name, _ in found)

    def remove_folder(self, path: PurePosixPath) -> None:
        """Remove an empty folder."""
        with self.operation("removing the folder", path):
            self.client.rmdir(str(path))

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file if it exists."""
        with suppress(RemoteFileMissingError), self.operation("removing", path):
            self.client.remove(str(path))

    def rename(self, source: PurePosixPath, target: PurePosixPath) -> None:
        """Rename atomically; the caller must have checked that ``target`` does not exist.

        It uses ``posix-rename@openssh.com`` if the server supports it: in OpenSSH the rename of
        SFTP version 3 is a link and an unlink, so for an instant the file has both names. If the
        server denies the extension, the rename of SFTP version 3 decides.
        """
        with self.operation("renaming to", target):
            try:
                self.client.posix_rename(str(source), str(target))
            except (OSError, SFTPError) as error:
                if not self._denies_extension(error):
                    raise
                self.client.rename(str(source), str(target))

    def write_block_bytes(self, path: PurePosixPath) -> int:
        """Return the largest size of one write in bytes, by the limits of the server."""
        with self.operation("asking for the limits of", path):
            try:
                return protocol.write_block_bytes(self.client)
            except (OSError, SFTPError) as error:
                if not self._denies_extension(error):
                    raise
                return protocol.WRITE_BLOCK_BYTES

    def sync(self, handle: bytes, path: PurePosixPath, size_bytes: int) -> bool:
        """Flush a file to the server's disk; return False if the server does not allow it.

        A "Failure" without a reason means a disk error, or a server that denies the extension. The
        error of a disk is reported once per open file (fsync(2)), so a second one means the latter.
        """
        limits = self.limits
        allowed = limits.silence_seconds + size_bytes / limits.disk_bytes_per_second
        with self.operation("flushing", path, total_seconds=allowed):
            try:
                self._flush(handle, allowed)
            except (OSError, SFTPError) as error:
                if not self._denies_extension(error):
                    raise
                denied_plainly = isinstance(error, PermissionError) or _is_unsupported(error)
                if not denied_plainly and self._fails_by_its_disk(handle, path, allowed):
                    raise
                return False
        return True

    def _flush(self, handle: bytes, allowed_seconds: float) -> None:
        pipe = protocol.start_sync(self.client, handle)
        self.wait_for(lambda: channel_has_news(self.client.get_channel()), allowed_seconds)
        protocol.confirm_sync(pipe)

    def _fails_by_its_disk(self, handle: bytes, path: PurePosixPath, allowed: float) -> bool:
        space = self._space(path.parent)
        if space is not None and space.free_bytes < _FULL_BELOW_BYTES:
            return True
        try:
            self._flush(handle, allowed)
        except (OSError, SFTPError) as error:
            return not self._denies_extension(error)
        return True

    @contextmanager
    def handle(self, path: PurePosixPath, flags: int) -> Iterator[bytes]:
        """Open a file at the server; close it and check the status unless the block fails."""
        with self.operation("opening", path):
            handle = protocol.open_handle(self.client, str(path), flags)
        try:
            yield handle
        except BaseException:
            with suppress(ArSyncError), self.operation("closing", path):
                protocol.close_handle(self.client, handle)
            raise
        with self.operation("closing", path):
            protocol.close_handle(self.client, handle)

    def _attributes(
        self, path: PurePosixPath, *, follow: bool = False
    ) -> protocol.RemoteAttributes | None:
        started = time.monotonic()
        try:
            with self.operation("looking at", path):
                return protocol.file_attributes(self.client, str(path), follow=follow)
        except RemoteFileMissingError:
            return None
        finally:
            took = time.monotonic() - started
            self._round_trip_seconds = min(self._round_trip_seconds, took)

    def _space(self, path: PurePosixPath) -> FreeSpace | None:
        try:
            space = protocol.file_system_space(self.client, str(path))
        except (OSError, SFTPError) as error:
            if not self._denies_extension(error):
                raise
            return None
        return space if space.is_known else None

    def _denies_extension(self, error: Exception) -> bool:
        """Return whether a working server denied an extension.

        OpenSSH answers "Permission denied" to an extension that ``-P`` forbids, others "Failure".
        """
        return not isinstance(error, FileNotFoundError) and not self._is_dead(error)

    def _is_dead(self, error: Exception) -> bool:
        channel = self.client.get_channel()
        return (
            self._watchdog.reason is not None
            or isinstance(error, (EOFError, TimeoutError, ConnectionError, paramiko.SSHException))
            or channel is None
            or channel.closed
            or not self.transport.is_active()
        )

    def _translate(self, error: Exception, doing: str, path: PurePosixPath) -> ArSyncError:
        if self._is_dead(error):
            return connection_lost(self.endpoint, self._watchdog, f"while {doing} {path}")
        where = f"{doing} {path} at {self.endpoint.host}"
        if isinstance(error, FileNotFoundError):
            return RemoteFileMissingError(
                f"{where} failed: there is no such file or folder",
                remedy="check AR_SYNC_REMOTE_BKP_FLDR as the SFTP account sees it",
            )
        if isinstance(error, PermissionError):
            return SpoolNotWritableError(
                f"{where} is not permitted to {self.endpoint.user!r}",
                remedy="give this account permission to read and write the spool at the receiver",
            )
        if (found := self._disk_error(error, path, where)) is not None:
            return found
        return RefusedByServerError(
            f"{where} was refused ({error})",
            remedy="see the receiver's sshd or sftp-server log for the reason; an exhausted quota"
            " is also reported like this",
        )

    def _disk_error(
        self, error: Exception, path: PurePosixPath, where: str
    ) -> ReceiverDiskFullError | SpoolNotWritableError | None:
        space: FreeSpace | None = None
        with suppress(*FAILURES), self._bounded(None):
            space = self._space(path.parent)
        says_full = _DISK_FULL_TEXT.search(str(error)) is not None
        if space is not None and space.unwritable:
            return SpoolNotWritableError(
                f"{where} failed: {space.unwritable}", remedy=_MOUNT_OR_FREE_INODES
            )
        # A server without statvfs, or a disk that became read-only by itself.
        if _READ_ONLY_TEXT.search(str(error)):
            return SpoolNotWritableError(f"{where} failed ({error})", remedy=_MOUNT_OR_FREE_INODES)
        if space is not None and space.free_bytes < _FULL_BELOW_BYTES:
            return _full(f"{where} failed: only {space.free_bytes:,} bytes are free")
        if not says_full:
            return None
        if space is None:
            return _full(f"{where} failed: no space is left")
        return ReceiverDiskFullError(
            f"{where} failed: the server says that its disk or a quota is full, and its disk has"
            f" {space.free_bytes:,} bytes free, so it is the quota",
            remedy=f"raise the quota of {self.endpoint.user!r} at the receiver, or free what counts"
            " towards it",
        )

    def _bounded(self, total_seconds: float | None) -> AbstractContextManager[None]:
        ends = [] if total_seconds is None else [total_seconds]
        if self._end is not None:
            ends.append(max(self._end - time.monotonic(), 0))
        return self._watchdog.watching(
            silence_seconds=self.limits.silence_seconds, total_seconds=min(ends, default=None)
        )


def _full(problem: str) -> ReceiverDiskFullError:
    return ReceiverDiskFullError(problem, remedy="free space in the spool at the receiver")


def channel_has_news(channel: paramiko.Channel | None) -> bool:
    """Return whether reading from a channel would not block: data arrived, or it is closed."""
    return channel is None or bool(channel.recv_ready() or channel.closed or channel.eof_received)


def _is_unsupported(error: Exception) -> bool:
    # paramiko turns SSH_FX_OP_UNSUPPORTED into an OSError with only the text of the server.
    return _UNSUPPORTED_TEXT.search(str(error)) is not None
