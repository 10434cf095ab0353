"""Bytes that a complete puts on the line, by what has happened since the one before it.

    .venv/bin/python -m benchmarks.completes [--scale 0.1] [--pictures 2000] [--markdown]

The AndroidRequests tables, pictures of 50 KB, a real SFTP server on loopback, real dumps and loads,
without Dagster. A complete that the receiver finds lacking is followed by the next one, as the
sender's sensor requests it; its bytes count too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.choose_base import complete_to_repeat
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline.sync.dump.last_view import last_checkpoint
from ar_sync_pipeline.sync.dump.publish import PublishedArchive, publish_archive
from ar_sync_pipeline.sync.dump.starting_point import starting_point
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest
from ar_sync_pipeline_tests.fix_sites import TwoSites
from benchmarks.load_rows import change_sender, fill_sender, make_receiver
from benchmarks.measuring import server_cpu

_PICTURE_BYTES = 50_000
_MOST_ROUNDS = 3


@dataclass
class Sent:
    """What one case cost.

    Attributes:
        sizes: Bytes of each complete until the receiver had applied one.
    """

    sizes: list[int] = field(default_factory=list)
    dump_seconds: float = 0.0
    load_seconds: float = 0.0
    dump_cpu_seconds: float = 0.0
    load_cpu_seconds: float = 0.0


@dataclass
class Pair:
    """Both servers."""

    sites: TwoSites
    settings: SenderSettings
    postmaster: int

    def cpu_seconds(self) -> float:
        """Return the processor time of this process and of the database server."""
        return time.process_time() + server_cpu(self.postmaster)

    def complete(self) -> tuple[Manifest, int]:
        """Dump and publish a complete."""
        published = self.publish()
        return published.manifest, published.size_bytes

    def publish(self) -> PublishedArchive:
        """Dump and publish a complete; return all figures."""
        sites = self.sites
        build = open_build(self.settings.tmp_bkp_fldr, uuid4().hex)
        start = starting_point(self.settings, sites.clock())
        dump_complete(
            sites.database,
            build,
            CompleteRequest(start.acknowledged, start.base, start.after),
        )
        bundle_media(build, sites.database, sites.sender_media, ["*.jpeg"])
        published = publish_archive(self.settings, build, sites.clock)
        build.remove()
        return published

    def run(self) -> Sent:
        """Send completes until the receiver has applied one."""
        sent = Sent()
        for _ in range(_MOST_ROUNDS):
            started, cpu = time.monotonic(), self.cpu_seconds()
            manifest, size = self.complete()
            dumped, dumped_cpu = time.monotonic(), self.cpu_seconds()
            report = self.sites.load()
            sent.sizes.append(size)
            sent.dump_seconds += dumped - started
            sent.dump_cpu_seconds += dumped_cpu - cpu
            sent.load_seconds += time.monotonic() - dumped
            sent.load_cpu_seconds += self.cpu_seconds() - dumped_cpu
            if manifest.archive_id in [a.manifest.archive_id for a in report.loaded]:
                return sent
            scratch, now = self.settings.tmp_bkp_fldr, self.sites.clock()
            starting_point(self.settings, now)
            if complete_to_repeat(scratch, last_checkpoint(scratch, now), now) is None:
                raise SystemExit(f"not applied, and nothing is lacking: {report.refused}")
        raise SystemExit("the receiver still lacks something")


def main(scale: float, pictures: int, *, markdown: bool) -> None:
    """Measure every case."""
    folder = Path(tempfile.mkdtemp(prefix="ar-sync-completes-"))
    folder.chmod(0o755)
    try:
        with (
            EmbeddedPostgres(folder / "postgres") as postgres,
            LoopbackSftpServer(folder, folder / "keys") as sftp,
        ):
            pair = _make_pair(folder, postgres, sftp, scale, pictures)
            results = _measure(pair, postgres, scale)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(results, markdown=markdown)


def _make_pair(
    folder: Path, postgres: EmbeddedPostgres, sftp: LoopbackSftpServer, scale: float, pictures: int
) -> Pair:
    sender, receiver = (postgres.create_database(side) for side in ("sender", "receiver"))
    fill_sender(sender, scale)
    make_receiver(receiver)
    sites = TwoSites(sender, receiver, load_catalog(None), folder)
    for number in range(pictures):
        _put(sites, f"{number}.jpeg")
    settings = load_sender_settings(
        {
            "AR_SYNC_SENDER_DATABASE_URL": sender,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(sites.sender_media),
            "AR_SYNC_TMP_BKP_FLDR": str(folder / "scratch"),
            "AR_SYNC_REMOTE_HOST": sftp.host,
            "AR_SYNC_REMOTE_PORT": str(sftp.port),
            "AR_SYNC_REMOTE_USER": sftp.user,
            "AR_SYNC_PRIVATE_KEY": str(sftp.private_key),
            "AR_SYNC_KNOWN_HOSTS": str(sftp.known_hosts),
            "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
        }
    )
    return Pair(sites, settings, postgres.process_id)


def _put(sites: TwoSites, name: str) -> None:
    file = sites.sender_media / name
    file.write_bytes(os.urandom(_PICTURE_BYTES))
    before = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(file, (before, before))


def _measure(pair: Pair, postgres: EmbeddedPostgres, scale: float) -> dict[str, Sent]:
    sites = pair.sites
    results = {"everything, into an empty receiver": pair.run()}
    results["nothing changed"] = pair.run()
    _put(sites, "new.jpeg")
    results["one new picture"] = pair.run()
    backup = _backup(sites.receiver, postgres)
    change_sender(sites.sender, scale, "recent")
    results["1 % of the rows changed, recent ones"] = pair.run()
    _lose_archives(sites)
    sites.receiver = backup
    results["receiver restored from the day before"] = pair.run()
    change_sender(sites.sender, scale, "spread")
    results["1 % of the rows changed, spread evenly"] = pair.run()
    return results


def _backup(url: str, postgres: EmbeddedPostgres) -> str:
    """Copy a database; the copy is restored by its use."""
    made = postgres.create_database("backup")
    name, copy = url.rpartition("/")[2], made.rpartition("/")[2]
    maintenance = url.rpartition("/")[0] + "/postgres"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{copy}"'.encode())
        connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"'.encode())
    return made


def _lose_archives(sites: TwoSites) -> None:
    """Remove the archives of the spool, which would otherwise be replayed."""
    for file in (sites.spool / "complete").iterdir():
        file.unlink()


def _print(results: dict[str, Sent], *, markdown: bool) -> None:
    whole = next(iter(results.values())).sizes[0]
    if markdown:
        print(
            "| since the complete before | MB on the line | of everything | dump s | processor"
            " | load s | processor |"
        )
        print("|---|--:|--:|--:|--:|--:|--:|")
    for case, sent in results.items():
        size = sum(sent.sizes)
        rounds = f" ({len(sent.sizes)} completes)" if len(sent.sizes) > 1 else ""
        figures = (f"{size / 1e6:.3f}", f"{100 * size / whole:.2f} %")
        seconds = (
            f"{sent.dump_seconds:.1f}",
            f"{sent.dump_cpu_seconds:.1f}",
            f"{sent.load_seconds:.1f}",
            f"{sent.load_cpu_seconds:.1f}",
        )
        if markdown:
            print(f"| {case}{rounds} | {' | '.join((*figures, *seconds))} |")
        else:
            print(
                f"{case + rounds:58}{figures[0]:>12} MB{figures[1]:>10}{seconds[0]:>8}"
                f" s dump ({seconds[1]} s of processor){seconds[2]:>8} s load ({seconds[3]})"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.1)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    main(given.scale, given.pictures, markdown=given.markdown)
