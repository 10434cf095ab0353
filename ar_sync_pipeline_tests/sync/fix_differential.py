"""Two servers whose completes carry only what the receiver lacks, and what to expect of them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.spool.receipts import Receipt, ReceiptState, read_receipt
from ar_sync_pipeline.sync.dump.choose_base import complete_to_repeat
from ar_sync_pipeline.sync.dump.last_view import last_checkpoint
from ar_sync_pipeline.sync.dump.starting_point import starting_point
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.fix_sites import CHILDREN, PARENTS, equal, execute, rows
from ar_sync_pipeline_tests.open_sessions import close_sessions
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

FILES = {"a.jpeg": b"first", "2026/b.jpeg": b"second", "c.jpeg": b"third"}
NAMES = "UPDATE app_child SET picture = '{}', changed = now() WHERE id = 1"


def put(pair: MediaSender, path: str, content: bytes) -> None:
    file = pair.media / path
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    # A file that was just written may still be written to, and is hashed again.
    stamp = (datetime.now(UTC) - timedelta(hours=2)).timestamp()
    os.utime(file, (stamp, stamp))


def load(pair: MediaSender) -> LoadReport:
    return pair.sites.load()


def carried(manifest: Manifest, table: str = "app_child") -> list[int]:
    """Numbers of the carried chunks of a table."""
    found = next(one for one in manifest.tables if one.name == table)
    return [c.key_range.low >> 16 for c in found.chunks if c.carried and c.key_range]


def carried_files(manifest: Manifest) -> list[str]:
    return [entry.path for entry in manifest.media if entry.carried]


def assert_equal(pair: MediaSender) -> None:
    assert equal(pair.sites, CHILDREN)
    assert equal(pair.sites, PARENTS)
    received = pair.sites.receiver_media
    for file in (f for f in pair.media.rglob("*") if f.is_file()):
        assert (received / file.relative_to(pair.media)).read_bytes() == file.read_bytes()


def assert_applied(pair: MediaSender, manifest: Manifest) -> LoadReport:
    """Load, and check that the archive was applied and both servers are equal."""
    report = load(pair)
    assert report.refused == ()
    assert manifest.archive_id in [archive.manifest.archive_id for archive in report.loaded]
    assert_equal(pair)
    return report


def receipt(pair: MediaSender, manifest: Manifest) -> Receipt:
    found = read_receipt(pair.sites.spool, manifest.name, signing_keys=())
    assert found is not None
    return found


def assert_lacking(pair: MediaSender, manifest: Manifest, what: str) -> Receipt:
    """Load, and check that nothing was applied and that the sender is told why."""
    before = [rows(pair.sites.receiver, query) for query in (CHILDREN, PARENTS)]
    report = load(pair)
    assert manifest.archive_id not in [a.manifest.archive_id for a in report.loaded]
    assert [rows(pair.sites.receiver, query) for query in (CHILDREN, PARENTS)] == before
    said = receipt(pair, manifest)
    assert said.state is ReceiptState.PARKED
    assert what in said.reason
    assert "the sender carries it with its next complete" in said.remedy
    assert said.lacking is not None
    return said


def asks_for(pair: MediaSender) -> str | None:
    """The archive for which the sender requests a complete by itself."""
    now = datetime.now(UTC)
    starting_point(pair.settings, now)
    return complete_to_repeat(pair.scratch, last_checkpoint(pair.scratch, now), now)


def restored(pair: MediaSender) -> str:
    """The URL of a copy of the receiver's database: a backup of now."""
    address = urlsplit(pair.sites.receiver)
    name = address.path.lstrip("/")
    maintenance = address._replace(path="/postgres").geturl()
    close_sessions(pair.sites.receiver)
    execute(maintenance, f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
    return address._replace(path=f"/{name}_backup").geturl()


def unverified(report: LoadReport) -> dict[str, int]:
    plans = [plan for archive in report.loaded for plan in archive.tables]
    return {plan.table: plan.unverified for plan in plans if plan.unverified}


def run_until_equal(pair: MediaSender) -> None:
    """What the schedules and sensors of both sides do, in two rounds at most."""
    load(pair)
    load(pair)
    for _ in range(2):
        if asks_for(pair) is not None or not equal(pair.sites, CHILDREN):
            pair.complete()
        load(pair)
    assert_equal(pair)
    assert asks_for(pair) is None


def late_complete(pair: MediaSender, *after: str) -> tuple[Manifest, Path]:
    """A complete that is still on its way while a partial with changes is applied."""
    manifest = pair.complete()
    path = pair.waiting(manifest)
    withheld = path.rename(path.with_name(path.name + ".on-its-way"))
    pair.sites.at_sender(*after)
    pair.partial()
    load(pair)
    withheld.rename(path)
    return manifest, path


@pytest.fixture
def pair(media_sender: MediaSender) -> MediaSender:
    """Two equal servers, of which the receiver has applied two completes."""
    assert_applied(media_sender, media_sender.complete())
    assert_applied(media_sender, media_sender.complete())
    return media_sender


@pytest.fixture
def pair_with_files(media_sender: MediaSender) -> MediaSender:
    """Two equal servers: children in five chunks, parents in one, three media files."""
    media_sender.sites.at_sender(
        "INSERT INTO app_child (id, parent_id, amount, changed) SELECT (n << 16) + k, 1, n,"
        " now() - interval '1 day' FROM generate_series(1, 4) n, generate_series(0, 9) k"
    )
    for path, content in FILES.items():
        put(media_sender, path, content)
    media_sender.complete()
    load(media_sender)
    assert_equal(media_sender)
    return media_sender


def times(folder: Path) -> list[int]:
    """Modification times of the files, which are replicated to the microsecond."""
    return [(folder / path).stat().st_mtime_ns // 1000 for path in FILES]
