"""The last step of a dump: one archive out of tables and media, sent to the receiver's spool."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

import ar_sync_pipeline
from ar_sync_pipeline.archive.manifest import Manifest, SenderIdentity
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.settings import SenderSettings
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.publish import Publication, publish_with_retries
from ar_sync_pipeline.sync.build_folder import BuildFolder
from ar_sync_pipeline.sync.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump_tables import TableDump
from ar_sync_pipeline.sync.published_mark import remember_published

_ARCHIVE_IDS = UUID("0d1f9d0e-6f3c-4c2e-9d1b-7a6c2f0f5b11")


@dataclass(frozen=True)
class PublishedArchive:
    """An archive that lies in the receiver's spool under its final name."""

    manifest: Manifest
    size_bytes: int
    publication: Publication


def assemble(settings: SenderSettings, build: BuildFolder) -> ArchiveSource:
    """Describe the archive that a build folder holds; nothing is copied.

    The archive's id follows from the snapshot, so a step that is tried again publishes the same
    archive and not a second one.
    """
    dump, media = build.read(TableDump), build.read(MediaBundle)
    mark = dump.watermark
    archive_id = uuid5(
        _ARCHIVE_IDS,
        f"{mark.system_identifier} {mark.timeline} {mark.snapshot} {mark.snapshot_at.isoformat()}",
    )
    manifest = Manifest(
        archive_id=archive_id,
        kind=ArchiveKind.PARTIAL if dump.window else ArchiveKind.COMPLETE,
        sender=SenderIdentity(
            system_identifier=mark.system_identifier,
            database=dump.database,
            name=settings.sender_name,
        ),
        product_version=ar_sync_pipeline.__version__,
        window=dump.window,
        since=dump.since,
        watermark=mark.model_copy(update={"archive_id": archive_id}),
        snapshot_at=mark.snapshot_at,
        digest_probe=dump.digest_probe,
        tables=dump.tables,
        media=media.entries,
        migrations=dump.migrations,
        schema_fingerprint=dump.schema_fingerprint,
    )
    if settings.signing_key is not None:
        manifest = manifest.signed(settings.signing_key.get_secret_value().encode())
    members = {
        chunk.member: build.members / chunk.member.rpartition("/")[2]
        for table in manifest.tables
        for chunk in table.chunks
    }
    members |= {e.member: settings.sender_media_fldr / e.path for e in manifest.media}
    return ArchiveSource(manifest, members)


def publish_archive(settings: SenderSettings, build: BuildFolder) -> PublishedArchive:
    """Send the archive of a build folder and drop the folder.

    Raises:
        TransientError: the link or the receiver failed and the retries are used up.
        ParkedError: the receiver has no room.
        TerminalError: the host key, the login or the spool is wrong.
    """
    source = assemble(settings, build)
    name = source.manifest.name
    publication = publish_with_retries(
        endpoint(settings),
        source,
        spool=settings.remote_bkp_fldr,
        folder=str(name.kind),
        filename=name.waiting,
    )
    remember_published(settings.tmp_bkp_fldr, source.manifest)
    build.remove()
    return PublishedArchive(source.manifest, source.size_bytes, publication)


def endpoint(settings: SenderSettings) -> SftpEndpoint:
    """Where and as whom the sender logs in."""
    passphrase = settings.private_key_passphrase
    return SftpEndpoint(
        host=settings.remote_host,
        port=settings.remote_port,
        user=settings.remote_user,
        private_key=settings.private_key,
        known_hosts=settings.known_hosts,
        passphrase=passphrase.get_secret_value() if passphrase else None,
    )
