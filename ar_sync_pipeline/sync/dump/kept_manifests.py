"""Manifests of the newest completes, kept in the sender's scratch folder to compare the next one.

They are kept without their media files, which the journal of media files has. A manifest that is
lost or damaged only makes the next complete larger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from ar_sync_pipeline.archive.errors import CorruptArchiveError
from ar_sync_pipeline.archive.manifest import Manifest, TableManifest, Watermark
from ar_sync_pipeline.archive.manifest_reader import ReadLimits, parse_manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.held_tables import HeldTable
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.dump.given_up import snapshots_in_builds
from ar_sync_pipeline.sync.dump.sender_journal import possible_bases, read_announced, read_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive

_PREFIX = "ar_sync_manifest_"
_CHECKSUM_BYTES = 65


@dataclass(frozen=True)
class Base:
    """The complete that the next one is compared with.

    Attributes:
        manifest: Manifest of the complete, without media files.
        reached: Point that the receiver has reached.
        digest_probe: Digest of the fixed test row at the receiver.
        lacking: What the receiver lacks of a later complete.
        unverified_chunks: What the receiver could not verify of this one.
        takes_changes: Whether the receiver reads chunks that are carried as changes.
        unverified: Tables that the receiver has to compare, since DDL there has changed their rows.
    """

    manifest: Manifest
    reached: Watermark
    digest_probe: str
    lacking: Lacking = field(default_factory=Lacking)
    unverified_chunks: Lacking = field(default_factory=Lacking)
    takes_changes: bool = False
    unverified: frozenset[str] = frozenset()

    def held_tables(
        self,
        catalog: Catalog,
        tables: Mapping[str, TableFacts],
        judged: Collection[str],
        *,
        digests_all: bool,
    ) -> dict[str, HeldTable]:
        """Return what the receiver should have of each table.

        Tables whose columns, key or column rules have changed are left out, and so are those that
        are unverified.

        Args:
            judged: Tables whose row versions show what was written since this complete.
            digests_all: Whether to compute the digests of unchanged chunks too.
        """
        return {
            then.name: HeldTable(
                {
                    chunk.key_range: chunk
                    for chunk in then.chunks
                    if not self.lacking.has_chunk(then.name, chunk)
                    and not self.unverified_chunks.has_chunk(then.name, chunk)
                },
                self.manifest.watermark if then.name in judged else None,
                self.takes_changes,
                digests_all,
            )
            for then in self.manifest.tables
            if then.name in tables
            and then.name not in self.unverified
            and _is_exported_alike(then, catalog, tables[then.name])
        }


def keep_manifest(scratch: Path, manifest: Manifest) -> None:
    """Keep the manifest of a complete before its upload; delete those that cannot be a base.

    Another complete may be on its way, by a run that was started by hand.
    """
    if manifest.kind is not ArchiveKind.COMPLETE:
        return
    without_media = manifest.model_copy(update={"media": (), "media_omitted": (), "hmac": None})
    content = without_media.to_json()
    write_atomically(_path(scratch, manifest.archive_id), _checksum(content) + content)
    kept = {archive.watermark.archive_id for archive in possible_bases(read_sent(scratch))}
    kept |= {manifest.archive_id, *_on_their_way(scratch)}
    needed = {_path(scratch, one) for one in kept if one is not None}
    for path in scratch.glob(f"{_PREFIX}*.json"):
        if path not in needed:
            path.unlink(missing_ok=True)


def _on_their_way(scratch: Path) -> Iterator[UUID | None]:
    """Yield the ids of archives that may still be recorded as sent."""
    built = snapshots_in_builds(scratch)
    return (one.archive_id for one in read_announced(scratch) if one.snapshot_at in built)


def kept_manifest(scratch: Path, archive: SentArchive) -> Manifest | None:
    """Return the manifest of an archive; None if it is lost, damaged or another archive's."""
    if archive.watermark.archive_id is None:
        return None
    with suppress(OSError, CorruptArchiveError):
        stored = _path(scratch, archive.watermark.archive_id).read_bytes()
        checksum, content = stored[:_CHECKSUM_BYTES], stored[_CHECKSUM_BYTES:]
        if checksum == _checksum(content):
            manifest = parse_manifest(content, ReadLimits())
            return manifest if manifest.watermark == archive.watermark else None
    return None


def tables_of_complete(scratch: Path, snapshot_at: datetime) -> frozenset[str]:
    """Return the tables of the newest kept complete up to a snapshot; none without any."""
    for archive in reversed(read_sent(scratch)):
        if archive.kind is ArchiveKind.COMPLETE and archive.watermark.snapshot_at <= snapshot_at:
            manifest = kept_manifest(scratch, archive)
            if manifest is not None:
                return frozenset(table.name for table in manifest.tables)
    return frozenset()


def _checksum(content: bytes) -> bytes:
    """Return the first line of a kept manifest."""
    return hashlib.sha256(content).hexdigest().encode() + b"\n"


def _is_exported_alike(then: TableManifest, catalog: Catalog, facts: TableFacts) -> bool:
    now = exported_table(catalog, facts)
    rules = catalog.rules(then.name).column_rules
    before = (then.columns, then.primary_key, then.column_rules)
    return before == (now.columns, now.primary_key, rules)


def _path(scratch: Path, archive_id: UUID) -> Path:
    return scratch / f"{_PREFIX}{archive_id}.json"
