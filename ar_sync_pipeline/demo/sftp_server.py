"""A real SFTP server on loopback for the demo and the tests: one folder, one user, new keys."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeAlias

import asyncssh

from ar_sync_pipeline.sftp.endpoint import SftpEndpoint

# As text: the channel's class takes no parameter at run time.
SftpFactory: TypeAlias = "Callable[[asyncssh.SSHServerChannel[bytes]], asyncssh.SFTPServer]"

HOST = "127.0.0.1"
_USER = "backup"
_START_SECONDS = 20

# Clients often drop connections here; asyncssh would log each on stderr.
logging.getLogger("asyncssh").addHandler(logging.NullHandler())


class LoopbackSftpServer:
    """An asyncssh server in a thread; the account sees ``root`` as ``/``.

    Use it as a context manager; the port is free again at the end of the block.

    Args:
        root: Root folder of the account.
        keys_folder: Folder for ``host_key``, ``client_key`` (Ed25519, mode 0600) and
            ``known_hosts``; existing keys are kept, so that a restarted demo is still trusted.
        port: Port to listen on; 0: any free port.
        sftp_factory: Function that creates the server side of a session, for fault injection.
        encryption_algs: Offered ciphers; by default those of asyncssh.
    """

    def __init__(
        self,
        root: Path,
        keys_folder: Path,
        *,
        port: int = 0,
        sftp_factory: SftpFactory | None = None,
        encryption_algs: Sequence[str] | None = None,
    ) -> None:
        self.root = root
        self.user = _USER
        self.host = HOST
        self.port = port
        self.private_key = keys_folder / "client_key"
        self.known_hosts = keys_folder / "known_hosts"
        self._host_key_path = keys_folder / "host_key"
        self._factory = sftp_factory or self._chrooted
        self._encryption_algs = encryption_algs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="loopback-sftp", daemon=True)

    def __enter__(self) -> Self:
        """Make the keys and start the server; it accepts connections on return."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._host_key = _key(self._host_key_path)
        self._client_key = _key(self.private_key)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise TimeoutError(f"the SFTP server did not start within {_START_SECONDS} s")
        if self._failure is not None:
            raise self._failure
        public = self._host_key.export_public_key().decode().split()[:2]
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {' '.join(public)}\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Stop the server if it runs."""
        self.stop()

    def stop(self) -> None:
        """Close all connections, and wait for the end of the thread."""
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def endpoint(self) -> SftpEndpoint:
        """Return the endpoint of this server for a client."""
        return SftpEndpoint(
            host=self.host,
            port=self.port,
            user=self.user,
            private_key=self.private_key,
            known_hosts=self.known_hosts,
        )

    def remote_path(self, path: Path) -> PurePosixPath:
        """Return a local path under ``root`` as the account sees it."""
        return PurePosixPath("/") / path.relative_to(self.root).as_posix()

    def _chrooted(self, channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        return asyncssh.SFTPServer(channel, chroot=os.fsencode(self.root))

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  handed to the thread that waits in __enter__
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        acceptor = await asyncssh.listen(
            HOST,
            self.port,
            server_factory=lambda: _OneUser(self._client_key),
            server_host_keys=[self._host_key],
            sftp_factory=self._factory,
            allow_pty=False,
            encryption_algs=self._encryption_algs or (),
        )
        self.port = acceptor.get_port()
        self._ready.set()
        try:
            await self._stop.wait()
        finally:
            acceptor.close()
            await acceptor.wait_closed()


class _OneUser(asyncssh.SSHServer):
    """Accepts one user with one key."""

    def __init__(self, key: asyncssh.SSHKey) -> None:
        self._public_data = key.public_data

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == _USER and key.public_data == self._public_data


def _key(path: Path) -> asyncssh.SSHKey:
    if path.exists():
        return asyncssh.read_private_key(path)
    key = asyncssh.generate_private_key("ssh-ed25519")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    key.write_private_key(path)
    return key
