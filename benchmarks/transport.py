"""Throughput and memory of a publication, against OpenSSH's ``sftp`` on the same line.

    .venv/bin/python benchmarks/transport.py [--megabytes 1024] [--rounds 5] [--delay-ms 0]

A real ``sshd`` (internal-sftp, loopback) receives one archive again and again, in turn from
``sftp`` and from `publish_with_retries` in a process of its own, the order reversed each round.
With ``--delay-ms`` a relay in this machine holds every byte for half of it in each direction, so
that both see the same round trip. Printed: each one's median and range in MB/s, the median of
the rounds' ratios, and the process's peak memory by the operating system (``VmHWM``).

The archive is streamed from members of 64 MB; ``sftp`` sends the same bytes from one file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from ar_sync_pipeline.archive.file_stamp import FileStamp
from ar_sync_pipeline.archive.manifest_media import MediaEntry
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.publish import SpoolPlace, TransferLimits
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline_tests.archive.building import SNAPSHOT_AT, make_manifest

_CIPHER = "aes128-gcm@openssh.com"
_HOST = "127.0.0.1"
_MEMBER_MEGABYTES = 64


class DelayingRelay:
    """Relays TCP to a port of this machine; every byte waits before it is passed on."""

    def __init__(self, port: int, one_way_seconds: float) -> None:
        self._target = port
        self._delay = one_way_seconds
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection((_HOST, self._target))
            for source, target in ((client, server), (server, client)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._relay(source, target)

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        held: deque[tuple[float, bytes]] = deque()
        arrived = threading.Semaphore(0)

        def receive() -> None:
            data = b"-"
            while data:
                try:
                    data = source.recv(2**18)
                except OSError:
                    data = b""
                held.append((time.monotonic() + self._delay, data))
                arrived.release()

        def deliver() -> None:
            while True:
                arrived.acquire()
                due, data = held.popleft()
                time.sleep(max(due - time.monotonic(), 0))
                with suppress(OSError):
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)

        for operation in (receive, deliver):
            threading.Thread(target=operation, daemon=True).start()


def main(megabytes: int, rounds: int, delay_ms: float, connections: int) -> None:
    """Run both in turn and print the table."""
    # Not in the measured process: the servers of the tests take memory of their own.
    from ar_sync_pipeline_tests.openssh_servers import OpensshTestServer  # noqa: PLC0415

    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ar-sync-transport-", dir=_fast_folder()))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        (folder / "server").mkdir()
        server = stack.enter_context(OpensshTestServer(folder / "server"))
        server.renew_spool()
        endpoint = server.endpoint()
        port = endpoint.port
        if delay_ms:
            port = DelayingRelay(port, delay_ms / 2000).port
            key = server.known_hosts.read_text().split(maxsplit=1)[1]
            server.known_hosts.write_text(f"[{_HOST}]:{port} {key}")
        members = folder / "members"
        members.mkdir()
        source = _archive(members, megabytes)
        whole = folder / source.manifest.name.waiting
        source.write_to(whole)
        rates: dict[str, list[float]] = {"sftp": [], "publish": []}
        peaks = []
        for number in range(rounds):
            for who in ("sftp", "publish") if number % 2 else ("publish", "sftp"):
                if who == "sftp":
                    seconds = _sftp(endpoint, port, whole, server.spool)
                else:
                    seconds, peak = _publish(
                        endpoint, port, members, server.spool, megabytes, connections
                    )
                    peaks.append(peak)
                rates[who].append(source.size_bytes / 1e6 / seconds)
                _empty(server.spool_path)
        _report(rates, peaks)


def _archive(folder: Path, megabytes: int) -> ArchiveSource:
    """An archive of random bytes in members of 64 MB, made when it is asked for first."""
    entries = []
    for number in range(-(-megabytes // _MEMBER_MEGABYTES)):
        path, note = folder / f"{number}.jpeg", folder / f"{number}.sha256"
        if not path.exists():
            content = os.urandom(_MEMBER_MEGABYTES * 10**6)
            path.write_bytes(content)
            note.write_text(hashlib.sha256(content).hexdigest())
        entries.append(
            MediaEntry(
                path=path.name,
                size_bytes=path.stat().st_size,
                sha256=note.read_text(),
                modified_at=SNAPSHOT_AT,
            )
        )
    manifest = make_manifest(media=tuple(entries))
    members = {entry.member: folder / entry.path for entry in entries}
    stamps = {name: FileStamp.of(path.stat()) for name, path in members.items()}
    return ArchiveSource(manifest, members, stamps=stamps)


def _fast_folder() -> str | None:
    """Memory, where there is enough of it: the disk is not what is measured."""
    enough = shutil.disk_usage("/dev/shm").free > 4 * 2**30  # noqa: S108  looked at only
    return "/dev/shm" if enough else None  # noqa: S108


def _sftp(endpoint: SftpEndpoint, port: int, whole: Path, spool: PurePosixPath) -> float:
    options = {
        "Ciphers": _CIPHER,
        "IdentityFile": endpoint.private_key,
        "UserKnownHostsFile": endpoint.known_hosts,
        "StrictHostKeyChecking": "yes",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    started = time.monotonic()
    subprocess.run(
        ["sftp", "-q", "-b", "-", *words, "-P", str(port), f"{endpoint.user}@{_HOST}"],
        input=f"put {whole} {spool}/whole.part\nrename {spool}/whole.part {spool}/whole.tar\n",
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - started


def _publish(
    endpoint: SftpEndpoint,
    port: int,
    members: Path,
    spool: PurePosixPath,
    megabytes: int,
    connections: int,
) -> tuple[float, float]:
    words = [endpoint.user, port, endpoint.private_key, endpoint.known_hosts, members, spool]
    command = [sys.executable, __file__, "--child", *words, megabytes, connections]
    result = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    seconds, peak, more = result.stdout.split(maxsplit=2)
    print("  publish:", more.strip())
    return float(seconds), float(peak)


def child(words: list[str]) -> None:
    """What the measured process does."""
    user, port, key, known_hosts, members, spool, megabytes, connections = words
    endpoint = SftpEndpoint(_HOST, int(port), user, Path(key), Path(known_hosts))
    source = _archive(Path(members), int(megabytes))
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.monotonic()
    result = publish_with_retries(
        endpoint,
        source,
        SpoolPlace(PurePosixPath(spool), str(ArchiveKind.COMPLETE), source.manifest.name.waiting),
        transfer=TransferLimits(max_connections=int(connections)),
    )
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Not ru_maxrss, which a process inherits from whoever started it.
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) / 1024
    print(seconds, peak, end=" ")
    print(f"{seconds:.1f} s, {processor:.1f} s of processor, peak {peak:.0f} MB", end=", ")
    print(f"{result.connections} connections, {result.attempts} attempts")


def _empty(spool: Path) -> None:
    for path in spool.rglob("*"):
        if path.is_file():
            path.unlink()


def _report(rates: dict[str, list[float]], peaks: list[float]) -> None:
    for who, found in rates.items():
        print(
            f"{who:>8}: {statistics.median(found):6.1f} MB/s median,"
            f" {min(found):.1f} to {max(found):.1f}"
        )
    medians = [statistics.median(rates[who]) for who in ("publish", "sftp")]
    ratios = [ours / theirs for ours, theirs in zip(rates["publish"], rates["sftp"], strict=True)]
    print(
        f"   ratio: {statistics.median(ratios):.2f} median of the rounds' ratios,"
        f" {min(ratios):.2f} to {max(ratios):.2f};"
        f" of the medians {medians[0] / medians[1]:.2f}"
    )
    print(f"  memory: {max(peaks):.0f} MB peak")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        os._exit(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--connections", type=int, default=4)
    given = parser.parse_args()
    main(given.megabytes, given.rounds, given.delay_ms, given.connections)
