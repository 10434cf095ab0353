"""The tables of a manifest: columns, key, and the chunks that hold the rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Self

from pydantic import (
    FailFast,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from ar_sync_pipeline.archive.manifest_fields import (
    BigInt,
    ByteCount,
    Definition,
    Identifier,
    Label,
    MemberName,
    RowCount,
    Sha256,
    Strict,
    TableName,
    TypeName,
)

MOST_UNIQUE_KEYS = 1000
"""Number of unique keys of a table that a receiver reads."""
MOST_COLUMNS = 1600
"""Number of columns that a table of PostgreSQL may have (``MaxHeapAttributeNumber``)."""


class Column(Strict):
    """A replicated column: its name, its type as PostgreSQL's ``format_type``, nullability."""

    name: Identifier
    type: TypeName
    nullable: bool


class KeyRange(Strict):
    """The half-open range ``[low, high)`` of an integer primary key that a chunk holds."""

    low: BigInt
    high: Annotated[int, Field(ge=-(2**63), le=2**63)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("a key range must not end before it starts")
        return self


class Chunk(Strict):
    """One member ``tables/<table>.<chunk>.copy.zst``: rows of a table in binary COPY, zstd.

    Attributes:
        member: Name of the member in the archive.
        key_range: Keys that the chunk covers; None: the whole table.
        row_count: Number of rows of the chunk.
        size_bytes: Size of the stored member in bytes.
        raw_bytes: Size of the decompressed COPY stream in bytes.
        sha256: SHA-256 of the stored member.
        digest: Order-independent digest of the content of the rows, as decimal text.
        carried: Whether the archive contains the member. If not, sizes and sha256 are those of the
            archive that carried these rows.
        changed_rows: Number of rows in the member if the chunk is carried as a change: the rows
            written since the base, while `TableManifest.absent_keys` tells which rows are gone.
            None: the member contains all rows.
    """

    member: MemberName
    key_range: KeyRange | None
    row_count: RowCount
    size_bytes: ByteCount
    raw_bytes: ByteCount
    sha256: Sha256
    digest: Annotated[str, StringConstraints(pattern=r"^-?[0-9]{1,40}$")]
    carried: bool = True
    changed_rows: RowCount | None = None

    @property
    def is_change(self) -> bool:
        """Whether the member contains only what changed since the base."""
        return self.changed_rows is not None

    @property
    def member_rows(self) -> int:
        """Number of rows in the member."""
        return self.row_count if self.changed_rows is None else self.changed_rows

    def not_carried(self, member: str) -> Self:
        """Return the chunk as an archive lists it that does not carry it."""
        return self.model_copy(update={"member": member, "carried": False, "changed_rows": None})

    @model_validator(mode="after")
    def _possible_change(self) -> Self:
        if self.is_change and not (
            self.carried and self.key_range and self.member_rows <= self.row_count
        ):
            raise ValueError("a change is carried, has a key range, and has no more than its rows")
        return self

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out defaults: an older receiver reads an archive that carries everything."""
        fields: dict[str, Any] = handler(self)
        if self.carried:
            fields.pop("carried", None)
        if not self.is_change:
            fields.pop("changed_rows", None)
        return fields


class SequenceValue(Strict):
    """Last value of the sequence that ``column`` takes its default from."""

    column: Identifier
    last_value: BigInt


class TableManifest(Strict):
    """One table of an archive.

    In a complete archive the chunks are all of the table; in a partial they are the rows that
    the window, the watermark and the reference closure brought.

    Attributes:
        changed_keys: In a complete, a member with the primary keys of the rows that were written
            since the point that the receiver had reached (`Manifest.since`). Partials should have
            brought every other row that the complete changes.
        primary_key: Columns of the primary key; empty for a table without a key, which an archive
            always contains whole.
        unique_keys: Definitions of the unique keys; None: not recorded.
        whole: Whether a partial contains all rows of the table; rows that it lacks are deleted.
        covers_since: Whether a partial contains every row written since `Manifest.since`.
        column_rules: By column, the name of the rule that kept its values at the sender.
        generated: Columns that the sender's server computes, of which no values are sent.
    """

    name: TableName
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=MOST_COLUMNS), FailFast()]
    primary_key: Annotated[tuple[Identifier, ...], Field(max_length=32), FailFast()]
    row_count: RowCount
    chunks: Annotated[tuple[Chunk, ...], FailFast()]
    sequences: Annotated[tuple[SequenceValue, ...], Field(max_length=MOST_COLUMNS), FailFast()] = ()
    changed_keys: Chunk | None = None
    absent_keys: Chunk | None = None
    unique_keys: Annotated[tuple[Definition, ...] | None, Field(max_length=MOST_UNIQUE_KEYS)] = None
    whole: bool = False
    covers_since: bool = False
    column_rules: Annotated[dict[Identifier, Label], Field(max_length=MOST_COLUMNS)] = Field(
        default_factory=dict
    )
    generated: Annotated[tuple[Identifier, ...], Field(max_length=MOST_COLUMNS), FailFast()] = ()

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is empty: an older receiver reads a table that has none of it."""
        fields: dict[str, Any] = handler(self)
        for name in ("absent_keys", "column_rules", "generated"):
            if not getattr(self, name):
                fields.pop(name, None)
        return fields

    @property
    def carried_bytes(self) -> int:
        """Stored size of the chunks that the archive contains, in bytes."""
        return sum(chunk.size_bytes for chunk in self.chunks if chunk.carried)

    @property
    def copy_members(self) -> tuple[Chunk, ...]:
        """Members with COPY streams: the rows, then the lists of keys."""
        lists = (self.changed_keys, self.absent_keys)
        return self.chunks + tuple(one for one in lists if one is not None)

    @property
    def changes(self) -> tuple[Chunk, ...]:
        """Chunks that are carried as changes."""
        return tuple(chunk for chunk in self.chunks if chunk.is_change)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(chunk.row_count for chunk in self.chunks) != self.row_count:
            raise ValueError(f"table {self.name}: the chunks' rows do not add up")
        if not _ranges_apart(self.chunks):
            raise ValueError(f"table {self.name}: chunks overlap, or only some have a key range")
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names) or not set(self.primary_key) <= set(names):
            raise ValueError(f"table {self.name}: repeated column or a key that is no column")
        if not set(names).isdisjoint(self.generated):
            raise ValueError(f"table {self.name}: a column is sent and computed")
        if not self.primary_key and (
            self.changed_keys or len(self.chunks) > 1 or any(c.key_range for c in self.chunks)
        ):
            raise ValueError(f"table {self.name}: without a key it is one chunk")
        for what, keys in (("changed", self.changed_keys), ("absent", self.absent_keys)):
            if keys is not None and (not keys.carried or keys.is_change):
                raise ValueError(f"table {self.name}: the {what} keys are not carried")
        if bool(self.changes) != (self.absent_keys is not None) or (
            self.changes and len(self.primary_key) != 1
        ):
            raise ValueError(f"table {self.name}: absent keys do not belong to its changes")
        return self


def _ranges_apart(chunks: Sequence[Chunk]) -> bool:
    """Return whether no key belongs to two chunks; without a range a chunk covers all keys."""
    ranges = sorted((c.key_range for c in chunks if c.key_range), key=lambda r: (r.low, r.high))
    apart = all(before.high <= after.low for before, after in pairwise(ranges))
    return apart and (len(ranges) == len(chunks) or len(chunks) == 1)
