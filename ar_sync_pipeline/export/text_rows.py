"""Conversion of rows in text form, of any origin, to the receiver's own types.

They are copied into a temporary table with the receiver's columns, and exported from it as chunks
of an archive. Only PostgreSQL parses the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.manifest import Chunk, Column
from ar_sync_pipeline.export.table_export import (
    chunk_selected_rows,
    chunk_whole_table,
    write_chunk,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError, SchemaMismatchError
from ar_sync_pipeline.postgres.exported_table import ExportedTable
from ar_sync_pipeline.postgres.server_message import shown, shown_place
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list
from ar_sync_pipeline.postgres.table_facts import TableFacts

# A value that fits a wider column at the sender but not the receiver's.
_TOO_NARROW = (psycopg.errors.StringDataRightTruncation, psycopg.errors.NumericValueOutOfRange)


def create_text_table(
    connection: Connection, facts: TableFacts, names: Sequence[str]
) -> ExportedTable:
    """Create an empty temporary table of the same name with the named columns of a table."""
    columns = tuple(
        Column(name=column.name, type=column.type, nullable=column.nullable)
        for name in names
        if (column := facts.column(name)) is not None
    )
    table = ExportedTable(
        facts.name,
        sql.Identifier("pg_temp", facts.name),
        columns,
        facts.key,
        facts.key_operators,
    )
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {} AS SELECT {} FROM {} WITH NO DATA").format(
            table.rows, column_list(names), facts.relation
        )
    )
    return table


def copy_text_in(
    connection: Connection, table: ExportedTable, lines: Iterable[bytes], encoding: str
) -> None:
    """Fill a table with rows in the text format of ``COPY``.

    Args:
        lines: Blocks of bytes; each contains any number of whole rows.
        encoding: PostgreSQL's name of their encoding.

    Raises:
        SchemaError: They are not rows of this table, or two have the same key.
        SchemaMismatchError: A value is too large for the receiver's column.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (ENCODING {})").format(
        table.rows,
        column_list(column.name for column in table.columns),
        sql.Literal(encoding),
    )
    try:
        with (
            default_search_path(connection),  # for the functions of a domain's check
            connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            for block in lines:
                copy.write(block)
        add_primary_key(connection, table.rows, table.primary_key)
    except _TOO_NARROW as error:
        raise SchemaMismatchError(
            f"a value of {table.name} does not fit the receiver's column ({_words(error)})",
            remedy="migrate the receiver; the archive is then loaded by itself",
        ) from error
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise SchemaError(
            f"it does not hold rows of {table.name} ({_words(error)})",
            remedy="compare the table's columns on both servers; the next complete repairs",
        ) from error


def export_chunks(
    connection: Connection, table: ExportedTable, folder: Path, *, complete: bool
) -> tuple[Chunk, ...]:
    """Write a filled table's rows as members of an archive, and drop the table.

    Args:
        folder: Folder of the members.
        complete: Whether to split by key, as in a complete; otherwise one chunk, as in a partial.
    """
    if complete:
        queries = chunk_whole_table(connection, table)
    else:
        queries = chunk_selected_rows(connection, table, table.rows)
    chunks = []
    for number, chunk in enumerate(queries):
        chunks.append(write_chunk(connection, folder, table, number, chunk))
    connection.execute(sql.SQL("DROP TABLE {}").format(table.rows))
    return tuple(chunks)


def copy_line(values: Iterable[str | bool | None]) -> bytes:
    """Return one row in the text format of ``COPY`` (PostgreSQL manual, COPY, "Text Format").

    Raises:
        UnicodeEncodeError: A value contains a lone surrogate.
    """
    return ("\t".join(map(_field, values)) + "\n").encode()


def _field(value: str | bool | None) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    return value.translate(_ESCAPES)


def _words(error: psycopg.Error) -> str:
    """Return the server's message and the line, without the value, which may be personal data."""
    return ", ".join(part for part in (shown(error), shown_place(error)) if part)


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
