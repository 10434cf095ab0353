"""Production changes media files while a dump hashes and sends them; no run fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

import ar_sync_pipeline
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings
from ar_sync_pipeline.sync.dump import assemble
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle, bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.sync.dump.sender_journal import read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE
from ar_sync_pipeline_tests.fix_sites import TwoSites


@pytest.fixture
def sender(filled: TwoSites) -> Iterator[SenderSettings]:
    with LoopbackSftpServer(filled.folder, filled.folder / "keys") as sftp:
        yield load_sender_settings(
            {
                "AR_SYNC_SENDER_DATABASE_URL": filled.sender,
                "AR_SYNC_SENDER_MEDIA_FLDR": str(filled.sender_media),
                "AR_SYNC_TMP_BKP_FLDR": str(filled.folder / "scratch"),
                "AR_SYNC_REMOTE_HOST": sftp.host,
                "AR_SYNC_REMOTE_PORT": str(sftp.port),
                "AR_SYNC_REMOTE_USER": sftp.user,
                "AR_SYNC_PRIVATE_KEY": str(sftp.private_key),
                "AR_SYNC_KNOWN_HOSTS": str(sftp.known_hosts),
                "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            }
        )


def pictures(sites: TwoSites) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sites.receiver_media.iterdir()}


def bundled(sites: TwoSites) -> BuildFolder:
    """Return a complete's build folder, with its media files hashed."""
    build = open_build(sites.folder / "scratch", "run")
    dump_complete(sites.database, build)
    bundle_media(build, sites.database, sites.sender_media, ["*.jpeg"])
    return build


def publish(
    settings: SenderSettings,
    build: BuildFolder,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[Path, list[str]]:
    """Publish, with an action at each failure; return the path and the failures."""
    failures = list[str]()

    def on_retry(error: ArSyncError) -> None:
        failures.append(error.problem)
        meanwhile()

    published = publish_archive(settings, build, lambda: datetime.now(UTC), on_retry=on_retry)
    spool = settings.tmp_bkp_fldr.parent / "spool"
    return spool / "complete" / published.manifest.name.waiting, failures


def test_picture_that_changes_between_hash_and_upload_is_sent_as_it_is_now(
    filled: TwoSites, sender: SenderSettings
) -> None:
    for name in ("a.jpeg", "b.jpeg"):
        (filled.sender_media / name).write_bytes(b"old")
    build = bundled(filled)
    (filled.sender_media / "b.jpeg").write_bytes(b"new, and longer")
    archive, failures = publish(sender, build)
    assert len(failures) == 1
    assert "b.jpeg" in failures[0]
    assert [entry.size_bytes for entry in verify_archive(archive, signing_keys=()).media] == [3, 15]
    filled.load()
    assert pictures(filled) == {"a.jpeg": b"old", "b.jpeg": b"new, and longer"}
    assert list((filled.spool / ".incoming").iterdir()) == []


def test_picture_that_changes_after_the_archive_was_published(
    filled: TwoSites, sender: SenderSettings
) -> None:
    """A sender that was killed before it recorded the archive finds it, with its own picture."""
    for name in ("a.jpeg", "b.jpeg"):
        (filled.sender_media / name).write_bytes(b"old")
    build = bundled(filled)
    archive, _ = publish(sender, build)
    (filled.sender_media / "a.jpeg").write_bytes(b"new, and longer")
    again, failures = publish(sender, build)
    assert (again, failures) == (archive, [])
    filled.load()
    assert pictures(filled) == {"a.jpeg": b"old", "b.jpeg": b"old"}


@pytest.mark.parametrize("most_inline", [0, 1_000])
def test_published_archive_is_found_without_its_members(
    filled: TwoSites, sender: SenderSettings, monkeypatch: pytest.MonkeyPatch, most_inline: int
) -> None:
    """A complete that is killed while it removes them repeats its last step."""
    monkeypatch.setattr(assemble, "MOST_INLINE_MEDIA", most_inline)
    (filled.sender_media / "a.jpeg").write_bytes(b"old")
    build = bundled(filled)
    archive, _ = publish(sender, build)
    sent = read_sent(sender.tmp_bkp_fldr)
    build.remove_members()
    again, failures = publish(sender, build)
    assert (again, failures) == (archive, [])
    assert [a.name for a in read_sent(sender.tmp_bkp_fldr)] == [a.name for a in sent]
    filled.load()
    assert pictures(filled) == {"a.jpeg": b"old"}


def test_archive_that_an_earlier_version_published_is_the_same_archive(
    filled: TwoSites, sender: SenderSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender is killed after the rename, upgraded, gets another key, and repeats the step."""
    (filled.sender_media / "a.jpeg").write_bytes(b"old")
    build = bundled(filled)
    archive, _ = publish(sender, build)
    content = archive.read_bytes()
    (sender.tmp_bkp_fldr / SENT_FILE).unlink()
    monkeypatch.setattr(ar_sync_pipeline, "__version__", "99.0.1")
    sender = sender.model_copy(update={"signing_key": SecretStr("f" * 64)})
    published = publish_archive(sender, build, lambda: datetime.now(UTC))
    assert published.publication.already_there
    assert published.publication.described_otherwise
    assert published.unrecorded is not None
    assert [archive.name for archive in read_sent(sender.tmp_bkp_fldr)] == [
        published.manifest.name.applied
    ]
    assert archive.read_bytes() == content


def test_all_that_changed_costs_one_new_upload(filled: TwoSites, sender: SenderSettings) -> None:
    for number in range(6):
        (filled.sender_media / f"{number}.jpeg").write_bytes(b"old")
    build = bundled(filled)
    outside = filled.folder / "secret.jpeg"
    outside.write_bytes(b"secret")

    def production_writes() -> None:
        (filled.sender_media / "1.jpeg").write_bytes(b"new")
        (filled.sender_media / "2.jpeg").unlink()
        (filled.sender_media / "3.jpeg").unlink()
        (filled.sender_media / "3.jpeg").symlink_to(outside)
        (filled.sender_media / "4.jpeg").unlink()
        (filled.sender_media / "4.jpeg").mkdir()

    (filled.sender_media / "0.jpeg").unlink()
    archive, failures = publish(sender, build, production_writes)
    assert len(failures) == 1
    assert [entry.path for entry in verify_archive(archive, signing_keys=()).media] == [
        "1.jpeg",
        "5.jpeg",
    ]
    filled.load()
    assert pictures(filled) == {"1.jpeg": b"new", "5.jpeg": b"old"}


def test_picture_that_is_being_written_is_waited_for(filled: TwoSites) -> None:
    picture = filled.sender_media / "slow.jpeg"
    picture.write_bytes(bytes(30_000_000))

    def production_writes() -> None:
        end = time.monotonic() + 0.7
        with picture.open("ab", buffering=0) as file:
            while time.monotonic() < end:
                file.write(b"x")

    writer = threading.Thread(target=production_writes)
    writer.start()
    build = bundled(filled)
    writer.join()
    bundle = build.read(MediaBundle)
    assert (bundle.file_count, bundle.size_bytes) == (1, picture.stat().st_size)


def test_chunk_that_changes_under_the_senders_hands_is_not_sent(
    filled: TwoSites, sender: SenderSettings
) -> None:
    build = bundled(filled)
    chunk = next(path for path in build.members.iterdir() if "child" in path.name)
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(ArSyncError, match="were declared"):
        publish(sender, build)
    assert list(filled.spool.rglob("NEW_*")) == []
