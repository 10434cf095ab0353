"""How long each step of a move from the old system takes, by the commands that an operator runs.

    python -m benchmarks.moving_in                  a million rows, 2,000 files of 50 kB
    python -m benchmarks.moving_in --scale 1        10.6 million rows

A real PostgreSQL holds production and the visualization's database, which is empty at first. The
old system's complete is made by pg_dump and tar. Each command runs in a process of its own, with
SFTP over loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
import psycopg

from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.spool.layout import prepare_spool
from benchmarks.load_rows import fill_sender, make_receiver, sizes

_FILE_BYTES = 50_000
_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


@dataclass(frozen=True)
class _Machines:
    """Both servers in one folder."""

    folder: Path
    sftp: LoopbackSftpServer
    sender_url: str
    receiver_url: str
    old_archives: str = "accept"

    @property
    def spool(self) -> Path:
        return self.folder / "root" / "spool"

    def environment(self, side: str) -> dict[str, str]:
        own = {
            "sender": {
                "AR_SYNC_SENDER_DATABASE_URL": self.sender_url,
                "AR_SYNC_SENDER_MEDIA_FLDR": str(self.folder / "sender_media"),
                "AR_SYNC_TMP_BKP_FLDR": str(self.folder / "scratch"),
                "AR_SYNC_REMOTE_HOST": self.sftp.host,
                "AR_SYNC_REMOTE_PORT": str(self.sftp.port),
                "AR_SYNC_REMOTE_USER": self.sftp.user,
                "AR_SYNC_PRIVATE_KEY": str(self.sftp.private_key),
                "AR_SYNC_KNOWN_HOSTS": str(self.sftp.known_hosts),
                "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            },
            "receiver": {
                "AR_SYNC_RECEIVER_DATABASE_URL": self.receiver_url,
                "AR_SYNC_RECEIVER_MEDIA_FLDR": str(self.folder / "receiver_media"),
                "AR_SYNC_REMOTE_BKP_FLDR": str(self.spool),
                "AR_SYNC_TRANSFORM": "none",
                "AR_SYNC_OLD_ARCHIVES": self.old_archives,
            },
        }
        return own[side] | {"AR_SYNC_STATE_FLDR": str(self.folder / "state")}

    def run(self, side: str, *command: str, extra: dict[str, str] | None = None) -> None:
        """Run a command of one side and print how long it took."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AR_SYNC_", "DAGSTER_"))}
        home = self.folder / f"{side}_home"
        home.mkdir(exist_ok=True)
        program = Path(sys.executable).with_name(command[0])
        started = time.monotonic()
        done = subprocess.run(
            [program, *command[1:]],
            env=clean | self.environment(side) | (extra or {}) | {"DAGSTER_HOME": str(home)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
        code = f", exit code {done.returncode}" if done.returncode else ""
        print(f"{seconds:8.1f} s  {side}: {' '.join(command)}{code}", flush=True)
        if done.returncode and command[0] == "dagster":
            raise SystemExit((done.stdout + done.stderr)[-3000:])

    def job(self, side: str, name: str) -> None:
        """Run a job as an operator does by hand."""
        self.run(side, "dagster", "job", "execute", "-m", f"ar_sync_pipeline.{side}", "-j", name)

    def old_complete(self, server: EmbeddedPostgres, stamp: datetime) -> None:
        """Upload a complete of the old system."""
        started, work = time.monotonic(), self.folder / "old"
        work.mkdir()
        tables = '--table=public."AndroidRequests_"*'
        command: list[str | Path] = [
            server.binaries.program("pg_dump"),
            tables,
            "-f",
            work / "database.sql",
        ]
        subprocess.run([*command, self.sender_url], check=True)
        name = f"NEW_backup_{stamp:%Y-%m-%d__%H_%M_%S}.tar.gz"
        script = (
            "tar -czf database.tar.gz database.sql; rm database.sql;"
            f" (cd {self.folder}/sender_media; tar -cz *) > images.tar.gz;"
            " touch 0001_initial.py; tar -czf migrations.tar.gz 0001_initial.py;"
            " echo 'bkp-type: complete' > metadata.txt;"
            f" tar -czf {self.spool}/complete/{name} --mode=0644"
            " database.tar.gz images.tar.gz migrations.tar.gz metadata.txt"
        )
        subprocess.run(["bash", "-euc", script], cwd=work, check=True)
        shutil.rmtree(work)
        path = self.spool / "complete" / name
        # As if its upload had ended a minute ago: younger files are left alone.
        os.utime(path, (time.time() - 60,) * 2)
        seconds = time.monotonic() - started
        print(f"{seconds:8.1f} s  the old sender's complete, {path.stat().st_size / 1e6:.0f} MB")


@click.command(help=__doc__)
@click.option("--scale", default=0.1, show_default=True, help="1 is 10.6 million rows.")
@click.option("--files", default=2_000, show_default=True, help="Media files of 50 kB.")
def main(*, scale: float, files: int) -> None:
    """Print the seconds of each step."""
    with tempfile.TemporaryDirectory(prefix="ar_sync_moving_") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("root/spool", "sender_media", "receiver_media", "scratch"):
            (folder / each).mkdir(parents=True)
        (folder / "scratch").chmod(0o700)
        prepare_spool(folder / "root" / "spool")
        for number in range(files):
            path = folder / "sender_media" / f"{number}.jpeg"
            path.write_bytes(os.urandom(_FILE_BYTES))
        server = EmbeddedPostgres(folder / "cluster", durable=True, settings=_SETTINGS)
        try:
            with server, LoopbackSftpServer(folder / "root", folder / "keys") as sftp:
                sender, receiver = server.create_database("transapp"), server.create_database("viz")
                fill_sender(sender, scale)
                make_receiver(receiver)
                rows = sum(sizes(scale).values())
                print(f"{rows:,} rows, {files:,} files of {_FILE_BYTES // 1000} kB")
                _steps(server, _Machines(folder, sftp, sender, receiver))
        finally:
            server.destroy()


def _steps(server: EmbeddedPostgres, machines: _Machines) -> None:
    machines.run("receiver", "ar-sync", "check", "--moving-in")
    machines.old_complete(server, datetime(2026, 1, 2, 3, 30))  # noqa: DTZ001  old names are local
    machines.job("receiver", "complete_loaddata")
    machines.old_complete(server, datetime(2026, 1, 3, 3, 30))  # noqa: DTZ001
    machines.job("receiver", "complete_loaddata")
    newest = max((machines.spool / "complete").glob("backup_complete_*.tar"))
    machines.run("receiver", "ar-sync", "compare", str(newest))
    both = {"AR_SYNC_SENDER_DATABASE_URL": machines.sender_url}
    machines.run("receiver", "ar-sync", "compare", extra=both)
    machines.run("sender", "ar-sync", "check", "--moving-in")
    with psycopg.connect(machines.sender_url) as connection:
        connection.execute("UPDATE \"AndroidRequests_report\" SET message = 'changed' WHERE id < 9")
    machines.job("sender", "complete_dump")
    machines.job("receiver", "complete_loaddata")
    machines.job("sender", "partial_dump")
    machines.job("receiver", "partial_loaddata")
    machines.run("receiver", "ar-sync", "status")


if __name__ == "__main__":
    main()
