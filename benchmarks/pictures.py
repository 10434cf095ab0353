"""Peak memory and time of a complete with many tiny media files, beside `rsync -a` over ssh.

    .venv/bin/python -m benchmarks.pictures [--files 1000 10000 100000] [--markdown]

Each dump (real SFTP server on loopback) and each load is a process of its own, without Dagster. The
memory is the operating system's figure (``ru_maxrss``). The processor seconds of rsync include its
``sshd`` and its receiving process; ours do not include the servers (SFTP, PostgreSQL).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.settings.model import load_sender_settings
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.openssh_servers import ShellTestServer
from benchmarks.completes import Pair
from benchmarks.load_rows import fill_sender, make_receiver

_LAST_WEEK_SECONDS = 7 * 86400
# A child's peak starts with that of its parent, so a small process is in between.
_MEASURE = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Cost:
    """Cost of one process."""

    what: str
    files: int
    seconds: float
    cpu_seconds: float | None = None
    peak_mb: float | None = None


def main(counts: list[int], *, copies: bool, markdown: bool) -> None:
    """Measure every number of files."""
    costs = list[Cost]()
    for count in counts:
        costs += _measure(count, copies=copies)
    _print(costs, markdown=markdown)


def _measure(count: int, *, copies: bool) -> list[Cost]:
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-pictures-"))
    folder.chmod(0o755)
    try:
        with (
            EmbeddedPostgres(folder / "postgres") as postgres,
            LoopbackSftpServer(folder, folder / "keys") as sftp,
        ):
            sender, receiver = (postgres.create_database(side) for side in ("sender", "receiver"))
            fill_sender(sender, 0.001)
            make_receiver(receiver)
            sites = TwoSites(sender, receiver, load_catalog(None), folder)
            _make_pictures(sites.sender_media, count)
            keys = [sftp.host, str(sftp.port), sftp.user, str(sftp.private_key)]
            parts = [sender, receiver, str(folder), *keys, str(sftp.known_hosts)]
            costs = list[Cost]()
            for case in ("first complete", "nothing changed"):
                if copies:
                    costs.append(_copied(f"{case}: rsync", folder, count))
                costs += [
                    _run(f"{case}: {operation}", count, operation, parts)
                    for operation in ("dump", "load")
                ]
            _check(sites, count)
            return costs
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_pictures(folder: Path, count: int) -> None:
    last_week = time.time() - _LAST_WEEK_SECONDS
    for number in range(count):
        picture = f"{folder}/report-{number:07}.jpeg"
        with open(picture, "wb") as file:  # noqa: PTH123  a Path costs as much as the file
            file.write(b"%d" % number)
        os.utime(picture, (last_week, last_week))
    time.sleep(3)  # a file that changed just now is hashed again


def _copied(what: str, folder: Path, count: int) -> Cost:
    account = Path(tempfile.mkdtemp(dir=folder))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with ShellTestServer(account) as server:
        login = server.endpoint()
        ssh = f"ssh -p {login.port} -i {login.private_key} -o BatchMode=yes"
        ssh += f" -o UserKnownHostsFile={login.known_hosts}"
        target = f"{login.user}@{login.host}:{folder}/copy"
        subprocess.run(["rsync", "-a", "-e", ssh, f"{folder}/sender_media/", target], check=True)
        os.sync()
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Cost(what, count, seconds, cpu)


def _run(what: str, count: int, operation: str, parts: list[str]) -> Cost:
    child = [sys.executable, "-m", "benchmarks.pictures", "--child", operation, *parts]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _MEASURE, *child],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    *said, figures = done.stdout.splitlines()
    print(f"  {count:,} {what}: {' '.join(said)}", file=sys.stderr)
    peak, cpu = figures.split()
    return Cost(what, count, seconds, float(cpu), int(peak) / 1024)


def _check(sites: TwoSites, count: int) -> None:
    found = sum(1 for _ in os.scandir(sites.receiver_media))
    if found != count:
        raise SystemExit(f"{found} of {count} files were installed")


def child(operation: str, parts: list[str]) -> None:
    """What one measured process does; it prints the seconds of each phase."""
    sender, receiver, folder, host, port, user, private_key, known_hosts = parts
    sites = TwoSites(sender, receiver, load_catalog(None), Path(folder))
    if operation == "load":
        report = sites.load()
        assert not report.refused, report.refused
        print({name: round(seconds, 2) for name, seconds in report.seconds.items()})
        return
    settings = load_sender_settings(
        {
            "AR_SYNC_SENDER_DATABASE_URL": sender,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(sites.sender_media),
            "AR_SYNC_TMP_BKP_FLDR": str(sites.folder / "scratch"),
            "AR_SYNC_REMOTE_HOST": host,
            "AR_SYNC_REMOTE_PORT": port,
            "AR_SYNC_REMOTE_USER": user,
            "AR_SYNC_PRIVATE_KEY": private_key,
            "AR_SYNC_KNOWN_HOSTS": known_hosts,
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
        }
    )
    published = Pair(sites, settings, postmaster=os.getpid()).publish()
    seconds = {name: round(value, 2) for name, value in published.seconds.items()}
    print(published.size_bytes, "bytes", seconds)


def _print(costs: list[Cost], *, markdown: bool) -> None:
    if markdown:
        print("| files | work | s | CPU s | µs a file | peak MB |")
        print("|--:|---|--:|--:|--:|--:|")
    for cost in costs:
        cpu = "-" if cost.cpu_seconds is None else f"{cost.cpu_seconds:.1f}"
        peak = "-" if cost.peak_mb is None else f"{cost.peak_mb:.0f}"
        each = f"{1e6 * cost.seconds / cost.files:.0f}"
        row = (f"{cost.files:,}", cost.what, f"{cost.seconds:.1f}", cpu, each, peak)
        print(
            f"| {' | '.join(row)} |"
            if markdown
            else "{:>10} {:24}{:>9}{:>9}{:>9}{:>8}".format(*row)
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--files", type=int, nargs="+", default=[1000, 10_000, 100_000])
        parser.add_argument("--no-copy", action="store_true")
        parser.add_argument("--markdown", action="store_true")
        given = parser.parse_args()
        main(given.files, copies=not given.no_copy, markdown=given.markdown)
