"""The last step of a dump: one archive of tables and media files, sent to the receiver's spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from ar_sync_pipeline.archive.errors import MemberChangedError
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.clock import CLOCK_TOLERANCE, Clock
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.publish import Publication, SpoolPlace
from ar_sync_pipeline.sftp.publish_with_retries import publish_with_retries
from ar_sync_pipeline.sftp.retry_budget import RetryPlan
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sync.dump.assemble import assemble
from ar_sync_pipeline.sync.dump.believed_checkpoint import latest_date
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.bundle_files import bundle_files
from ar_sync_pipeline.sync.dump.bundle_media import MediaBundle
from ar_sync_pipeline.sync.dump.given_up import given_up
from ar_sync_pipeline.sync.dump.kept_manifests import keep_manifest
from ar_sync_pipeline.sync.dump.last_view import last_checkpoint, receiver_formats
from ar_sync_pipeline.sync.dump.media_journal import open_journal, versions_of
from ar_sync_pipeline.sync.dump.receiver_files import ReceiverFiles
from ar_sync_pipeline.sync.dump.renew_media import renew_bundle
from ar_sync_pipeline.sync.dump.scratch_owner import claim_scratch
from ar_sync_pipeline.sync.dump.sender_endpoint import endpoint, transfer_limits
from ar_sync_pipeline.sync.dump.sender_journal import (
    announce,
    has_unknown,
    read_points,
    read_sent,
    record_arrival,
    remember_sent,
)
from ar_sync_pipeline.sync.dump.table_dump import TableDump
from ar_sync_pipeline.sync.errors import (
    MediaJournalBusyError,
    MediaJournalDamagedError,
    MediaJournalError,
    UnknownArchivesError,
)
from ar_sync_pipeline.sync.stopwatch import Stopwatch

PLAN = RetryPlan()
# Each renewal sends the archive from its beginning, where the manifest is.
_RENEWALS = 10
# What takes so long again and again may never be without a change of a file that is still to come.
LONG_UPLOAD_SECONDS = 2 * 3600


@dataclass(frozen=True)
class PublishedArchive:
    """An archive in the receiver's spool under its final name.

    Attributes:
        age: Age of its snapshot at the end of the upload.
        seconds: Seconds by phase, from the snapshot to the upload.
        unrecorded: Why the journal of media files lacks it; later archives carry more files then.
    """

    manifest: Manifest
    size_bytes: int
    publication: Publication
    age: timedelta
    seconds: dict[str, float]
    unrecorded: str | None = None


def publish_archive(
    settings: SenderSettings,
    build: BuildFolder,
    clock: Clock,
    *,
    on_retry: Callable[[ArSyncError], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PublishedArchive:
    """Send the archive of a build folder.

    The caller deletes the folder once nothing of it can be needed again; a repeated call finds the
    archive that is there. A media file that production changes meanwhile is described again, and
    the archive is sent with it. A file that changes a second time is left out, and sent with a
    later archive. If the upload of a complete takes hours and is interrupted like this a second
    time, the files after the changed one are left to the next complete.

    Args:
        on_retry: Called with each failure that is followed by another attempt, or by the end.
        progress: Called with the number of confirmed bytes and the total.

    Raises:
        TransientError: The link or the receiver failed and the retries are used up, or further
            media files keep changing.
        UnknownArchivesError: The receiver, which could not be read before the dump, has archives
            that the journal does not know.
        ParkedError: The receiver has no free space.
        TerminalError: The host key, the login or the spool is wrong, or the scratch folder belongs
            to another receiver, or the rows were removed after their archive had arrived.
    """
    began = time.monotonic()
    for renewals in range(_RENEWALS):
        try:
            return _publish_as_it_is(settings, build, clock, on_retry, progress)
        except MemberChangedError as error:
            if on_retry is not None:
                on_retry(error)
            shorten = renewals > 0 and time.monotonic() - began > LONG_UPLOAD_SECONDS
            folder = settings.sender_media_fldr
            if not renew_bundle(build, folder, error.member, shorten=shorten):
                build.require_members()
                raise
    return _publish_as_it_is(settings, build, clock, on_retry, progress)


def _publish_as_it_is(
    settings: SenderSettings,
    build: BuildFolder,
    clock: Clock,
    on_retry: Callable[[ArSyncError], None] | None,
    progress: Callable[[int, int], None] | None,
) -> PublishedArchive:
    claim_scratch(settings, endpoint(settings))
    key = settings.signing_keys.current
    seconds = {**build.read(TableDump).seconds, "media": build.read(MediaBundle).seconds}
    watch = Stopwatch()
    source = assemble(
        build,
        settings.sender_media_fldr,
        settings.sender_name,
        key,
        settings.pair,
        receiver_formats(settings.tmp_bkp_fldr, clock()),
    )
    watch.lap("assemble")
    scratch, now = settings.tmp_bkp_fldr, clock()
    announce(scratch, source.manifest, now, _reached(settings, now))
    keep_manifest(scratch, source.manifest)
    publication = publish_with_retries(
        endpoint(settings),
        source,
        _place(settings, build, source.manifest, clock),
        plan=PLAN,
        transfer=transfer_limits(settings),
        on_retry=on_retry,
        progress=progress,
    )
    watch.lap("upload")
    sent_at = clock()
    unrecorded = _record_sent(settings, build, source, publication, sent_at)
    return PublishedArchive(
        source.manifest,
        source.size_bytes,
        publication,
        age=sent_at - source.manifest.snapshot_at,
        seconds={**seconds, **watch.seconds},
        unrecorded=unrecorded,
    )


def _place(
    settings: SenderSettings, build: BuildFolder, manifest: Manifest, clock: Clock
) -> SpoolPlace:
    name, scratch = manifest.name, settings.tmp_bkp_fldr
    return SpoolPlace(
        settings.remote_bkp_fldr,
        str(name.kind),
        name.waiting,
        admit=_admission(settings, build.read(TableDump), clock),
        arrives=lambda possible: record_arrival(scratch, manifest.snapshot_at, possible=possible),
        given_up=partial(given_up, scratch),
    )


def _admission(
    settings: SenderSettings, dump: TableDump, clock: Clock
) -> Callable[[SftpSession], None] | None:
    """Return what to check before the upload if the receiver could not be read before the dump."""
    if not dump.receiver_unread or dump.new_history:
        return None

    def admit(session: SftpSession) -> None:
        scratch, now = settings.tmp_bkp_fldr, clock()
        files = ReceiverFiles(settings, now)
        files.waiting(session)
        files.receipt_names(session)
        known, content = read_points(scratch), files.checkpoint_file(session)
        if content is not None:
            files.believed(content, known, now)
        files.leave_out_quarantined(session, {point.snapshot_at for point in known}, dump.since)
        before = last_checkpoint(scratch, now)
        is_lost = files.is_lost(before, read_sent(scratch))
        until = latest_date(before, now)
        if is_lost or files.claimed or has_unknown(scratch, files.dates, dump.since, until):
            raise UnknownArchivesError(settings.remote_host)

    return admit


def _record_sent(
    settings: SenderSettings,
    build: BuildFolder,
    source: ArchiveSource,
    publication: Publication,
    sent_at: datetime,
) -> str | None:
    """Record a published archive in both journals; return why its files could not be recorded."""
    # First the files: one that is not in the journal is only sent again.
    unrecorded = _remember_media(build, source, publication, sent_at)
    reached = _reached(settings, sent_at)
    remember_sent(settings.tmp_bkp_fldr, source.manifest, source.size_bytes, sent_at, reached)
    return unrecorded


def _reached(settings: SenderSettings, now: datetime) -> datetime | None:
    """Return the snapshot of the receiver's checkpoint as it was read last."""
    seen = last_checkpoint(settings.tmp_bkp_fldr, now)
    return seen.reached_at if seen else None


def _remember_media(
    build: BuildFolder, source: ArchiveSource, publication: Publication, sent_at: datetime
) -> str | None:
    """Record the files of a published archive; return why they could not be recorded."""
    manifest = source.manifest
    if publication.described_otherwise:
        return "the receiver has this archive with another manifest, by a run before this one"
    try:
        with open_journal(build.path.parent) as journal:
            # This archive is dated after what the receiver has, whatever the clock shows.
            journal.forget_after(max(sent_at, manifest.snapshot_at) + CLOCK_TOLERANCE)
            if manifest.media_list is None:
                journal.remember(manifest, lambda: versions_of(manifest, source.stamps))
                return None
            with bundle_files(build) as files:
                journal.remember(manifest, files.versions)
    except (MediaJournalError, MediaJournalBusyError, MediaJournalDamagedError) as error:
        return str(error)
    return None
