"""Requests for a complete and a partial, and the result of the first step of a dump."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import (
    BaseArchive,
    Column,
    TableManifest,
    TypeDefinition,
    Watermark,
    Window,
)
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.sync.dump.kept_manifests import Base
from ar_sync_pipeline.sync.dump.sender_journal_file import DigestsOf


@dataclass(frozen=True)
class Reported:
    """What the receiver reports besides a point that is accepted.

    Attributes:
        claimed: Point that it claims to have and that is not accepted.
        has_unknown: Whether it has archives that this sender's journal does not know, or may have
            any, since its spool was lost.
        unread: Whether it could not be read, so that nothing of this is known.
        free_bytes: Free space of its spool in bytes; None: it is not known.
    """

    claimed: Watermark | None = None
    has_unknown: bool = False
    unread: bool = False
    free_bytes: int | None = None


@dataclass(frozen=True)
class CompleteRequest:
    """Request for a complete; by default it carries everything.

    Attributes:
        since: Point that the receiver is known to have; the keys of rows that were written since
            then are exported too, so that the receiver can detect what partials missed.
        base: Complete to compare with: chunks that are equal in it are not written; None: all are.
        after: Time of the newest snapshot that was taken before this one.
        reported: What else the receiver reports.
        verify_after: Age of digests from which those of unchanged chunks are computed again.
    """

    since: Watermark | None = None
    base: Base | None = None
    after: datetime | None = None
    reported: Reported = Reported()
    verify_after: timedelta = timedelta(days=7)


@dataclass(frozen=True)
class PartialRequest:
    """Request for a partial.

    Attributes:
        window: Window, or range of missed windows, of the archive.
        look_back: TIME: how far before the window's end rows count as changed.
        since: Newest point that the receiver is known to have; None: only the window counts.
        after: Time of the newest snapshot that was taken before this one.
        reported: What else the receiver reports.
    """

    window: Window
    look_back: timedelta
    since: Watermark | None
    after: datetime | None = None
    reported: Reported = Reported()

    @property
    def changed_at(self) -> Window:
        """Interval of ``changed_at`` to read: never less than the window."""
        start = min(self.window.start, self.window.end - self.look_back)
        return Window(start=start, end=self.window.end)


class TableDump(BaseModel):
    """Result of the first step of a dump: everything of a manifest except the media files.

    Attributes:
        window: Window of a partial; None in a complete.
        changed_since: Time of a change from which a partial contains it, if no watermark shows an
            earlier one.
        look_back: TIME of a partial, and how far the database's clock was set back.
        since: Starting point of a partial. In a complete: the receiver's checkpoint.
        uncovered, redefined, gone: As in `Manifest`.
        new_history: As in `Manifest`.
        receiver_unread: Whether the receiver could not be read when the dump began.
        receiver_free_bytes: Free space of its spool then, in bytes; None: it is not known.
        media_references: Names of media files in the dumped rows of a partial.
        untracked_tables: Tables whose changes a partial may miss until the next complete.
        reread_tables: Large tables that were read because the database's clock may have gone back.
        types: Types of these columns.
        references: Foreign keys of the replicated tables.
        references_out: Foreign keys to tables that are not replicated, with remedies, as texts.
        omissions: What the catalog seems to replicate and a complete leaves out, likewise.
        columns: Replicated columns of every replicated table, also of tables without exported rows.
        base: Complete that a differential complete was compared with; None: everything is carried.
        held_at: Point at which the receiver is known to have the media files of the archives up to
            there.
        lacking: What the receiver lacks of a complete after the base.
        digests: When all digests of a complete were computed.
        seconds: Seconds by phase: snapshot, selection (of a partial), tables.
    """

    model_config = ConfigDict(frozen=True)

    window: Window | None
    changed_since: AwareDatetime | None = None
    look_back: timedelta = timedelta(0)
    since: Watermark | None
    uncovered: tuple[str, ...] | None = None
    redefined: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    new_history: bool = False
    receiver_unread: bool = False
    receiver_free_bytes: int | None = None
    watermark: Watermark
    database: str
    digest_probe: str
    migrations: tuple[str, ...]
    schema_fingerprint: str
    tables: tuple[TableManifest, ...]
    media_references: tuple[str, ...] = ()
    untracked_tables: tuple[str, ...] = ()
    reread_tables: tuple[str, ...] = ()
    references_out: tuple[str, ...] = ()
    omissions: tuple[str, ...] = ()
    columns: dict[str, tuple[Column, ...]] = {}
    types: tuple[TypeDefinition, ...] = ()
    references: tuple[str, ...] = ()
    base: BaseArchive | None = None
    held_at: Watermark | None = None
    lacking: Lacking = Lacking()
    digests: DigestsOf | None = None
    seconds: dict[str, float] = {}

    @property
    def kind(self) -> ArchiveKind:
        """Kind of the archive."""
        return ArchiveKind.PARTIAL if self.window else ArchiveKind.COMPLETE

    @property
    def has_changes(self) -> bool:
        """Whether a chunk is carried as a change."""
        return any(table.changes for table in self.tables)
