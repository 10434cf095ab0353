"""Results of a load: what it did for each archive, and to the tables as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.media.stage import Outcome
from ar_sync_pipeline.merge.apply import MergeResult
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.load.delete_guard import Deletion
from ar_sync_pipeline.sync.load.net_rows import NetRows
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive


@dataclass(frozen=True)
class LoadedArchive:
    """Result of the load of one archive.

    Attributes:
        again: Whether it was applied before and is applied again, after an older one.
        tables: Rows added, changed and deleted, by table.
        chunks_staged: Number of chunks that differed from the receiver's content, of ``chunks``.
        size_bytes: Size of the archive file in bytes.
        media_bytes: Size of the media files that were installed or replaced, in bytes.
        media_left_out: The first media files that this receiver does not install.
        media_left_out_count: Number of all of them.
        media_sample: Paths of some of the files that the media folder then has.
        fired: Triggers at the receiver that fired for replicated rows, as ``table.trigger``.
        recovered: Whether a load applied it that was killed after its commit; chunks and media
            files are not counted then.
        keeps_absent: As in `MergeResult`.
    """

    manifest: Manifest
    again: bool
    tables: tuple[TablePlan, ...]
    chunks: int
    chunks_staged: int
    media_installed: int
    media_unchanged: int
    size_bytes: int
    media_bytes: int
    media_left_out: tuple[str, ...] = ()
    media_left_out_count: int = 0
    media_sample: tuple[str, ...] = ()
    fired: tuple[str, ...] = ()
    recovered: bool = False
    keeps_absent: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, archive: StagedArchive, result: MergeResult, *, again: bool, size_bytes: int
    ) -> Self:
        """Sum up a merged archive."""
        media = archive.media
        return cls(
            archive.manifest,
            again,
            result.plans,
            chunks=sum(len(staged.manifest.chunks) for staged in archive.tables),
            chunks_staged=sum(len(staged.differing) for staged in archive.tables),
            media_installed=media.installed,
            media_unchanged=media.counts[Outcome.UNCHANGED],
            size_bytes=size_bytes,
            media_bytes=media.size_bytes,
            media_left_out=tuple(media.left_out),
            media_left_out_count=media.counts[Outcome.LEFT_OUT],
            media_sample=media.sample.paths,
            fired=result.fired,
            keeps_absent=result.keeps_absent,
        )


@dataclass(frozen=True)
class LoadOutcome:
    """Result of all merges of one load.

    Attributes:
        deletions: Rows of replicated tables that are deleted in the end.
        net: Rows by table that the load as a whole has added, changed and deleted.
        tables: Tables of the receiver, as its database describes them.
        seconds: Seconds by phase: stage, media, merge, verify, commit.
        obstacle: Why empty tables were filled slowly and what would change that; None: they were
            not.
        unrecorded_media: A media file that is not recorded for its removal; None: there is none.
    """

    loaded: tuple[LoadedArchive, ...]
    deletions: tuple[Deletion, ...]
    net: Mapping[str, NetRows]
    tables: Mapping[str, TableFacts]
    seconds: Mapping[str, float]
    obstacle: str | None = None
    unrecorded_media: str | None = None
