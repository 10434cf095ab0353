"""System account of an embedded server, and folders that the account can reach.

PostgreSQL refuses to run as root (manual, 18.1 "The PostgreSQL User Account"), which is common in
containers and CI. Then the server runs as ``postgres`` or ``nobody``, in its own folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import TypedDict

from ar_sync_pipeline.demo.errors import EmbeddedPostgresError

_UNPRIVILEGED = ("postgres", "nobody")


class ProcessIdentity(TypedDict, total=False):
    """Arguments of ``subprocess.Popen`` that set the account of the process."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class ServerAccount:
    """Account of the server process.

    Attributes:
        uid: User id of the server process.
        gid: Group id of the server process.
        switched: Whether we are root and the server process must change to this account.
    """

    uid: int
    gid: int
    switched: bool

    @property
    def popen_identity(self) -> ProcessIdentity:
        """Return the arguments for ``subprocess.Popen``; empty if the account stays the same."""
        if not self.switched:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, folder: Path) -> bool:
        """Return whether the account may enter ``folder`` and all its parents."""
        return all(self._may_search(level) for level in (folder, *folder.parents))

    def make_folder(self, folder: Path) -> None:
        """Make ``folder`` a private folder of the account.

        Raises:
            EmbeddedPostgresError: The name is not a folder, or the folder has another owner.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid not in {os.geteuid(), self.uid}:
            raise EmbeddedPostgresError(
                f"{folder} is not a folder of this user", remedy="remove it or choose another one"
            )
        if self.switched:
            os.chown(folder, self.uid, self.gid)

    def write_private_file(self, path: Path, text: str) -> None:
        """Write a new file that only the account can read."""
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if self.switched:
                os.fchown(file.fileno(), self.uid, self.gid)

    def _may_search(self, folder: Path) -> bool:
        if not self.switched:
            return os.access(folder, os.X_OK) if folder.exists() else True
        try:
            facts = folder.stat()
        except FileNotFoundError:
            return True
        if facts.st_uid == self.uid:
            return bool(facts.st_mode & stat.S_IXUSR)
        if facts.st_gid == self.gid:
            return bool(facts.st_mode & stat.S_IXGRP)
        return bool(facts.st_mode & stat.S_IXOTH)


def server_account() -> ServerAccount:
    """Return the account of an embedded server: ours, or an unprivileged one if we are root."""
    if os.geteuid() != 0:
        return ServerAccount(os.geteuid(), os.getegid(), switched=False)
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerAccount(entry.pw_uid, entry.pw_gid, switched=True)
    raise EmbeddedPostgresError(
        f"root may not run PostgreSQL and there is no account {' or '.join(_UNPRIVILEGED)}",
        remedy="add one of them or run as a normal user",
    )


def reachable_folder(wanted: Path, account: ServerAccount) -> Path:
    """Return ``wanted``, or a substitute in a temporary folder that the account can reach.

    Root's home and pytest's temporary folders are closed to others, and their modes must not be
    changed. The name of the substitute follows from ``wanted``, so a later call finds it again.
    """
    wanted = wanted.absolute()
    if account.can_enter(wanted.parent):
        return wanted
    token = sha256(os.fsencode(wanted)).hexdigest()[:16]
    for parent in map(Path, dict.fromkeys((gettempdir(), "/var/tmp", "/tmp"))):  # noqa: S108 make_folder() refuses a folder that someone else has put there
        if parent.is_dir() and account.can_enter(parent):
            return parent / f"ar-sync-postgres-{token}"
    raise EmbeddedPostgresError(
        f"the server's account cannot reach {wanted} nor a temporary folder",
        remedy="choose a folder whose parents others may enter",
    )


def reachable_programs(bin_folder: Path, copy_folder: Path, account: ServerAccount) -> Path:
    """Return ``bin_folder``, or a copy if the account cannot reach it (a wheel in root's home)."""
    if account.can_enter(bin_folder):
        return bin_folder
    prefix = bin_folder.parent
    package = prefix.parent
    if not copy_folder.exists():
        unfinished = copy_folder.with_name(f"{copy_folder.name}.{os.getpid()}")
        # A server finds its share and lib folders relative to its program; one from a wheel has
        # its shared libraries in <package>.libs next to the package (auditwheel's convention).
        _copy_tree(prefix, unfinished / package.name / prefix.name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            _copy_tree(libraries, unfinished / libraries.name)
        _open_to_all(unfinished)
        unfinished.rename(copy_folder)
    return copy_folder / package.name / prefix.name / bin_folder.name


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, symlinks=True, copy_function=_link_or_copy)


def _open_to_all(top: Path) -> None:
    """Let others enter the folders; files keep their modes, which hard links share."""
    for folder, _, _ in os.walk(top):
        Path(folder).chmod(0o755)


def _link_or_copy(source: str, target: str) -> None:
    mode = stat.S_IMODE(os.lstat(source).st_mode)
    try:
        # A hard link shares its mode with the original, which must not be changed.
        if mode & stat.S_IROTH:
            os.link(source, target, follow_symlinks=False)
            return
    except OSError:
        pass
    shutil.copy2(source, target, follow_symlinks=False)
    # Running a program requires reading it: others get the permissions of the owner.
    Path(target).chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
