"""SFTP servers for tests: asyncssh with fault injection, OpenSSH's sshd, and a TCP proxy.

The proxy interrupts or swallows data. Fixtures: `sftp_server` (asyncssh in this process),
`bare_server` (the same, slow and without extensions), `openssh_server`, `chrooted_server`,
`shell_server`, `cutting_proxy`. Each server has ``.root`` (a folder on this disk),
``.endpoint()``, ``.remote_path(path)`` and ``.spool_path`` / ``.spool`` (an existing, empty spool,
here and as the account sees it).
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ar_sync_pipeline_tests.cutting_proxy import CuttingProxy
from ar_sync_pipeline_tests.faulty_sftp import AsyncsshTestServer, SftpTestServer
from ar_sync_pipeline_tests.missing_parts import skip_unless_in_ci
from ar_sync_pipeline_tests.openssh_servers import (
    AS_ROOT,
    SSHD,
    ChrootedTestServer,
    ConfiguredTestServer,
    OpensshTestServer,
    ShellTestServer,
)

_Server = TypeVar("_Server", bound="OpensshTestServer")


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
    if not AS_ROOT:
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
