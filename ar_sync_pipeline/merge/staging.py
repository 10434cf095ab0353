"""Staging: an archive's rows in temporary tables of the load's session.

Only chunks that differ from the receiver's content are staged. Temporary tables write no WAL and
disappear with the session, so a killed load leaves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk, Column, TableManifest
from ar_sync_pipeline.merge.errors import VERIFY, refusal
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.chunk_ranges import number_of, outside_chunks
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.copy_stream import copy_in
from ar_sync_pipeline.postgres.digest import (
    ChunkDigest,
    chunk_index,
    is_chunked,
)
from ar_sync_pipeline.postgres.errors import LoadRefusedError, SchemaError, SchemaMismatchError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.postgres.session_settings import application_settings
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list

# The bytes are valid, but the receiver's type has no such value: a label of an enum, a character of
# another encoding, a longer text, a range whose bounds have another order here, a value of a newer
# version of PostgreSQL or of an extension.
_UNKNOWN_HERE = (
    psycopg.errors.InvalidTextRepresentation,
    psycopg.errors.InvalidBinaryRepresentation,
    psycopg.errors.DataException,
    psycopg.errors.DatetimeFieldOverflow,
    psycopg.errors.UntranslatableCharacter,
    psycopg.errors.StringDataRightTruncation,
    psycopg.errors.NumericValueOutOfRange,
)


@dataclass(frozen=True)
class StagedTable:
    """The rows of one table of one archive, ready to be merged.

    Attributes:
        target: Table of the receiver.
        manifest: Manifest of the table in the archive.
        relation: Temporary table of the rows.
        complete: Whether the archive contains all rows of the table.
        skipped: Members of chunks that are left as they are, so not staged: unchanged ones, and
            `unverified` ones that are not carried.
        unverified: Members of chunks that cannot be compared with the receiver's rows: the archive
            does not carry them whole, and later archives have changed them.
        direct: Whether the rows are copied directly into the target, which was empty; `relation` is
            then the target.
        changed_keys: Temporary table of the keys that were written since the receiver's checkpoint,
            according to a complete; None: the archive does not record them.
        absent_keys: Temporary table of ranges of keys that no row of the changed chunks has; None:
            no chunk is carried as a change.
        held: Content of the receiver's chunks, by member, as far as the receiver has rows of them.
        keeps_absent: Whether rows that a partial lacks stay although it has all rows of the table.
        unconfirmed: Members of chunks that are carried as changes, which do not lead from the
            receiver's rows to the sender's.
    """

    target: TargetTable
    manifest: TableManifest
    relation: sql.Identifier
    complete: bool
    skipped: frozenset[str]
    changed_keys: sql.Identifier | None = None
    direct: bool = False
    unverified: frozenset[str] = frozenset()
    absent_keys: sql.Identifier | None = None
    held: Mapping[str, ChunkDigest] = field(default_factory=dict)
    unconfirmed: frozenset[str] = frozenset()
    keeps_absent: bool = False

    @property
    def lacking(self) -> tuple[Chunk, ...]:
        """Chunks that neither the archive nor the receiver has, nor both together."""
        return tuple(
            c
            for c in self.differing
            if (not c.carried or c.member in self.unconfirmed) and c.member not in self.unverified
        )

    @property
    def changes(self) -> tuple[Chunk, ...]:
        """Staged chunks of which the archive carries the changes."""
        return tuple(c for c in self.differing if c.is_change)

    @property
    def differing(self) -> tuple[Chunk, ...]:
        """Chunks to stage."""
        return tuple(c for c in self.manifest.chunks if c.member not in self.skipped)

    @property
    def has_every_column(self) -> bool:
        """Whether the receiver has all columns of the archive, so that digests can agree."""
        return len(self.target.columns) == len(self.manifest.columns)

    @property
    def speaks_for_all_rows(self) -> bool:
        """Whether the archive has every row of the table, so that others are deleted."""
        return self.complete or (self.manifest.whole and not self.keeps_absent)

    @property
    def wholly_unchanged(self) -> bool:
        """Whether the table has one chunk without a key range and that chunk is unchanged."""
        return any(
            chunk.key_range is None and chunk.member in self.skipped
            for chunk in self.manifest.chunks
        )

    def with_columns(self, names: Sequence[str]) -> sql.Composable:
        """Return the staged rows as far as they have the columns of another archive's key.

        An archive of before a change of the key may lack them: the receiver's rows then have the
        values, except of rows that it is about to add.
        """
        if set(names) <= {column.name for column in self.manifest.columns}:
            return self.relation
        same = self.target.same_row("t", "n") if self.target.key else sql.SQL("false")
        return sql.SQL("(SELECT {} FROM {} AS t JOIN {} AS n ON {})").format(
            column_list(names, "t"), self.target.rows, self.relation, same
        )

    def leave_unverified(self, members: frozenset[str]) -> StagedTable:
        """Return the table with chunks that are not compared.

        Those that are not carried are left as they are. Changes are applied: they are right, but
        what else the chunk contains is not known.
        """
        absent = {c.member for c in self.differing if not c.carried} & members
        return replace(self, skipped=self.skipped | absent, unverified=members)

    def outside_unchanged_chunks(self) -> sql.Composable:
        """Return the condition that the key of ``t`` is in no unchanged chunk."""
        return self._outside(self.skipped)

    def in_whole_chunks(self) -> sql.Composable:
        """Return the condition that all rows near the key of ``t`` are staged, if it exists."""
        return self._outside(self.skipped | {c.member for c in self.changes})

    def _outside(self, members: Collection[str]) -> sql.Composable:
        """Return the condition that the key of ``t`` is in none of these chunks."""
        return outside_chunks(sql.Identifier("t", self.target.key[0]), self._indexes(members))

    def _indexes(self, members: Collection[str]) -> list[int]:
        """Return the numbers of some chunks, if the table is chunked by key."""
        if not is_chunked(self.target.columns, self.target.key):
            return []
        numbers = (number_of(chunk) for chunk in self.manifest.chunks if chunk.member in members)
        return [number for number in numbers if number is not None]


def chunks_with_rows(
    connection: Connection, table: StagedTable, other: StagedTable
) -> frozenset[str]:
    """Return the members of lacking chunks of one archive that another archive may have changed.

    A chunk is changed if the other archive has rows in its key range, or all rows of the table.
    """
    lacking = table.lacking
    if not lacking:
        return frozenset()
    if other.speaks_for_all_rows or any(chunk.key_range is None for chunk in lacking):
        found = other.speaks_for_all_rows or other.manifest.row_count
        return frozenset(chunk.member for chunk in lacking) if found else frozenset()
    (key,) = table.target.key
    query = sql.SQL("SELECT DISTINCT {} FROM {} AS n").format(
        chunk_index(sql.Identifier("n", key)), other.with_columns([key])
    )
    touched = {index for (index,) in connection.execute(query)}
    return frozenset(chunk.member for chunk in lacking if number_of(chunk) in touched)


def create_staging(connection: Connection, staged: StagedTable) -> None:
    """Create the empty staging table, with every column of the archive.

    Raises:
        SchemaMismatchError: The archive has a column of a type that the receiver does not have.
    """
    if not staged.direct:
        _create_table(connection, staged)
    if staged.changed_keys is not None:
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
                staged.changed_keys,
                column_list(staged.target.key),
                staged.target.relation,
            )
        )
    if staged.absent_keys is not None:
        connection.execute(
            sql.SQL("CREATE TEMP TABLE {} (first_key bigint, last_key bigint)").format(
                staged.absent_keys
            )
        )


def _create_table(connection: Connection, staged: StagedTable) -> None:
    definitions = sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            _type_name(connection, staged.target, column),
            _collation(staged.target, column),
        )
        for column in staged.manifest.columns
    )
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ({})").format(staged.relation, definitions))


def _type_name(connection: Connection, target: TargetTable, column: Column) -> sql.SQL:
    """Return the type as the receiver writes it: text from an archive never becomes SQL."""
    known = target.facts.column(column.name)
    if known is not None:
        return sql.SQL(known.type)  # the receiver's own catalog text
    name = scalar(connection, "SELECT pg_catalog.to_regtype(%s)::text", [column.type])
    if name is None:
        raise SchemaMismatchError(
            f"column {column.name} of {target.name} has the type {column.type},"
            " which the receiver does not know",
            remedy="create the type at the receiver, or migrate it",
        )
    return sql.SQL(name)


def _collation(target: TargetTable, column: Column) -> sql.Composable:
    """Return the receiver's collation of a column: values of two collations are not comparable."""
    known = target.facts.column(column.name)
    if known is None or known.collation is None:
        return sql.SQL("")
    return sql.SQL(" COLLATE {}").format(sql.Identifier(*known.collation))


def stage_chunk(
    connection: Connection, staged: StagedTable, chunk: Chunk, data: Iterable[bytes]
) -> None:
    """Copy the binary COPY stream of one chunk into the staging table.

    Raises:
        SchemaError: The bytes are not rows of the shape and number that the manifest declares.
    """
    columns = column_list(column.name for column in staged.manifest.columns)
    _copy_member(connection, staged, chunk, staged.relation, columns, data)


def stage_changed_keys(
    connection: Connection, staged: StagedTable, chunk: Chunk, data: Iterable[bytes]
) -> None:
    """Copy the keys that a complete lists as recently written into their temporary table.

    Raises:
        SchemaError: The bytes are not keys of the shape and number that the manifest declares.
    """
    if staged.changed_keys is not None:
        columns = column_list(staged.target.key)
        _copy_member(connection, staged, chunk, staged.changed_keys, columns, data)


def stage_absent_keys(
    connection: Connection, staged: StagedTable, chunk: Chunk, data: Iterable[bytes]
) -> None:
    """Copy the ranges of keys that no row of the changed chunks has into their temporary table.

    Raises:
        SchemaError: The bytes are not ranges, or not as many as the manifest declares.
    """
    if staged.absent_keys is not None:
        columns = sql.SQL("first_key, last_key").format()
        _copy_member(connection, staged, chunk, staged.absent_keys, columns, data)


def _copy_member(
    connection: Connection,
    staged: StagedTable,
    chunk: Chunk,
    relation: sql.Identifier,
    columns: sql.Composed,
    data: Iterable[bytes],
) -> None:
    try:
        # Staging tables have the receiver's domains, whose checks may depend on the time zone.
        with connection.transaction(), application_settings(connection):
            rows = copy_in(connection, relation, columns, data)
    except _UNKNOWN_HERE as error:
        raise refusal(error, table=staged.target.name, suppressed=True) from error
    except (psycopg.DataError, psycopg.errors.ProtocolViolation) as error:
        raise SchemaError(
            f"{chunk.member} does not hold rows of {staged.target.name} ({shown(error)})",
            remedy=VERIFY,
        ) from error
    if rows != chunk.member_rows:
        raise SchemaError(
            f"{chunk.member} holds {rows} rows instead of {chunk.member_rows}",
            remedy=VERIFY,
        )


def finish_staging(connection: Connection, staged: StagedTable) -> None:
    """Index and analyze a filled staging table, for the joins of the merge.

    Only key columns are analyzed, because only they are joined, and statistics of the other columns
    would be a large part of the WAL.
    """
    target = staged.target
    if target.key and not staged.direct:
        _add_key(connection, staged)
    if staged.differing and not staged.direct:
        used = {*target.key, *(name for key in target.unique_keys() for name in key.uses)}
        names = sorted(used & set(target.shared)) or target.shared
        connection.execute(sql.SQL("ANALYZE {} ({})").format(staged.relation, column_list(names)))
    for keys in (staged.changed_keys, staged.absent_keys):
        if keys is not None:
            connection.execute(sql.SQL("ANALYZE {}").format(keys))


def _add_key(connection: Connection, staged: StagedTable) -> None:
    try:
        add_primary_key(connection, staged.relation, staged.target.key)
    except psycopg.IntegrityError as error:
        if not staged.manifest.primary_key:
            columns = ", ".join(staged.target.key)
            raise LoadRefusedError(
                f"{staged.target.name} has the key ({columns}) at the receiver and no key at the"
                " sender, whose rows have equal values of it, or NULL",
                remedy="make the key unique at the sender again, or drop it at the receiver; the"
                " archive is then loaded by itself, or superseded by a later one",
            ) from error
        if collations := _inexact_collations(staged.target):
            raise LoadRefusedError(
                f"rows of {staged.target.name} have keys that are equal by the collation"
                f" {', '.join(collations)} of the receiver's key",
                remedy="give the key's columns the collation that they have at the sender; the"
                " archive is then loaded by itself",
            ) from error
        raise SchemaError(
            f"it holds rows of {staged.target.name} that have the same key, or none",
            remedy=VERIFY,
        ) from error


def _inexact_collations(target: TargetTable) -> list[str]:
    """Return the nondeterministic collations of a key, by which different texts are equal."""
    return sorted(
        {
            collation
            for unique in target.facts.unique_keys
            if set(unique.plain) == set(target.key)
            for collation in unique.collations
            if collation
        }
    )
