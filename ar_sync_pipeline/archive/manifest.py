"""The manifest: the first member of every archive, which says all that the rest must be.

Everything here arrives from another machine. The models reject unknown fields, wrong types and
impossible numbers; `ar_sync_pipeline.archive.reader` holds the bytes against them. Lists stop
at their first mistake (`FailFast`): a report of each of a million wrong items costs gigabytes.
The limits of columns are PostgreSQL's own (manual, appendix "PostgreSQL Limits").
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from ar_sync_pipeline.archive.names import ArchiveKind, ArchiveName

FORMAT = 1
MANIFEST_MEMBER = "manifest.json"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
TableName = Annotated[str, StringConstraints(min_length=1, max_length=127, pattern=r"^[^\x00]+$")]
Definition = Annotated[
    str, StringConstraints(min_length=1, max_length=20_000, pattern=r"^[^\x00]+$")
]
TypeName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
# What identifies something to programs and is shown to people: a cluster, a version, a digest.
Label = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00]*$")]
MigrationName = Annotated[
    str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]+$")
]
MemberName = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]
# One transaction id for each session that was writing.
Snapshot = Annotated[
    str, StringConstraints(pattern=r"^[0-9]+:[0-9]+:[0-9,]*$", max_length=1_000_000)
]
ByteCount = Annotated[int, Field(ge=0, le=2**50)]
RowCount = Annotated[int, Field(ge=0, lt=2**63)]
BigInt = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# Years at the ends of the calendar overflow as soon as they are converted to another zone.
Instant = Annotated[
    AwareDatetime,
    Field(ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC)),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SenderIdentity(_Strict):
    """Which database an archive comes from.

    Attributes:
        system_identifier: of the PostgreSQL cluster, from ``pg_control_system()``.
        database: the database's name.
        name: the stable name that the operator gave the sender.
    """

    system_identifier: Label
    database: Label
    name: Label


class Window(_Strict):
    """A half-open interval ``[start, end)`` of ``changed_at`` time, aware UTC."""

    start: Instant
    end: Instant

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.start >= self.end:
            raise ValueError("a window must end after it starts")
        return self


# The text of a snapshot with some 1,500 writing transactions, in a position of 64 KiB at most.
LONGEST_SNAPSHOT = 20_000


class Watermark(_Strict):
    """A point in the sender's history, by which spans of archives join.

    Attributes:
        archive_id: of the archive whose snapshot this is; None before it is known.
        snapshot_at: when the snapshot was taken.
        snapshot: PostgreSQL's own text of it, ``xmin:xmax:xip,...``.
        system_identifier: the cluster to which the transaction ids belong.
        timeline: the cluster's timeline, which changes with a failover.
        oldest_write_at: no transaction that the snapshot could not see had begun before this
            instant of the database's clock; None: the sender's role may not see the others'
            transactions (it is no member of ``pg_read_all_stats``).
        lsn: how far the write-ahead log was flushed, in bytes; it only grows in one history.
        traces: transaction ids that the dump used up just before, and whether it committed (``c``)
            or aborted (``a``) each, by which another history of the same cluster is told.
    """

    archive_id: UUID | None = None
    snapshot_at: Instant
    # Ids and positions are bounded by bigint, as which both databases compare them.
    snapshot: Annotated[
        str,
        StringConstraints(
            pattern=r"^[0-9]{1,19}:[0-9]{1,19}:([0-9]{1,19}(,[0-9]{1,19})*)?$",
            max_length=LONGEST_SNAPSHOT,
        ),
    ]
    # Letters: the old system, which knew no cluster.
    system_identifier: Annotated[str, StringConstraints(pattern=r"^[0-9a-z-]{1,20}$")]
    timeline: Annotated[int, Field(ge=0, lt=2**32)]
    oldest_write_at: Instant | None = None
    lsn: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    traces: Annotated[
        str | None,
        StringConstraints(pattern=r"^[0-9]{1,19}[ca](,[0-9]{1,19}[ca])*$", max_length=1000),
    ] = None

    @model_validator(mode="after")
    def _possible_ids(self) -> Self:
        """The order is that of PostgreSQL's ``pg_snapshot`` (manual, 9.27.8)."""
        oldest, newest, listed = self.snapshot.split(":")
        running = [int(number) for number in listed.split(",") if number]
        if not int(oldest) <= int(newest) < 2**63:
            raise ValueError("a snapshot ends before it starts, or beyond every transaction id")
        ascending = [int(oldest) - 1, *running, int(newest)]
        if running and any(one >= other for one, other in pairwise(ascending)):
            raise ValueError("a snapshot lists its transactions in order, between its ends")
        if any(int(trace[:-1]) >= 2**63 for trace in (self.traces or "").split(",") if trace):
            raise ValueError("a trace is beyond every transaction id")
        return self


class Column(_Strict):
    """A column that travels: its name, PostgreSQL's ``format_type`` of it, nullability."""

    name: Identifier
    type: TypeName
    nullable: bool


class KeyRange(_Strict):
    """The half-open range ``[low, high)`` of an integer primary key that a chunk holds."""

    low: BigInt
    high: Annotated[int, Field(ge=-(2**63), le=2**63)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("a key range must not end before it starts")
        return self


class Chunk(_Strict):
    """One member ``tables/<table>.<chunk>.copy.zst``: rows of a table in binary COPY, zstd.

    Attributes:
        member: the member's name in the archive.
        key_range: which keys the chunk speaks for; None: the whole table.
        row_count: rows in the member.
        size_bytes: of the member as stored.
        raw_bytes: of the COPY stream after decompression.
        sha256: of the member as stored.
        digest: order-independent digest of the rows' content, as decimal text.
    """

    member: MemberName
    key_range: KeyRange | None
    row_count: RowCount
    size_bytes: ByteCount
    raw_bytes: ByteCount
    sha256: Sha256
    digest: Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,40}$")]


class SequenceValue(_Strict):
    """The last value that a sequence behind ``column`` has given out."""

    column: Identifier
    last_value: BigInt


class TableManifest(_Strict):
    """One table's part of an archive.

    In a complete archive the chunks are all of the table; in a partial they are the rows that
    the window, the watermark and the reference closure brought.

    Attributes:
        changed_keys: in a complete, the primary keys of the rows that were written since the point
            that the receiver was known to have (`Manifest.since`), as one more member; what a
            complete changes beyond these, the partials should have brought.
        primary_key: columns that tell rows apart; empty for a table without any, which is carried
            whole.
        unique_keys: definitions of what no two rows may have in common; None: not recorded.
        whole: in a partial, the rows are all of the table, so that others are gone.
        covers_since: in a partial, every row that was written since `Manifest.since` is there.
        column_rules: by column, the name of the rule that kept its values at the sender.
    """

    name: TableName
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=1600), FailFast()]
    primary_key: Annotated[tuple[Identifier, ...], Field(max_length=32), FailFast()]
    row_count: RowCount
    chunks: Annotated[tuple[Chunk, ...], FailFast()]
    sequences: Annotated[tuple[SequenceValue, ...], Field(max_length=1600), FailFast()] = ()
    changed_keys: Chunk | None = None
    unique_keys: Annotated[tuple[Definition, ...] | None, Field(max_length=1000)] = None
    whole: bool = False
    covers_since: bool = False
    column_rules: Annotated[dict[Identifier, Label], Field(max_length=1600)] = {}

    @model_serializer(mode="wrap")
    def _without_empty_rules(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An older receiver reads a table without rules."""
        fields: dict[str, Any] = handler(self)
        if not self.column_rules:
            del fields["column_rules"]
        return fields

    @property
    def copy_members(self) -> tuple[Chunk, ...]:
        """The members that hold COPY streams: the rows, then the changed keys."""
        return self.chunks + ((self.changed_keys,) if self.changed_keys else ())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(chunk.row_count for chunk in self.chunks) != self.row_count:
            raise ValueError(f"table {self.name}: the chunks' rows do not add up")
        if not _ranges_apart(self.chunks):
            raise ValueError(f"table {self.name}: chunks overlap, or only some have a key range")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or not set(self.primary_key) <= set(names):
            raise ValueError(f"table {self.name}: repeated column or a key that is no column")
        if not self.primary_key and (
            self.changed_keys or len(self.chunks) > 1 or any(c.key_range for c in self.chunks)
        ):
            raise ValueError(f"table {self.name}: without a key it is one chunk")
        return self


def _ranges_apart(chunks: Sequence[Chunk]) -> bool:
    """Whether no key belongs to two chunks; one without a range speaks for the whole table."""
    ranges = sorted((c.key_range for c in chunks if c.key_range), key=lambda r: (r.low, r.high))
    apart = all(before.high <= after.low for before, after in pairwise(ranges))
    return apart and (len(ranges) == len(chunks) or len(chunks) == 1)


class TypeDefinition(_Strict):
    """A type that the sender's application made.

    Attributes:
        name: PostgreSQL's ``format_type`` of it.
        kind: what else the definition means.
        parts: the labels of an enum in order, the checks of a domain, the attributes of a composite
            type.
        base: of a domain; empty otherwise.
    """

    name: TypeName
    kind: Literal["enum", "domain", "composite"]
    parts: Annotated[tuple[Definition, ...], Field(max_length=10_000), FailFast()]
    base: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")] = ""


class MediaEntry(_Strict):
    """One media file: ``path`` relative to the media folder, stored under ``media/<path>``."""

    path: MemberName
    size_bytes: ByteCount
    sha256: Sha256
    modified_at: Instant

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return f"media/{self.path}"


class MigrationFile(_Strict):
    """A migration's source, shipped for people to read, under ``migrations/<name>.py``."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,200}$")]
    size_bytes: ByteCount
    sha256: Sha256

    @property
    def member(self) -> str:
        """The member's name in the archive."""
        return f"migrations/{self.name}.py"


class Manifest(_Strict):
    """All that an archive says of itself (design, section 4).

    Attributes:
        window: what a partial was asked for; None in a complete.
        since: the point from which a partial carries every change, None when the window alone
            counted; in a complete the point that the receiver was known to have.
        watermark: the archive's own snapshot, the point up to which it carries every change.
        pair: the name of the pair of servers that the archive is for; empty: it has none.
        new_history: the point that the receiver was known to have is not in the history of the
            sender's database: it was restored from a backup, or another one took its place.
        digest_probe: digest of a fixed test row, by which a receiver knows whether its digest
            function agrees with the sender's.
        types: the enums, domains and composite types of the tables' columns; None: not recorded.
        references: the foreign keys of the replicated tables, as `ForeignKey.definition`; None:
            not recorded.
        media_omitted: media files, and folders with a ``/`` at their end, that exist at the sender
            and could not be sent: an archive that does not list them says nothing of them.
        hmac: HMAC-SHA256 over the canonical manifest without this field, when signed.
    """

    format: Annotated[int, Field(ge=1)] = FORMAT
    archive_id: UUID
    kind: ArchiveKind
    sender: SenderIdentity
    pair: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{0,63}$")] = ""
    product_version: Label
    window: Window | None = None
    since: Watermark | None = None
    watermark: Watermark
    new_history: bool = False
    snapshot_at: Instant
    digest_probe: Label
    tables: Annotated[tuple[TableManifest, ...], Field(max_length=10_000), FailFast()]
    media: Annotated[tuple[MediaEntry, ...], FailFast()] = ()
    media_omitted: Annotated[tuple[MemberName, ...], FailFast()] = ()
    migrations: Annotated[tuple[MigrationName, ...], Field(max_length=10_000), FailFast()] = ()
    migration_files: Annotated[tuple[MigrationFile, ...], Field(max_length=10_000), FailFast()] = ()
    schema_fingerprint: Label
    types: Annotated[tuple[TypeDefinition, ...] | None, Field(max_length=10_000)] = None
    references: Annotated[tuple[Definition, ...] | None, Field(max_length=10_000)] = None
    hmac: Sha256 | None = None

    @model_validator(mode="after")
    def _members_unique(self) -> Self:
        members = [name for name, _, _ in self.members()]
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
            raise ValueError("every table of a complete is whole, and none says so")
        return self

    @model_validator(mode="after")
    def _dates_agree(self) -> Self:
        if self.watermark.snapshot_at != self.snapshot_at:
            raise ValueError("the watermark is not that of the snapshot")
        if self.watermark.archive_id != self.archive_id:
            raise ValueError("the watermark is that of another archive")
        if self.since is not None and self.since.snapshot_at >= self.snapshot_at:
            raise ValueError("it starts from a point that lies behind its own snapshot")
        return self

    @property
    def name(self) -> ArchiveName:
        """The archive's name, which its kind and snapshot determine."""
        return ArchiveName(self.kind, self.snapshot_at)

    @property
    def row_count(self) -> int:
        """Rows of all tables."""
        return sum(table.row_count for table in self.tables)

    def members(self) -> list[tuple[str, int, str]]:
        """Every member behind the manifest as (name, size in bytes, sha256), in archive order."""
        chunks = [
            (chunk.member, chunk.size_bytes, chunk.sha256)
            for table in self.tables
            for chunk in table.copy_members
        ]
        files = [(f.member, f.size_bytes, f.sha256) for f in self.migration_files]
        media = [(entry.member, entry.size_bytes, entry.sha256) for entry in self.media]
        return chunks + files + media

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no blanks, UTF-8.

        Media are spelled one by one: as Python objects all of them would take ten times the room.
        What is said of rare archives only is left out of others, so that an older receiver reads
        these.
        """
        rare = {n for n in ("media_omitted", "new_history", "pair") if not getattr(self, n)}
        unwanted = {"media"} | rare
        fields = {
            name: canonical_json(value)
            for name, value in self.model_dump(mode="json", exclude=unwanted).items()
        }
        media = (canonical_json(entry.model_dump(mode="json")) for entry in self.media)
        fields["media"] = b"[%b]" % b",".join(media)
        return b"{%b}" % b",".join(b'"%b":%b' % (n.encode(), fields[n]) for n in sorted(fields))

    def signature(self, key: bytes) -> str:
        """HMAC-SHA256 of the manifest without its ``hmac`` field."""
        return signature_of(self.to_json(), key)

    def signed(self, key: bytes) -> Self:
        """A copy that carries its signature."""
        return self.model_copy(update={"hmac": self.signature(key)})


def signature_of(manifest_json: bytes, key: bytes) -> str:
    """HMAC-SHA256 of a manifest's JSON without its ``hmac`` field.

    It is taken from the JSON as it arrived, not from the model, so that a product whose model
    has grown an optional field still finds the signature of an older sender right.
    """
    content = json.loads(manifest_json)
    content.pop("hmac", None)
    return hmac.new(key, canonical_json(content), hashlib.sha256).hexdigest()


def canonical_json(content: object) -> bytes:
    """JSON with one spelling only: sorted keys, no blanks, UTF-8, finite numbers."""
    return json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()
