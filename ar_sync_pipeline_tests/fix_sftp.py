"""SFTP servers for tests: asyncssh with fault injection, OpenSSH's sshd, and a TCP proxy.

The proxy interrupts or swallows data. Fixtures: `sftp_server` (asyncssh in this process),
`bare_server` (the same, slow and without extensions), `openssh_server`, `chrooted_server`,
`shell_server`, `cutting_proxy`. Each server has ``.root`` (a folder on this disk),
``.endpoint()``, ``.remote_path(path)`` and ``.spool_path`` / ``.spool`` (an existing, empty spool,
here and as the account sees it).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import getpass
import io
import os
import pwd
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import asyncssh
import pytest

from ar_sync_pipeline.demo.sftp_server import HOST, LoopbackSftpServer
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    VfsAttributes = os.statvfs_result | asyncssh.SFTPVFSAttrs

_Server = TypeVar("_Server", bound="OpensshTestServer")

SSHD = Path("/usr/sbin/sshd")
_AS_ROOT = os.geteuid() == 0


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
        read_only: Whether nobody can write.
        free_bytes: Bytes that its disk still accepts; None for the real number.
        blocks_free: Free blocks of a disk of 100 blocks of a gigabyte, by statvfs; None for the
            real number.
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
    read_only: bool = False
    free_bytes: int | None = None
    blocks_free: int | None = None
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
        free = self._faults.free_bytes
        if free is not None:
            if free < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._faults.free_bytes = free - len(data)
        kept = data[:-1] if self._faults.lose_last_bytes else data
        written = super().write(file_obj, offset, kept)
        assert isinstance(written, int)
        return len(data)

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
            gigabyte = 10**9
            return asyncssh.SFTPVFSAttrs(gigabyte, gigabyte, 100, free, free, 100, 100, 100)
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


async def _sleep_or_close(seconds: float, file_obj: object) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        # As in `FaultySftp.write`.
        assert isinstance(file_obj, io.IOBase)
        file_obj.close()
        raise


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


class OpensshTestServer:
    """OpenSSH's sshd with its own configuration, on a free port, for one account.

    If the tests run as root, the account is ``nobody``, so that permissions apply; otherwise it is
    the account that runs the tests.

    Args:
        address: Address on which it listens.
        inside: Words before the command, such as those that run it in another network namespace.
    """

    def __init__(self, folder: Path, *, address: str = HOST, inside: tuple[str, ...] = ()) -> None:
        self.host = address
        self._inside = inside
        self.root = folder / "root"
        self.spool_path = self.root
        self.known_hosts = folder / "known_hosts"
        self.user = "nobody" if _AS_ROOT else getpass.getuser()
        self._folder = folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for name in ("host_key", "client_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._folder / name],
                check=True,
            )
        self.authorize(self._folder / "client_key.pub")
        public = (self._folder / "host_key.pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[{self.host}]:{self._port} {' '.join(public)}\n")
        self.root.mkdir()
        if _AS_ROOT:
            Path("/run/sshd").mkdir(exist_ok=True)
        config = self._folder / "sshd_config"
        config.write_text("\n".join([*self._common(), *self.account(), ""]))
        log = self._folder / "sshd.log"
        self._process = subprocess.Popen([*self._inside, SSHD, "-D", "-f", config, "-E", log])
        self._wait_until_it_listens(log)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def endpoint(self) -> SftpEndpoint:
        return SftpEndpoint(
            self.host, self._port, self.user, self._folder / "client_key", self.known_hosts
        )

    @property
    def spool(self) -> PurePosixPath:
        return self.remote_path(self.spool_path)

    def account(self) -> list[str]:
        """Return the lines of sshd_config with the rights of the account."""
        return ["Subsystem sftp internal-sftp", "ForceCommand internal-sftp"]

    def authorize(self, public_key: Path) -> None:
        """Accept one more key."""
        with (self._folder / "authorized_keys").open("a") as file:
            file.write(public_key.read_text())

    def remote_path(self, path: Path) -> PurePosixPath:
        return PurePosixPath(path)

    def make_unwritable(self) -> None:
        if _AS_ROOT:
            os.chown(self.spool_path, 0, 0)
        self.spool_path.chmod(0o555)

    def renew_spool(self) -> None:
        """Give the account a fresh, empty spool."""
        self.spool_path = Path(tempfile.mkdtemp(prefix="spool-", dir=self.root))
        if _AS_ROOT:
            account = pwd.getpwnam(self.user)
            os.chown(self.spool_path, account.pw_uid, account.pw_gid)

    def _common(self) -> list[str]:
        return [
            f"ListenAddress {self.host}",
            f"Port {self._port}",
            f"HostKey {self._folder}/host_key",
            f"AuthorizedKeysFile {self._folder}/authorized_keys",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "AuthenticationMethods publickey",
        ]

    def _wait_until_it_listens(self, log: Path) -> None:
        assert self._process is not None
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if log.exists() and "Server listening" in log.read_text():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {log.read_text()}")


class ChrootedTestServer(OpensshTestServer):
    """sshd with exactly the account that docs/receiver_account.md describes."""

    def __enter__(self) -> Self:
        super().__enter__()
        # The folder in which the account starts must exist.
        (self.root / "spool").mkdir()
        return self

    def account(self) -> list[str]:
        text = (Path(__file__).parents[1] / "docs" / "receiver_account.md").read_text()
        block = text.partition("```sshd_config\n")[2].partition("```")[0]
        for documented, here in (
            ("ar_sync_sender_keys", "KEYS"),
            ("ar_sync_sender", self.user),
            ("/etc/ssh/KEYS", f"{self._folder}/authorized_keys"),
            ("/srv/ar_sync", str(self.root)),
        ):
            assert documented in block, documented
            block = block.replace(documented, here)
        return block.splitlines()

    def remote_path(self, path: Path) -> PurePosixPath:
        return PurePosixPath("/") / path.relative_to(self.root).as_posix()


class ShellTestServer(OpensshTestServer):
    """sshd for the account that runs the tests, which may run commands."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.user = getpass.getuser()

    def account(self) -> list[str]:
        return ["Subsystem sftp internal-sftp", "PermitRootLogin prohibit-password"]


class ConfiguredTestServer(OpensshTestServer):
    """sshd with configuration lines of a test.

    Args:
        lines: Lines of sshd_config; ``{root}`` is the server's folder.
        user: User that logs in.
        key_options: Options before the key in authorized_keys.
    """

    def __init__(
        self, folder: Path, lines: tuple[str, ...], *, user: str = "", key_options: str = ""
    ) -> None:
        super().__init__(folder)
        self.user = user or self.user
        self._lines = lines
        self._key_options = key_options

    def __enter__(self) -> Self:
        super().__enter__()
        self.renew_spool()
        return self

    def account(self) -> list[str]:
        lines = [line.replace("{root}", str(self.root)) for line in self._lines]
        return [*lines, "PermitRootLogin prohibit-password"]

    def authorize(self, public_key: Path) -> None:
        with (self._folder / "authorized_keys").open("a") as file:
            file.write(f"{self._key_options} {public_key.read_text()}")


class CuttingProxy:
    """A TCP proxy that interrupts the link from the client to the server after some bytes.

    Args:
        port: Port of the server.
        interrupted_after: For the first connections, in their order: bytes from the client that are
            forwarded before both sides are closed; later connections are not interrupted.
        swallow_after: Bytes from the client, per connection, after which nothing is forwarded in
            either direction, with all sockets open.

    Attributes:
        swallow: If set, nothing is forwarded from now on.
    """

    def __init__(
        self,
        port: int,
        *,
        interrupted_after: tuple[int, ...] = (),
        swallow_after: int | None = None,
    ) -> None:
        self._server_port = port
        self._cuts = list(interrupted_after)
        self._swallow_after = swallow_after
        self._stop = threading.Event()
        self.swallow = threading.Event()
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def endpoint(self, server: SftpTestServer, known_hosts: Path) -> SftpEndpoint:
        """Return the server's account through this proxy; pin the server's key for its port."""
        key = server.known_hosts.read_text().split(maxsplit=1)[1]
        known_hosts.write_text(f"[{HOST}]:{self.port} {key}")
        return replace(server.endpoint(), port=self.port, known_hosts=known_hosts)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            cut = self._cuts.pop(0) if self._cuts else None
            relay = threading.Thread(target=self._relay, args=(client, cut), daemon=True)
            self._threads.append(relay)
            relay.start()

    def _relay(self, client: socket.socket, interrupted_after: int | None) -> None:
        passed = 0
        with client, socket.create_connection((HOST, self._server_port)) as server:
            peers = {client: server, server: client}
            while not self._stop.is_set():
                if self.swallow.is_set():
                    self._stop.wait()
                readable, _, _ = select.select(list(peers), [], [], 0.05)
                for side in readable:
                    try:
                        data = side.recv(65536)
                        peers[side].sendall(data)
                    except OSError:
                        return
                    passed += len(data) if side is client else 0
                    if not data or (interrupted_after is not None and passed >= interrupted_after):
                        return
                if self._swallow_after is not None and passed >= self._swallow_after:
                    self._stop.wait()


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def sftp_server(tmp_path: Path) -> Iterator[AsyncsshTestServer]:
    with AsyncsshTestServer(tmp_path / "sftp") as server:
        yield server


@contextlib.contextmanager
def _daemon(kind: Callable[[Path], _Server], folder: Path | None = None) -> Iterator[_Server]:
    if not SSHD.exists():
        skip_unless_in_ci("there is no OpenSSH server on this machine (/usr/sbin/sshd)")
    # Not under pytest's own folder, which only its owner can enter: the account is another one.
    home = Path(tempfile.mkdtemp(prefix="ar-sync-sshd-", dir=folder))
    home.chmod(0o755)
    try:
        with kind(home) as server:
            yield server
    finally:
        shutil.rmtree(home)


@contextlib.contextmanager
def configured_server(
    *lines: str, user: str = "", key_options: str = "", below: str | None = None
) -> Iterator[ConfiguredTestServer]:
    """Run a server with a test's own configuration; see `ConfiguredTestServer`.

    Args:
        below: Folder in which its folder is made; by default the temporary folder of the machine.
    """
    kind = functools.partial(ConfiguredTestServer, lines=lines, user=user, key_options=key_options)
    with _daemon(kind, Path(below) if below else None) as server:
        yield server


@pytest.fixture(scope="session")
def openssh_daemon() -> Iterator[OpensshTestServer]:
    """One sshd for the whole session; each test gets its own spool."""
    with _daemon(OpensshTestServer) as server:
        yield server


@pytest.fixture(scope="session")
def chrooted_daemon() -> Iterator[ChrootedTestServer]:
    """sshd with the least-privilege account, below a folder that only root can change."""
    if not _AS_ROOT:
        skip_unless_in_ci("only root may let sshd change an account's root folder")
    with _daemon(ChrootedTestServer, Path("/var/lib")) as server:
        yield server


@pytest.fixture(scope="session")
def shell_daemon() -> Iterator[ShellTestServer]:
    with _daemon(ShellTestServer) as server:
        yield server


@pytest.fixture
def openssh_server(openssh_daemon: OpensshTestServer) -> OpensshTestServer:
    openssh_daemon.renew_spool()
    return openssh_daemon


@pytest.fixture
def chrooted_server(chrooted_daemon: ChrootedTestServer) -> ChrootedTestServer:
    chrooted_daemon.renew_spool()
    return chrooted_daemon


@pytest.fixture
def shell_server(shell_daemon: ShellTestServer) -> ShellTestServer:
    shell_daemon.renew_spool()
    return shell_daemon


@pytest.fixture
def bare_server(sftp_server: AsyncsshTestServer) -> AsyncsshTestServer:
    """A slow server with only the protocol of 2001: no extension at all."""
    sftp_server.faults.unsupported |= {"posix_rename", "fsync", "statvfs"}
    sftp_server.faults.seconds_per_write = 0.002
    return sftp_server


@pytest.fixture(params=["sftp_server", "openssh_server", "chrooted_server", "bare_server"])
def any_sftp_server(request: pytest.FixtureRequest) -> SftpTestServer:
    """Each server in turn: the contract suite runs with all of them."""
    server: SftpTestServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=["sftp_server", "openssh_server", "chrooted_server"])
def any_server_with_extensions(request: pytest.FixtureRequest) -> SftpTestServer:
    """Each server that reports its free space."""
    server: SftpTestServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def cutting_proxy() -> Iterator[Callable[..., CuttingProxy]]:
    """A function that starts proxies; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(
            server: SftpTestServer,
            *,
            interrupted_after: tuple[int, ...] = (),
            swallow_after: int | None = None,
        ) -> CuttingProxy:
            proxy = CuttingProxy(
                server.endpoint().port,
                interrupted_after=interrupted_after,
                swallow_after=swallow_after,
            )
            return stack.enter_context(proxy)

        yield start
