"""Advance of the receiver's sequences to the sender's values, owned by their column or not."""

from __future__ import annotations

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.manifest import TableManifest
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError, SchemaMismatchError


def advance_sequences(connection: Connection, manifest: TableManifest, target: TargetTable) -> None:
    """Advance each sequence to the sender's last value; never back, as setval is not rolled back.

    That of a column that is not replicated is the receiver's own.

    Raises:
        SchemaMismatchError: The value is out of the bounds of the receiver's sequence.
        LoadRefusedError: The role may not set the sequence.
    """
    facts = target.facts
    for value in manifest.sequences:
        column = facts.column(value.column)
        withheld = value.column in target.rules.not_sent_as_it_is
        if column is None or column.sequence is None or withheld:
            continue
        try:
            _advance(connection, sql.Identifier(*column.sequence), value.last_value)
        except psycopg.DataError as error:
            raise SchemaMismatchError(
                f"the sequence of {facts.name}.{column.name} cannot take the sender's last value,"
                f" {value.last_value}",
                remedy="give the receiver's sequence the bounds of the sender's: ALTER SEQUENCE"
                " ... MINVALUE ... MAXVALUE",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            sequence = sql.Identifier(*column.sequence).as_string(connection)
            raise LoadRefusedError(
                f"the receiver's role may not set the sequence of {facts.name}.{column.name}",
                remedy=f"GRANT SELECT, UPDATE ON SEQUENCE {sequence} to the role of the receiver's"
                " URL; the archive is tried again by itself",
            ) from error


def _advance(connection: Connection, sequence: sql.Identifier, last: int) -> None:
    connection.execute(
        sql.SQL(
            "SELECT setval({name}, {last}) FROM {sequence}, pg_sequence AS p"
            " WHERE p.seqrelid = {name}::regclass AND (last_value = {last} AND NOT is_called OR"
            " CASE WHEN p.seqincrement > 0 THEN last_value < {last} ELSE last_value > {last} END)"
        ).format(
            name=sql.Literal(sequence.as_string(connection)),
            last=sql.Literal(last),
            sequence=sequence,
        )
    )
