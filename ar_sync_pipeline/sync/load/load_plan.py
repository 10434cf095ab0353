"""From the spool and the ledger to a plan: what a load does with which files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.manifest_media import ListedMedia
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive
from ar_sync_pipeline.postgres.ledger import AppliedArchive, covers_from
from ar_sync_pipeline.spool.chain import Chain, Span, chain_of, joined
from ar_sync_pipeline.spool.load_order import Candidate, LoadPlan, plan_load
from ar_sync_pipeline.spool.states import (
    SpooledArchive,
    SpoolState,
    list_applied,
    list_waiting,
)
from ar_sync_pipeline.sync.blame import fault_of_archive
from ar_sync_pipeline.sync.errors import ArchiveParkedError, ArchiveRefusedError
from ar_sync_pipeline.sync.load.applied_chain import spans
from ar_sync_pipeline.sync.load.dates import Histories, is_overtaken
from ar_sync_pipeline.sync.load.examine import Receiver, check_schema, examine
from ar_sync_pipeline.sync.load.one_database import check_own_database, check_source, source_in
from ar_sync_pipeline.sync.load.replaced_archives import replaced_archives
from ar_sync_pipeline.sync.rejection import Rejection


@dataclass(frozen=True)
class ArchivesAtHand:
    """The archives that a load may use, and what it does with them.

    Attributes:
        manifests: Manifests as they were verified.
        manifest_sha256: Hash of each manifest's bytes, which shows that a file is unchanged.
        plan: What to do with each archive.
        known: Ids of the archives that the ledger records as applied.
        histories: Histories, which decide which archives are comparable.
        replaced: Applied archives that new ones of the plan replace (`replaced_archives`).
        unbroken: Ids of the applied archives up to the first gap, before this load.
        unusable: Applied archives that cannot be applied again.
    """

    archives: dict[UUID, SpooledArchive]
    manifests: dict[UUID, Manifest]
    manifest_sha256: dict[UUID, str]
    plan: LoadPlan
    known: frozenset[UUID]
    histories: Histories
    replaced: frozenset[UUID]
    unbroken: frozenset[UUID]
    unusable: tuple[Rejection, ...]

    def path(self, archive_id: UUID) -> Path:
        """Return the file of an archive."""
        return self.archives[archive_id].path

    def applied_path(self, archive_id: UUID) -> Path:
        """Return the file that an archive becomes when it is applied."""
        return self.path(archive_id).with_name(self.archives[archive_id].name.applied)

    def media(self, archive_id: UUID) -> Iterator[ListedMedia]:
        """Yield the media files that an archive lists.

        Raises:
            CorruptArchiveError: The archive was damaged after its admission.
        """
        manifest = self.manifests[archive_id]
        if manifest.media_list is None:
            yield from manifest.media
            return
        with open_archive(self.path(archive_id)) as reader:
            reader.check_manifest(self.manifest_sha256[archive_id])
            yield from reader.listed_media()

    def new_before(self, archive_id: UUID) -> UUID:
        """Return the archive itself if it is new, else the last new one that is applied before it.

        An archive that was applied before can fail only because of an archive that now precedes it.
        """
        ids = [candidate.archive_id for candidate in self.plan.apply]
        if archive_id not in ids:
            return archive_id
        before = ids[: ids.index(archive_id) + 1]
        return next(found for found in reversed(before) if found not in self.known)

    def names(self, candidates: Sequence[Candidate]) -> tuple[str, ...]:
        """Return the names of archives, without the prefix of waiting ones."""
        return tuple(self.archives[c.archive_id].name.applied for c in candidates)


def archives_at_hand(
    spool: Path, names: Collection[str], receiver: Receiver, admitted: Mapping[str, str]
) -> ArchivesAtHand:
    """Plan a load of the admitted archives of these names.

    Args:
        names: Applied-form names; waiting archives of other names are not loaded.
        admitted: Sha256 of the manifest that each archive had when it was verified; archives
            without one are not loaded.

    Raises:
        ArchiveRefusedError: An archive differs from the admitted one, or no longer matches.
    """
    known = {line.name for line in receiver.ledger}
    # A waiting copy replaces an applied one: its renaming overwrites the other file.
    found = {
        archive.name: archive
        for archive in (*unknown_to(known, list_applied(spool)), *list_waiting(spool))
        if archive.name.applied in names and archive.name.applied in admitted
    }
    return plan_for(spool, list(found.values()), receiver, admitted)


def plan_for(
    spool: Path,
    admitted: Sequence[SpooledArchive],
    receiver: Receiver,
    manifests: Mapping[str, str],
) -> ArchivesAtHand:
    """Plan a load of these archives and of the applied ones that follow them.

    Args:
        manifests: Sha256 of the manifests of the admitted archives, by name.
    """
    opening = _Opening(receiver)
    for archive in sorted(admitted, key=lambda archive: archive.name.snapshot_at):
        opening.open_new(archive, manifests[archive.name.applied])
    lines = {line.name: line for line in receiver.ledger}
    for archive in _retained(spool, admitted, receiver.ledger):
        opening.open_applied(archive, lines[archive.name.applied])
    held = spans(receiver.ledger)
    histories = Histories(receiver.ledger, opening.manifests, receiver.waiting, opening.arrived)
    plan, replaced = _plan(histories, opening.candidates, held)
    known = frozenset(span.archive_id for span in held)
    new = [c.archive_id for c in plan.apply if c.archive_id not in known]
    opening.check_sources_of(new)
    opening.check_schema_of(new)
    return ArchivesAtHand(
        opening.archives,
        opening.manifests,
        opening.sha256,
        plan,
        known,
        histories,
        replaced,
        joined(held),
        tuple(opening.unusable),
    )


def _plan(
    histories: Histories, candidates: Sequence[Candidate], held: Sequence[Span]
) -> tuple[LoadPlan, frozenset[UUID]]:
    """Return the plan, and the applied archives that its new ones replace.

    Only an archive that is applied replaces others, so each round leaves fewer of them replaced.
    """
    known = {span.archive_id for span in held}
    new = [c for c in candidates if c.archive_id not in known]
    replaced = replaced_archives(histories, held, new)
    while True:
        plan = _plan_without(replaced, histories, candidates, held)
        new = [c for c in plan.apply if c.archive_id not in known]
        still = replaced & replaced_archives(histories, held, new)
        if still == replaced:
            return plan, replaced
        replaced = still


def _plan_without(
    replaced: frozenset[UUID],
    histories: Histories,
    candidates: Sequence[Candidate],
    held: Sequence[Span],
) -> LoadPlan:
    known = {span.archive_id for span in held}
    held = [span for span in held if span.archive_id not in replaced]
    overtaken = _overtaken(histories, chain_of(held), known)
    plan = plan_load([c for c in candidates if c.archive_id not in overtaken | replaced], held)
    # A replaced archive may have arrived again; else its file is named as applied already.
    waiting = {c.archive_id for c in candidates if c.waiting}
    left_out = overtaken | (replaced & waiting)
    superseded = (c for c in candidates if c.archive_id in left_out)
    return replace(plan, superseded=(*plan.superseded, *superseded))


def _retained(
    spool: Path, admitted: Sequence[SpooledArchive], ledger: Sequence[AppliedArchive]
) -> list[SpooledArchive]:
    """Return applied archives that are later than the oldest admitted one."""
    applied = {line.name for line in ledger if not line.superseded}
    oldest = min((a.name.snapshot_at for a in admitted), default=None)
    return [
        archive
        for archive in list_applied(spool)
        if archive.name.applied in applied - {a.name.applied for a in admitted}
        and oldest is not None
        and archive.name.snapshot_at > oldest
    ]


def _overtaken(
    histories: Histories, chain: Chain | None, known: Collection[UUID]
) -> frozenset[UUID]:
    """Return new archives that were made before others and are dated after them.

    An archive that is older than the receiver's data brings nothing, and overtakes nothing.
    """
    at_hand = {found: histories.mark(manifest) for found, manifest in histories.at_hand.items()}
    marks = [
        *histories.applied.values(),
        *(mark for mark in at_hand.values() if chain is None or mark.snapshot_at > chain.until),
    ]
    return frozenset(
        archive_id
        for archive_id, mark in at_hand.items()
        if archive_id not in known and is_overtaken(mark, marks)
    )


@dataclass
class _Opening:
    """Opens archives one by one, and checks that each is the one that was verified."""

    receiver: Receiver
    archives: dict[UUID, SpooledArchive] = field(default_factory=dict)
    manifests: dict[UUID, Manifest] = field(default_factory=dict)
    sha256: dict[UUID, str] = field(default_factory=dict)
    arrived: dict[UUID, datetime] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    unusable: list[Rejection] = field(default_factory=list)

    def open_new(self, archive: SpooledArchive, manifest_sha256: str) -> None:
        try:
            with open_archive(archive.path) as reader:
                reader.check_manifest(manifest_sha256)
                examine(reader, self.receiver)
                self._take(archive, reader)
        except Exception as error:
            fault = fault_of_archive(error, None)
            if fault is None:
                raise
            raise ArchiveRefusedError(archive, fault) from error
        if self.receiver.sender in (None, OLD_SYSTEM):
            # The others are compared with the first one, as if they had come later.
            self.receiver = replace(self.receiver, sender=reader.manifest.sender)

    def check_sources_of(self, archive_ids: Sequence[UUID]) -> None:
        """Check that new archives come from the database of the first one that tells its own.

        Raises:
            ArchiveRefusedError: A partial comes from another one.
        """
        manifests = [self.manifests[archive_id] for archive_id in archive_ids]
        telling = [manifest for manifest in manifests if source_in(manifest) is not None]
        for manifest in telling[1:]:
            try:
                check_source(manifest, source_in(telling[0]), telling[0].name.applied)
            except ArchiveParkedError as error:
                raise ArchiveRefusedError(self.archives[manifest.archive_id], error) from error

    def check_schema_of(self, archive_ids: Iterable[UUID]) -> None:
        """Check archives that were superseded until another archive was replaced.

        Raises:
            ArchiveRefusedError: An archive does not match the receiver.
        """
        for archive_id in archive_ids:
            manifest = self.manifests[archive_id]
            if self.receiver.has_content_of(manifest.name):
                try:
                    check_own_database(manifest, self.receiver.database, self.receiver.ledger)
                    check_schema(manifest, self.receiver)
                except ArchiveParkedError as error:
                    raise ArchiveRefusedError(self.archives[archive_id], error) from error

    def open_applied(self, archive: SpooledArchive, line: AppliedArchive) -> None:
        """Open an applied archive; if it is unusable, archives that precede it are held back."""
        try:
            with open_archive(archive.path) as reader:
                self._check_as_applied(reader, line)
                self._take(archive, reader)
        except CorruptArchiveError as error:
            raise ArchiveRefusedError(archive, error) from error
        except Exception as error:
            fault = fault_of_archive(error, None)
            if fault is None:
                raise
            self.unusable.append(Rejection.of(archive, fault))

    def _check_as_applied(self, reader: ArchiveReader, line: AppliedArchive) -> None:
        """Check an archive against the ledger's hash, if any; signatures may have expired."""
        if line.manifest_sha256 is not None:
            reader.check_manifest(line.manifest_sha256)
            check_schema(reader.manifest, self.receiver)
        else:
            examine(reader, self.receiver)

    def _take(self, archive: SpooledArchive, reader: ArchiveReader) -> None:
        manifest = reader.manifest
        if manifest.archive_id in self.archives:
            raise CorruptArchiveError("another archive has its id", archive=archive.path.name)
        self.archives[manifest.archive_id] = archive
        self.manifests[manifest.archive_id] = manifest
        self.sha256[manifest.archive_id] = reader.manifest_sha256
        self.arrived[manifest.archive_id] = reader.written_at
        self.candidates.append(
            Candidate(
                manifest.archive_id,
                manifest.kind,
                manifest.snapshot_at,
                waiting=archive.state is not SpoolState.APPLIED,
                covers_from=covers_from(manifest),
                source=source_in(manifest),
            )
        )


def unknown_to(known: Collection[str], archives: Sequence[SpooledArchive]) -> list[SpooledArchive]:
    """Return archives whose names are not in the ledger, which decides, not the names of files.

    A database that was restored from a backup gets archives with an applied name again.
    """
    return [archive for archive in archives if archive.name.applied not in known]
