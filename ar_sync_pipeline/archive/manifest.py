"""The manifest: the first member of every archive, which describes all others.

Every value arrives from another machine. The models reject unknown fields, wrong types and
impossible numbers; `ar_sync_pipeline.archive.reader` compares the bytes with them. Validation of a
list stops at the first error (`FailFast`): a report on a million wrong items costs gigabytes. The
limits of columns are those of PostgreSQL (manual, appendix "PostgreSQL Limits").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import FailFast, Field, StringConstraints, model_validator

from ar_sync_pipeline.archive.canonical_json import canonical_json, signature_of
from ar_sync_pipeline.archive.manifest_fields import (
    BigInt,
    ByteCount,
    Definition,
    Identifier,
    Instant,
    Label,
    MemberName,
    MigrationName,
    Sha256,
    Strict,
    TableName,
    TypeName,
    TypePart,
)
from ar_sync_pipeline.archive.manifest_media import MediaEntry, MediaList
from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.sender_history import SenderIdentity, Watermark, Window
from ar_sync_pipeline.archive.table_manifest import (
    Chunk,
    Column,
    KeyRange,
    SequenceValue,
    TableManifest,
)

__all__ = [
    "BaseArchive",
    "BigInt",
    "Chunk",
    "Column",
    "Identifier",
    "Instant",
    "KeyRange",
    "Label",
    "Manifest",
    "MediaEntry",
    "MigrationFile",
    "SenderIdentity",
    "SequenceValue",
    "Sha256",
    "TableManifest",
    "TableName",
    "TypeDefinition",
    "Watermark",
    "Window",
]

WHOLE_FORMAT = 1
"""Number of the format in which every member is carried."""
DIFFERENTIAL_FORMAT = 2
"""Number of the format in which a complete may list members that it does not carry."""
MEDIA_LIST_FORMAT = 3
"""Number of the format in which a member lists the media files, in any kind of archive."""
CHANGES_FORMAT = 4
"""Number of the format in which a complete may carry chunks as changes, with either list."""
COVERAGE_FORMAT = 5
"""Number of the format in which a partial says which tables it covers, with either list."""
OMISSIONS_FORMAT = 6
"""Number of the format in which an archive names what it lacks, as any of the others would."""
NEWEST_FORMAT = OMISSIONS_FORMAT
MANIFEST_MEMBER = "manifest.json"


class TypeDefinition(Strict):
    """A user-defined type of the sender's database.

    Attributes:
        name: Name of the type, as PostgreSQL's ``format_type``.
        kind: Kind of the type.
        parts: Labels of an enum in order, checks of a domain, or attributes of a composite type.
        base: Base type of a domain; empty otherwise.
    """

    name: TypeName
    kind: Literal["enum", "domain", "composite"]
    parts: Annotated[tuple[TypePart, ...], Field(max_length=10_000), FailFast()]
    base: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")] = ""


class MigrationFile(Strict):
    """Source of a migration, for people to read, stored under ``migrations/<name>.py``."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,200}$")]
    size_bytes: ByteCount
    sha256: Sha256

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return f"migrations/{self.name}.py"

    @property
    def carried(self) -> bool:
        """Always true."""
        return True


class BaseArchive(Strict):
    """The complete that a differential complete was compared with, for people.

    Whether a receiver has what is not carried is decided by digests.
    """

    archive_id: UUID
    snapshot_at: Instant


class Manifest(Strict):
    """Description of an archive.

    A complete describes the whole state. It may list chunks and media files that it does not carry,
    because the receiver is known to have them: a differential complete.

    Attributes:
        base: Complete that a differential complete was compared with; None in any other archive.
        window: Requested window of a partial; None in a complete.
        since: In a partial, the point from which it contains every change; None: it contains the
            changes of the window only. In a complete, the point that the receiver had reached.
        uncovered: In a partial, the tables of which it may lack changes since `since`, whether it
            has rows of them or not; None: not recorded.
        redefined: In a partial, the tables whose definition or rules have changed since `since`, so
            that unchanged rows have other values, and that it does not carry whole.
        gone: In a partial, the tables that were replicated at `since` and no longer are.
        watermark: Snapshot of the archive, the point up to which it contains every change.
        pair: Name of the pair of servers that the archive is for; empty: it has none.
        new_history: Whether the point that the receiver had reached is missing in the history of
            the sender's database, which was restored from a backup or replaced.
        digest_probe: Digest of a fixed test row, which shows whether the digest functions of
            receiver and sender agree.
        types: Enums, domains and composite types of the columns; None: not recorded.
        references: Foreign keys of the replicated tables, as `ForeignKey.definition`, and as
            `ForeignKey.not_valid`; None: not recorded.
        media_list: Member that lists the media files instead of `media`.
        media_omitted: Media files, and folders (with a trailing ``/``), that exist at the sender
            and could not be sent.
        hmac: HMAC-SHA256 over the canonical manifest without this field, if signed.
    """

    format: Annotated[int, Field(ge=1)] = WHOLE_FORMAT
    archive_id: UUID
    base: BaseArchive | None = None
    kind: ArchiveKind
    sender: SenderIdentity
    pair: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{0,63}$")] = ""
    product_version: Label
    window: Window | None = None
    since: Watermark | None = None
    uncovered: Annotated[tuple[TableName, ...] | None, Field(max_length=10_000)] = None
    redefined: Annotated[tuple[TableName, ...], Field(max_length=10_000)] = ()
    gone: Annotated[tuple[TableName, ...], Field(max_length=10_000)] = ()
    watermark: Watermark
    new_history: bool = False
    snapshot_at: Instant
    digest_probe: Label
    tables: Annotated[tuple[TableManifest, ...], Field(max_length=10_000), FailFast()]
    media: Annotated[tuple[MediaEntry, ...], FailFast()] = ()
    media_list: MediaList | None = None
    media_omitted: Annotated[tuple[MemberName, ...], FailFast()] = ()
    migrations: Annotated[tuple[MigrationName, ...], Field(max_length=10_000), FailFast()] = ()
    migration_files: Annotated[tuple[MigrationFile, ...], Field(max_length=10_000), FailFast()] = ()
    schema_fingerprint: Label
    types: Annotated[tuple[TypeDefinition, ...] | None, Field(max_length=10_000)] = None
    references: Annotated[tuple[Definition, ...] | None, Field(max_length=10_000)] = None
    hmac: Sha256 | None = None

    @model_validator(mode="after")
    def _members_unique(self) -> Self:
        members = [member.member for member in self._listed()]
        if len(set(members)) != len(members):
            raise ValueError("a member is listed twice")
        if len({table.name for table in self.tables}) != len(self.tables):
            raise ValueError("a table is listed twice")
        if (self.kind is ArchiveKind.PARTIAL) != (self.window is not None):
            raise ValueError("a partial has a window and a complete has none")
        if self.kind is ArchiveKind.PARTIAL:
            parts = [t.name for t in self.tables if not (t.primary_key or t.whole)]
            if parts:
                raise ValueError(f"table {parts[0]}: without a key a partial carries it whole")
        elif any(table.whole for table in self.tables):
            raise ValueError("no table of a complete may be marked as whole")
        return self

    @model_validator(mode="after")
    def _has_what_the_format_says(self) -> Self:
        if (self.format == OMISSIONS_FORMAT) != self.names_omissions:
            raise ValueError("an archive names what it lacks in format 6, and in no other format")
        if self.format == OMISSIONS_FORMAT:
            return self
        if (self.format == CHANGES_FORMAT) != self.has_changes:
            raise ValueError("chunks are carried as changes in format 4, and in no other format")
        if (self.format == COVERAGE_FORMAT) != (self.uncovered is not None):
            raise ValueError("a partial says what it covers in format 5, and in no other format")
        if self.format not in (CHANGES_FORMAT, COVERAGE_FORMAT) and (
            self.format == MEDIA_LIST_FORMAT
        ) != bool(self.media_list):
            raise ValueError("a member lists the media files in format 3, 4 or 5, and in no other")
        needs_base = self.format in (DIFFERENTIAL_FORMAT, CHANGES_FORMAT)
        if self.format != MEDIA_LIST_FORMAT and needs_base != bool(self.base):
            raise ValueError("a differential complete names its base, and no other archive does")
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.media_list is not None and self.media:
            raise ValueError("the manifest and a member list media files")
        starts = self.since is not None and self.window is not None
        if (self.uncovered is not None or self.redefined or self.gone) and not starts:
            raise ValueError("only a partial that starts from a point covers tables")
        if self.base is not None and self.kind is not ArchiveKind.COMPLETE:
            raise ValueError("only a complete can be differential")
        if self.base is None and (self.has_changes or not self.carries_everything):
            raise ValueError("only a differential complete may list what it does not carry")
        if self.base is not None and self.base.snapshot_at >= self.snapshot_at:
            raise ValueError("its base is after its own snapshot")
        return self

    @model_validator(mode="after")
    def _dates_agree(self) -> Self:
        if self.watermark.snapshot_at != self.snapshot_at:
            raise ValueError("the watermark is not that of the snapshot")
        if self.watermark.archive_id != self.archive_id:
            raise ValueError("the watermark is that of another archive")
        if self.since is not None and self.since.snapshot_at >= self.snapshot_at:
            raise ValueError("it starts from a point after its own snapshot")
        return self

    @property
    def name(self) -> ArchiveName:
        """Name of the archive, which follows from its kind and snapshot."""
        return ArchiveName(self.kind, self.snapshot_at)

    @property
    def row_count(self) -> int:
        """Number of rows of all tables."""
        return sum(table.row_count for table in self.tables)

    @property
    def carries_everything(self) -> bool:
        """Whether every listed member is in the archive."""
        return self.not_carried_count == 0

    @property
    def has_changes(self) -> bool:
        """Whether a chunk is carried as a change."""
        return any(table.changes for table in self.tables)

    @property
    def names_omissions(self) -> bool:
        """Whether it names tables or columns that it lacks."""
        return bool(self.redefined or self.gone or any(t.generated for t in self.tables))

    @property
    def listed_count(self) -> int:
        """Number of listed members, carried or not."""
        chunks = sum(len(table.copy_members) for table in self.tables)
        return chunks + len(self.migration_files) + self.media_count

    @property
    def media_count(self) -> int:
        """Number of listed media files."""
        return self.media_list.file_count if self.media_list else len(self.media)

    @property
    def media_bytes(self) -> int:
        """Size of the listed media files in bytes."""
        listed = self.media_list
        return listed.file_bytes if listed else sum(entry.size_bytes for entry in self.media)

    @property
    def carried_media_count(self) -> int:
        """Number of media files that the archive contains."""
        listed = self.media_list
        return listed.carried_count if listed else sum(entry.carried for entry in self.media)

    @property
    def carried_media_bytes(self) -> int:
        """Size of the media files that the archive contains, in bytes."""
        listed, entries = self.media_list, self.media
        return listed.carried_bytes if listed else sum(e.size_bytes for e in entries if e.carried)

    @property
    def not_carried_count(self) -> int:
        """Number of listed members that the archive does not contain."""
        chunks = sum(not chunk.carried for table in self.tables for chunk in table.chunks)
        return chunks + self.media_count - self.carried_media_count

    def members(self) -> list[tuple[str, int, str]]:
        """Return (name, size in bytes, sha256) of the members before the files of a media list."""
        return [(m.member, m.size_bytes, m.sha256) for m in self._listed() if m.carried]

    def _listed(self) -> Iterator[Chunk | MigrationFile | MediaEntry | MediaList]:
        if self.media_list is not None:
            yield self.media_list  # first, as a reader needs it before the first media file
        for table in self.tables:
            yield from table.copy_members
        yield from self.migration_files
        yield from self.media

    def to_json(self) -> bytes:
        """Return the manifest as canonical JSON: sorted keys, no blanks, UTF-8.

        Media entries are serialized one by one: all of them as Python objects would take ten times
        the memory. Rare fields are omitted where they are not set, so that an older receiver can
        read the manifest.
        """
        names = ("base", "gone", "media_list", "media_omitted", "new_history", "pair", "redefined")
        rare = {name for name in names if not getattr(self, name)}
        rare |= {"uncovered"} if self.uncovered is None else set()
        unwanted = {"media"} | rare
        fields = {
            name: canonical_json(value)
            for name, value in self.model_dump(mode="json", exclude=unwanted).items()
        }
        media = (
            canonical_json(entry.model_dump(mode="json", exclude_defaults=True))
            for entry in self.media
        )
        fields["media"] = b"[%b]" % b",".join(media)
        return b"{%b}" % b",".join(b'"%b":%b' % (n.encode(), fields[n]) for n in sorted(fields))

    def signature(self, key: bytes) -> str:
        """Return the HMAC-SHA256 of the manifest without its ``hmac`` field."""
        return signature_of(self.to_json(), key)

    def signed(self, key: bytes) -> Self:
        """Return a signed copy."""
        return self.model_copy(update={"hmac": self.signature(key)})
