"""The record of a load in the ledger, written in the transaction of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.media.held import is_left_out
from ar_sync_pipeline.media.presence import mount_point
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.installed_media import record_installed
from ar_sync_pipeline.postgres.ledger import record, supersede
from ar_sync_pipeline.postgres.media_files import remember_media
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.load.load_outcome import LoadOutcome
from ar_sync_pipeline.sync.load.load_plan import ArchivesAtHand
from ar_sync_pipeline.sync.load.stage_archives import MediaFolder


@dataclass(frozen=True)
class LoadRecord:
    """Writes what became of the archives of a load.

    Args:
        blaming: Returns a block whose errors are attributed to an archive.
    """

    _connection: Connection
    _at_hand: ArchivesAtHand
    _media: MediaFolder
    _blaming: Callable[[UUID], AbstractContextManager[None]]

    def record_all(
        self,
        outcome: LoadOutcome,
        clock: Clock,
        to_carry: Mapping[UUID, Lacking],
        *,
        remembers_media: bool,
    ) -> str | None:
        """Record the applied archives and those that need not be applied any more.

        Args:
            to_carry: Chunks that archives could not verify, for the next complete to carry.

        Returns:
            The first media file that cannot be recorded; None: there is none.
        """
        unrecorded: str | None = None
        for loaded in outcome.loaded:
            archive_id = loaded.manifest.archive_id
            with self._blaming(archive_id):
                plan = [table.as_dict() for table in loaded.tables]
                self._record(loaded.manifest, clock(), plan, to_carry.get(archive_id))
                if loaded.manifest.kind is ArchiveKind.COMPLETE:
                    mounted_at = str(mount_point(self._media.folder))
                    record_installed(self._connection, mounted_at, loaded.media_sample)
                if remembers_media:
                    unrecorded = self._remember_media(loaded.manifest) or unrecorded
        for candidate in self._at_hand.plan.superseded:
            manifest = self._at_hand.manifests[candidate.archive_id]
            with self._blaming(candidate.archive_id):
                self._record(manifest, clock(), None)
        supersede(self._connection, self._at_hand.replaced)
        return unrecorded

    def _record(
        self,
        manifest: Manifest,
        at: datetime,
        plan: Sequence[dict[str, Any]] | None,
        to_carry: Lacking | None = None,
    ) -> None:
        record(
            self._connection,
            manifest,
            at,
            plan=plan,
            manifest_sha256=self._at_hand.manifest_sha256[manifest.archive_id],
            history=self._at_hand.histories.of(manifest),
            unverified_chunks=to_carry.model_dump(mode="json") if to_carry else None,
        )

    def _remember_media(self, manifest: Manifest) -> str | None:
        media = self._at_hand.media(manifest.archive_id)
        allowed = self._media.allowed
        return remember_media(
            self._connection, manifest, media, lambda entry: is_left_out(entry, allowed)
        )
