"""Takes over archives of the old system: converts each to an archive of format 1, once.

The new archive waits in the spool like any other; then the old file is renamed to its applied name.
The id and name of the new archive follow from the name and content of the old one. So if a run is
killed between the two steps, the next run completes them, and an archive that arrives twice is
taken over once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

from ar_sync_pipeline.archive.errors import CorruptArchiveError, UnreadableArchiveError
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.reader import open_archive
from ar_sync_pipeline.archive.regular_file import open_regular_file
from ar_sync_pipeline.disk_errors import NO_SPACE
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.files import HeldFolder, digest_of, free_space
from ar_sync_pipeline.legacy.archive_format import old_archive_id
from ar_sync_pipeline.legacy.archive_names import OldArchiveName
from ar_sync_pipeline.legacy.conversion import Conversion, Converted, TruncatedArchiveError
from ar_sync_pipeline.legacy.spooled_archives import (
    exact_name,
    list_old_archives,
    list_old_candidates,
    written_within,
)
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import record
from ar_sync_pipeline.settings.model import OldArchives, ReceiverSettings, SchemaDrift
from ar_sync_pipeline.spool.errors import access_to
from ar_sync_pipeline.spool.layout import PARKED, QUARANTINE, open_folder
from ar_sync_pipeline.spool.states import SpooledArchive, SpoolState, mark_applied
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.dump.build_folder import clean_members, open_build
from ar_sync_pipeline.sync.dump.scratch import clean_scratch
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ForeignArchiveError, StillArrivingError
from ar_sync_pipeline.sync.intake import IntakeContext, TakenOver, check_old_system
from ar_sync_pipeline.sync.rejection import reject

# The disk holds the unpacked media files and the new archive at the same time.
_SPACE_FACTOR = 3
# An upload that stalled longer than this is dead.
_LONGEST_UPLOAD_PAUSE = timedelta(hours=1)
_CLOCKS_DIFFER = timedelta(hours=1)


class OldArchiveIntake:
    """Intake of archives of the old system."""

    def spooled(self, settings: ReceiverSettings) -> list[SpooledArchive]:
        """Return every old archive in the spool in any state, oldest first."""
        return list_old_archives(settings.remote_bkp_fldr, ZoneInfo(settings.timezone))

    def has_name_of_one(self, filename: str) -> bool:
        """Return whether a file name is that of an old archive, in any state."""
        utc = ZoneInfo("UTC")
        return any(OldArchiveName.read(filename, utc, kind) for kind in ArchiveKind)

    def to_load(self, settings: ReceiverSettings, now: datetime) -> list[SpooledArchive]:
        """Return the old archives that need a load, oldest first.

        An archive that is parked because old archives are refused is tried again only after the
        setting has changed.
        """
        accepted = settings.old_archives is OldArchives.ACCEPT
        zone = ZoneInfo(settings.timezone)
        return [
            archive
            for archive in list_old_candidates(settings.remote_bkp_fldr, zone, now)
            if accepted or archive.state is not SpoolState.PARKED
        ]

    def take_over(self, context: IntakeContext, kinds: Collection[ArchiveKind]) -> TakenOver:
        """Convert every waiting or parked old archive; see `Intake.take_over`."""
        run = _TakeOver(context)
        zone = ZoneInfo(context.settings.timezone)
        spool = context.settings.remote_bkp_fldr
        for archive in list_old_candidates(spool, zone, context.clock()):
            if archive.name.kind in kinds:
                run.take(archive)
        return run.taken


@dataclass(frozen=True)
class _TakeOver:
    context: IntakeContext
    taken: TakenOver = field(default_factory=TakenOver)

    @property
    def _spool(self) -> Path:
        return self.context.settings.remote_bkp_fldr

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.context.settings.timezone)

    def take(self, archive: SpooledArchive) -> None:
        """Convert one archive, or park or quarantine it."""
        try:
            name = exact_name(archive.path, self._name(archive), self._zone)
            if not self._is_taken(archive.path, name):
                self._check_may_be_taken(archive, name)
                self._take(archive, name)
        except TruncatedArchiveError as error:
            arriving = written_within(archive.path, _LONGEST_UPLOAD_PAUSE, self.context.clock())
            self._reject(archive, _still_arriving(archive) if arriving else error)
        except Exception as error:
            fault = fault_of_archive(error, None)
            if fault is None:
                raise
            self._reject(archive, fault)
        else:
            mark_applied(self._spool, archive)

    def _take(self, archive: SpooledArchive, name: OldArchiveName) -> None:
        # One that cannot be converted would stay parked for ever. Any other is converted: if the
        # receiver's database is restored, it is loaded again.
        if archive.state is SpoolState.PARKED and self.context.has_content_of(name):
            self._record_superseded(archive, name)
        else:
            self._check_space(archive)
            self.taken.warnings += self._convert(archive, name)

    def _reject(self, archive: SpooledArchive, error: ArSyncError) -> None:
        rejection = reject(self._spool, archive, error, self.context.clock())
        self.taken.rejected.append(rejection)

    def _name(self, archive: SpooledArchive) -> OldArchiveName:
        name = OldArchiveName.read(archive.path.name, self._zone, archive.name.kind)
        if name is None:  # it was listed by this name
            raise AssertionError(archive.path)
        return name

    def _is_taken(self, path: Path, name: OldArchiveName) -> bool:
        """Return whether an earlier run has made the new archive, in whatever state it is.

        Raises:
            CorruptArchiveError: Another archive has the name of the new one.
        """
        new = ArchiveName(name.kind, name.snapshot_at)
        found = {line.archive_id for line in self.context.ledger if line.name == new.applied}
        found |= {
            archive_id
            for place in _places(self._spool, new)
            if (archive_id := _archive_id(place)) is not None
        }
        if not found:
            return False
        if old_archive_id(name.kind, name.stamp, _sha256(path)) in found:
            return True
        raise CorruptArchiveError(
            "another archive of the same second was taken over before",
            archive=path.name,
            remedy="do nothing if both came from the old system; the next complete repairs it",
        )

    def _check_may_be_taken(self, archive: SpooledArchive, name: OldArchiveName) -> None:
        file, settings = archive.path.name, self.context.settings
        has_key = settings.signing_key is not None
        # One that the key refuses is quarantined, whether such archives are accepted or not.
        accepted = has_key or settings.old_archives is OldArchives.ACCEPT
        check_old_system(file, self.context.sender, accepted=accepted)
        if has_key:
            raise ForeignArchiveError(
                f"{file} comes from the old system, which signs nothing, and AR_SYNC_SIGNING_KEY"
                " is set here",
                remedy="unset the key until the sender is replaced, and move the file back",
            )
        if name.snapshot_at > self.context.clock() + _CLOCKS_DIFFER:
            raise ArchiveParkedError(
                f"{file} is dated in the future",
                remedy="set the old sender's clock, and AR_SYNC_TIMEZONE to its time zone",
            )

    def _check_space(self, archive: SpooledArchive) -> None:
        with access_to(self._spool):
            space = free_space(self._spool)
        if space.is_too_small_for(_SPACE_FACTOR * archive.size_bytes):
            raise ArchiveParkedError(
                f"{archive.path.name} waits for free space in the spool, {_SPACE_FACTOR} times its"
                f" own {archive.size_bytes} bytes",
                remedy="free space there; the next load then takes the archive",
            )

    def _convert(self, archive: SpooledArchive, name: OldArchiveName) -> tuple[str, ...]:
        # Not in .incoming, which the sender may write to.
        with open_folder(self._spool, PARKED) as parked, _parked_without_space(archive):
            scratch = parked.path_by_descriptor
            clean_scratch(scratch, self.context.clock())
            build = open_build(scratch, f"{name.kind}_{name.stamp}")
            try:
                clean_members(build)
                with self._conversion() as conversion:
                    made = conversion.run(archive.path, name, build)
                self._publish(made)
            finally:
                build.remove()
        return made.warnings

    def _record_superseded(self, archive: SpooledArchive, name: OldArchiveName) -> None:
        sha256 = _sha256(archive.path)
        with self._conversion() as conversion:
            record(
                conversion.connection,
                conversion.without_content(name, sha256),
                self.context.clock(),
                plan=None,
                manifest_sha256=sha256,
                history=None,
                unverified_chunks=None,
            )

    @contextmanager
    def _conversion(self) -> Iterator[Conversion]:
        settings = self.context.settings
        with connect(settings.database_url, application="convert") as connection:
            yield Conversion(
                connection,
                self.context.catalog,
                self.context.tables,
                settings.old_look_back,
                settings.schema_drift is SchemaDrift.IGNORE,
            )

    def _publish(self, made: Converted) -> None:
        """Rename the new archive into the spool."""
        with (
            HeldFolder.open(made.path.parent) as build,
            open_folder(self._spool, made.name.kind) as queue,
        ):
            build.move(made.path.name, queue, made.name.waiting)


@contextmanager
def _parked_without_space(archive: SpooledArchive) -> Iterator[None]:
    """Turn the error of a disk that an archive has filled, until its build folder was removed."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise ArchiveParkedError(
            f"{archive.path.name} waits for free space in the spool, for what it contains and the"
            f" new archive together ({error.strerror})",
            remedy="free space there; the next load then takes the archive",
        ) from error


def _still_arriving(archive: SpooledArchive) -> StillArrivingError:
    return StillArrivingError(
        f"{archive.path.name} ends too early, and was written to recently",
        remedy="wait for the end of its upload; the next load then takes it",
    )


def _places(spool: Path, name: ArchiveName) -> list[Path]:
    """Return the possible paths of an archive, one for each state."""
    return [
        spool / name.kind / name.waiting,
        spool / name.kind / name.applied,
        spool / PARKED / name.waiting,
        spool / QUARANTINE / name.waiting,
    ]


def _archive_id(path: Path) -> UUID | None:
    try:
        with open_archive(path) as reader:
            return reader.manifest.archive_id
    except (CorruptArchiveError, UnreadableArchiveError):
        return None


def _sha256(path: Path) -> str:
    with open_regular_file(path) as file:
        return digest_of(file)
