"""Converts the rows of an old archive, table by table, to members of a new one.

Columns are matched by name with those of the receiver: in the SQL of a complete by column name, in
the JSON of a partial by Django's field name, where a foreign key lacks its ``_id``.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.archive.manifest import SequenceValue, TableManifest
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.text_rows import (
    copy_line,
    copy_text_in,
    create_text_table,
    export_chunks,
)
from ar_sync_pipeline.legacy.archive_format import JSON_MODELS, SQL_FILE
from ar_sync_pipeline.legacy.django_json import DjangoObject, read_objects
from ar_sync_pipeline.legacy.sql_dump import CopyBlock, read_dump
from ar_sync_pipeline.legacy.tar_stream import OldFormatError
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.exported_table import ExportedTable
from ar_sync_pipeline.postgres.table_facts import TableFacts

_BATCH_BYTES = 256 * 1024
_MOST_MISMATCHES = 50


class OldTables:
    """Collects the rows of one archive.

    Args:
        connection: Connection to the receiver's database.
        catalog: Catalog of the receiver.
        tables: Replicated tables of the receiver, by name.
        folder: Folder of the new members.

    Attributes:
        mismatches: Messages about omitted tables and columns that the receiver lacks.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        tables: Mapping[str, TableFacts],
        folder: Path,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._tables = tables
        self._folder = folder
        self._made: dict[str, TableManifest] = {}
        self._sequences: dict[str, int] = {}
        self.mismatches: list[str] = []

    def manifests(self) -> tuple[TableManifest, ...]:
        """Return every collected table, sorted by name, with the values of its sequences."""
        return tuple(
            table.model_copy(update={"sequences": self._sequences_of(name)})
            for name, table in sorted(self._made.items())
        )

    def take_dump(self, stream: io.BufferedReader) -> None:
        """Collect the rows of a complete.

        Raises:
            OldFormatError: The stream is not a whole plain dump.
            SchemaError: The data are not rows of the tables.
            SchemaMismatchError: A value does not fit the receiver's column.
        """
        for found in read_dump(stream):
            if isinstance(found, CopyBlock):
                self._take_block(found)
            else:
                self._sequences[found.sequence] = found.last_value

    def take_objects(self, file: str, stream: io.BufferedReader) -> None:
        """Collect the rows of one model of a partial.

        Args:
            file: Name of the file, which tells the model.
            stream: Stream of the file.

        Raises:
            OldFormatError: The file is not a whole list of Django's serializer.
            SchemaError: The data are not rows of the table.
            SchemaMismatchError: A value does not fit the receiver's column.
        """
        app, model = self._catalog.django_app, JSON_MODELS[file]
        if app is None:
            raise OldFormatError("is Django's JSON, and the catalog names no django_app", file)
        objects = read_objects(stream, f"{app}.{model}", file)
        first = next(objects, None)
        if first is None:
            return
        facts = self._replicated(f"{app}_{model}")
        columns = self._columns_of(facts, first) if facts else {}
        rows = _rows(itertools.chain([first], objects), columns, file)
        if facts is None:
            _exhaust(rows)
            return
        self._take(facts, list(columns.values()), rows, "UTF8", complete=False)

    def _take_block(self, block: CopyBlock) -> None:
        if block.schema not in (None, self._catalog.schema_name):
            raise OldFormatError(f"holds a table of schema {printable(block.schema)}", SQL_FILE)
        if block.table in self._made:
            raise OldFormatError(f"holds the rows of {block.table} twice", SQL_FILE)
        facts = self._replicated(block.table)
        keep = [n for n, name in enumerate(block.columns) if facts and self._has(facts, name)]
        rows = block.rows(keep)
        if facts is None:
            _exhaust(rows)
            return
        self._take(facts, [block.columns[n] for n in keep], rows, block.encoding, complete=True)

    def _take(
        self,
        facts: TableFacts,
        columns: Sequence[str],
        rows: Iterable[bytes],
        encoding: str,
        *,
        complete: bool,
    ) -> None:
        if not set(facts.primary_key) <= set(columns):
            raise OldFormatError(f"holds {facts.name} without the key that it has here")
        table = create_text_table(self._connection, facts, columns)
        copy_text_in(self._connection, table, rows, encoding)
        self._made[facts.name] = self._export(table, complete=complete)

    def _export(self, table: ExportedTable, *, complete: bool) -> TableManifest:
        chunks = export_chunks(self._connection, table, self._folder, complete=complete)
        return TableManifest(
            name=table.name,
            columns=table.columns,
            primary_key=table.primary_key,
            row_count=sum(chunk.row_count for chunk in chunks),
            chunks=chunks,
        )

    def _replicated(self, table: str) -> TableFacts | None:
        if not self._catalog.replicates(table):
            self._mismatch(f"table {printable(table)} is not replicated by the catalog")
        elif table not in self._tables:
            self._mismatch(f"the receiver has no table {printable(table)}")
        else:
            return self._tables[table]
        return None

    def _columns_of(self, facts: TableFacts, row: DjangoObject) -> dict[str, str]:
        """Return the columns of an object by field name; the primary key has the empty name."""
        columns = {"": facts.primary_key[0]} if len(facts.primary_key) == 1 else {}
        for field in row.fields:
            column = field if facts.column(field) else f"{field}_id"
            if self._has(facts, column if facts.column(column) else field):
                columns[field] = column
        if len(set(columns.values())) != len(columns):
            raise OldFormatError(f"holds a column of {facts.name} under two names")
        return columns

    def _has(self, facts: TableFacts, column: str) -> bool:
        """Return whether the receiver takes this column from the sender."""
        held, rules = facts.column(column), self._catalog.rules(facts.name)
        if held is None:
            self._mismatch(f"the receiver lacks column {facts.name}.{printable(column)}")
        elif column in rules.receiver_columns or held.generated:
            self._mismatch(f"{facts.name}.{column} is receiver-only, and the archive contains it")
        elif column in rules.column_rules:
            self._mismatch(
                f"{facts.name}.{column} has a column rule ({rules.column_rules[column]}) in the"
                " catalog, and the old system sends it as it is"
            )
        else:
            return True
        return False

    def _mismatch(self, sentence: str) -> None:
        if sentence not in self.mismatches and len(self.mismatches) < _MOST_MISMATCHES:
            self.mismatches.append(sentence)

    def _sequences_of(self, table: str) -> tuple[SequenceValue, ...]:
        """Return sequence values by name; one migration gave both sides the same names."""
        return tuple(
            SequenceValue(column=column.name, last_value=self._sequences[column.sequence[1]])
            for column in self._tables[table].columns
            if column.sequence is not None and column.sequence[1] in self._sequences
        )


def _rows(
    objects: Iterable[DjangoObject], columns: Mapping[str, str], file: str
) -> Iterator[bytes]:
    """Yield the rows of objects that all have the same fields, in batches."""
    fields = [name for name in columns if name]
    expected: frozenset[str] | None = None
    batch = bytearray()
    for number, found in enumerate(objects, start=1):
        if expected is None:
            expected = frozenset(found.fields)
        if found.fields.keys() != expected:
            raise OldFormatError(f"object {number} in it has other fields than the first", file)
        try:
            batch += copy_line((found.pk, *(found.fields[name] for name in fields)))
        except UnicodeEncodeError as error:
            raise OldFormatError(
                f"object {number} in it contains half a character", file
            ) from error
        if len(batch) >= _BATCH_BYTES:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)


def _exhaust(rows: Iterator[bytes]) -> None:
    for _ in rows:
        pass
