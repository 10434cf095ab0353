"""A sender that publishes over SFTP into the receiver's spool, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import SenderSettings, load_sender_settings
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle, bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import dump_complete, dump_partial
from ar_sync_pipeline.sync.dump.publish import publish_archive
from ar_sync_pipeline.sync.dump.starting_point import starting_point
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest
from ar_sync_pipeline_tests.fix_rights import permissions_count
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window


@dataclass
class MediaSender:
    """What a test does to the sender's media files and archives.

    Attributes:
        bundle: Media bundle of the last archive, as it was before the upload.
        failures: Problems of failed uploads.
    """

    sites: TwoSites
    settings: SenderSettings
    bundle: MediaBundle | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def media(self) -> Path:
        return self.sites.sender_media

    @property
    def scratch(self) -> Path:
        return self.settings.tmp_bkp_fldr

    def complete(self) -> Manifest:
        return self.publish(self.bundled_complete())

    def partial(self) -> Manifest:
        return self.publish(self.bundled_partial())

    def bundled_complete(self) -> BuildFolder:
        build = open_build(self.scratch, uuid4().hex)
        sites = self.sites
        start = starting_point(self.settings, sites.clock())
        dump_complete(
            sites.database,
            build,
            CompleteRequest(
                start.acknowledged,
                start.base,
                start.after,
                start.reported,
                timedelta(days=self.settings.complete_verify_days),
            ),
        )
        return self._bundled(build)

    def bundled_partial(self, later: timedelta = timedelta(0)) -> BuildFolder:
        build = open_build(self.scratch, uuid4().hex)
        sites = self.sites
        start = starting_point(self.settings, sites.clock())
        # A window of an hour ago, so that only the starting point decides which changes are
        # exported.
        window = recent_window()
        shift = later - timedelta(hours=1)
        window = window.model_copy(
            update={"start": window.start + shift, "end": window.end + shift}
        )
        request = PartialRequest(
            window, timedelta(minutes=15), start.since, start.after, start.reported
        )
        dump_partial(sites.database, build, request)
        return self._bundled(build)

    def publish(self, build: BuildFolder) -> Manifest:
        def on_retry(error: ArSyncError) -> None:
            self.failures.append(error.problem)

        published = publish_archive(
            self.settings, build, lambda: datetime.now(UTC), on_retry=on_retry
        )
        build.remove()
        return published.manifest

    def waiting(self, manifest: Manifest) -> Path:
        return self.sites.spool / str(manifest.kind) / manifest.name.waiting

    def _bundled(self, build: BuildFolder) -> BuildFolder:
        sites = self.sites
        self.bundle = bundle_media(build, sites.database, self.media, ["*.jpeg"])
        return build


def names(manifest: Manifest) -> list[str]:
    """Return the paths of the media files of an archive."""
    return [entry.path for entry in manifest.media]


@pytest.fixture
def media_sender(filled: TwoSites) -> Iterator[MediaSender]:
    """Yield a sender of the small application with 2,000 rows and no media files yet."""
    with ExitStack() as servers:
        with permissions_count():  # for the server's thread too
            sftp = servers.enter_context(LoopbackSftpServer(filled.folder, filled.folder / "keys"))
        yield media_sender_of(filled, sftp)


def media_sender_of(sites: TwoSites, sftp: LoopbackSftpServer) -> MediaSender:
    """Return the sender of two sites, linked to the receiver's spool."""
    return MediaSender(
        sites,
        load_sender_settings(
            {
                "AR_SYNC_SENDER_DATABASE_URL": sites.sender,
                "AR_SYNC_SENDER_MEDIA_FLDR": str(sites.sender_media),
                "AR_SYNC_TMP_BKP_FLDR": str(sites.folder / "scratch"),
                "AR_SYNC_REMOTE_HOST": sftp.host,
                "AR_SYNC_REMOTE_PORT": str(sftp.port),
                "AR_SYNC_REMOTE_USER": sftp.user,
                "AR_SYNC_PRIVATE_KEY": str(sftp.private_key),
                "AR_SYNC_KNOWN_HOSTS": str(sftp.known_hosts),
                "AR_SYNC_REMOTE_BKP_FLDR": "/spool",
            }
        ),
    )
