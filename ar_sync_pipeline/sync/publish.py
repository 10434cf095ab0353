"""The last step of a dump: one archive out of tables and media, sent to the receiver's spool."""

from __future__ import annotations

from dataclasses import dataclass

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.postgres.snapshot import Clock
from ar_sync_pipeline.settings import SenderSettings
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.probe import ProbeStep, probe
from ar_sync_pipeline.sftp.publish import Publication, publish_with_retries
from ar_sync_pipeline.sync.assemble import assemble
from ar_sync_pipeline.sync.build_folder import BuildFolder
from ar_sync_pipeline.sync.sent_archives import remember_sent


@dataclass(frozen=True)
class PublishedArchive:
    """An archive that lies in the receiver's spool under its final name."""

    manifest: Manifest
    size_bytes: int
    publication: Publication


def publish_archive(settings: SenderSettings, build: BuildFolder, clock: Clock) -> PublishedArchive:
    """Send the archive of a build folder and drop the folder.

    Raises:
        TransientError: the link or the receiver failed and the retries are used up.
        ParkedError: the receiver has no room.
        TerminalError: the host key, the login or the spool is wrong.
    """
    key = settings.signing_key.get_secret_value().encode() if settings.signing_key else None
    source = assemble(build, settings.sender_media_fldr, settings.sender_name, key)
    name = source.manifest.name
    publication = publish_with_retries(
        endpoint(settings),
        source,
        spool=settings.remote_bkp_fldr,
        folder=str(name.kind),
        filename=name.waiting,
    )
    remember_sent(settings.tmp_bkp_fldr, source.manifest, source.size_bytes, clock())
    build.remove()
    return PublishedArchive(source.manifest, source.size_bytes, publication)


def probe_receiver(settings: SenderSettings, clock: Clock) -> list[ProbeStep]:
    """Try every step that publishing takes; the last one may have failed."""
    return probe(endpoint(settings), settings.remote_bkp_fldr, clock=clock)


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
