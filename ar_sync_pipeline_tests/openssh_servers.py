"""OpenSSH servers of tests: plain, chrooted, with a shell, configured."""

from __future__ import annotations

import getpass
import os
import pwd
import subprocess
import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import Self

from ar_sync_pipeline.demo.ports import free_port
from ar_sync_pipeline.demo.sftp_server import HOST
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint

SSHD = Path("/usr/sbin/sshd")
AS_ROOT = os.geteuid() == 0


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
        self.user = "nobody" if AS_ROOT else getpass.getuser()
        self._folder = folder
        self._port = free_port()
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
        if AS_ROOT:
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
        if AS_ROOT:
            os.chown(self.spool_path, 0, 0)
        self.spool_path.chmod(0o555)

    def renew_spool(self) -> None:
        """Give the account a fresh, empty spool."""
        self.spool_path = Path(tempfile.mkdtemp(prefix="spool-", dir=self.root))
        if AS_ROOT:
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
