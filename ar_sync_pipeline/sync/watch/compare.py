"""Comparison of two databases, or of an archive and a database, by the tables of the catalog.

Nothing is changed. The rows of an archive are copied into temporary tables of a session at the
database that it is compared with.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from psycopg import sql

from ar_sync_pipeline.archive.chunk_member import decompress_chunk
from ar_sync_pipeline.archive.converted import has_truncated_times
from ar_sync_pipeline.archive.manifest import Chunk, Column, Manifest, TableManifest
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import ArchiveReader, open_archive
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.masking import require_pseudonym_key, set_pseudonym_key
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.merge.held_content import unchanged_chunks
from ar_sync_pipeline.merge.source_tables import awaits_conversion, has_usable_values
from ar_sync_pipeline.merge.source_values import as_stored, sent_values
from ar_sync_pipeline.merge.staging import StagedTable, create_staging, stage_chunk
from ar_sync_pipeline.merge.target_table import (
    TargetTable,
    replicated_tables,
    target_tables,
    with_key,
)
from ar_sync_pipeline.merge.truncated_times import as_truncated
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.digest import probe_digest
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.gate import columns_without_values
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.watch.row_differences import (
    Row,
    TableDifference,
    difference,
    read_rows,
    row_query,
)

_NO_TABLE = "the second has no such table"
_NO_KEY = "the second lacks columns of the key, or has them with another type"
_LEFT_OUT = "this catalog does not name the table"
_UNCONVERTED = (
    "DDL has changed names, types or the key since the last load: the next one converts the stored"
    " values of columns of `rewritten_by_transform`, and then the table can be compared"
)
_ONLY_THERE = "only the second has this table"


def compare_databases(
    first_url: str,
    second_url: str,
    catalog: Catalog,
    *,
    common_columns: bool = False,
    pseudonym_key: str | None = None,
) -> list[TableDifference]:
    """Compare two databases, each in one snapshot; the first with the values that would be sent.

    Args:
        first_url: URL of the first database.
        second_url: URL of the second database.
        catalog: The catalog.
        common_columns: Whether columns that the second lacks are no difference. Columns of another
            type, or computed by one of the two, are one in any case.
        pseudonym_key: Secret of the catalog's pseudonyms.

    Raises:
        SchemaError: No table of either database matches the catalog.
        ArSyncError: A database cannot be used.
    """
    require_pseudonym_key(catalog, pseudonym_key)
    with _snapshot(first_url) as first, _snapshot(second_url) as second:
        set_pseudonym_key(first, pseudonym_key)
        ours = read_tables(first, catalog.schema_name, catalog.replicates)
        theirs = read_tables(second, catalog.schema_name, catalog.replicates)
        if not (ours or theirs):
            raise _nothing_to_compare(catalog, "neither database has a table")
        with default_search_path(first), default_search_path(second):
            found = [
                _in_both(
                    first, second, catalog, facts, theirs[label], common_columns=common_columns
                )
                if label in theirs
                else _uncompared(label, _NO_TABLE)
                for label, facts in ours.items()
            ]
        return found + [_uncompared(label, _ONLY_THERE) for label in theirs if label not in ours]


def _in_both(
    first: Connection,
    second: Connection,
    catalog: Catalog,
    ours: TableFacts,
    theirs: TableFacts,
    *,
    common_columns: bool,
) -> TableDifference:
    held = with_key(theirs, ours.key)
    sent = exported_table(catalog, ours)
    lacking, unlike = _differing(sent.columns, held)
    columns = tuple(column for column in sent.columns if column.name not in lacking | unlike)
    computed = columns_without_values(sent.generated, catalog.rules(ours.name), held)
    if not columns or not {*ours.key} <= {column.name for column in columns}:
        names = _named(sent.columns, lacking | unlike) + computed
        return _uncompared(ours.name, _NO_KEY, names)
    rules = catalog.rules(ours.name)
    columns_differ = _named(sent.columns, unlike if common_columns else lacking | unlike) + computed
    if _awaits_conversion(second, catalog, theirs):
        return _uncompared(ours.name, _UNCONVERTED, columns_differ)
    target = TargetTable(columns, held, rules)
    compared = difference(
        ours.name,
        _rows(first, TargetTable(columns, ours, rules), ours.key, sent.masked("t")),
        _rows(second, target, ours.key),
        columns=columns_differ,
    )
    return replace(compared, stored=_stored(second, target))


def _awaits_conversion(connection: Connection, catalog: Catalog, facts: TableFacts) -> bool:
    target = replicated_tables(catalog, {facts.name: facts})[facts.name]
    return awaits_conversion(connection, target)


def compare_archive(
    archive: Path,
    url: str,
    catalog: Catalog,
    *,
    signing_keys: Collection[bytes],
    common_columns: bool = False,
) -> list[TableDifference]:
    """Compare an archive with a database; for a partial, only the rows that it contains.

    Chunks that a differential complete does not carry whole are compared by their digests.

    Raises:
        CorruptArchiveError: The archive is damaged, or its signature is wrong.
        SchemaError: The archive has no table, and none of the database matches the catalog.
        ArSyncError: The archive or the database cannot be used.
    """
    with (
        connect(url, application="compare") as staging,
        _snapshot(url) as second,
        open_archive(archive) as reader,
    ):
        reader.check_signature(signing_keys)
        manifest = reader.manifest
        theirs = read_tables(second, catalog.schema_name, catalog.replicates)
        if not (manifest.tables or theirs):
            raise _nothing_to_compare(catalog, "the archive has no table, and the database none")
        with default_search_path(staging), default_search_path(second):
            staged = _staged(staging, reader, catalog, theirs)
            found = [
                _with_staged(
                    (staging, second),
                    catalog,
                    manifest,
                    staged[table.name],
                    theirs[table.name],
                    common_columns=common_columns,
                )
                if table.name in staged
                else _unstaged(table, catalog, theirs)
                for table in manifest.tables
            ]
        return found + _only_there(manifest, theirs)


def _with_staged(
    connections: tuple[Connection, Connection],
    catalog: Catalog,
    manifest: Manifest,
    staged: StagedTable,
    theirs: TableFacts,
    *,
    common_columns: bool,
) -> TableDifference:
    """Compare the rows of an archive's table with a database.

    Args:
        connections: The session with the staged rows, and one to the table.
        catalog: The catalog.
        manifest: Manifest of the archive.
        staged: The archive's table.
        theirs: The database's table.
        common_columns: As in `compare_archive`.
    """
    staging, second = connections
    table = staged.manifest
    columns = [column.name for column in staged.target.columns]
    source = sql.SQL("{} AS t").format(staged.relation)
    lacking, unlike = _differing(table.columns, theirs)
    columns_differ = _named(table.columns, unlike if common_columns else lacking | unlike)
    columns_differ += columns_without_values(table.generated, staged.target.rules, theirs)
    if _awaits_conversion(second, catalog, theirs):
        return _uncompared(table.name, _UNCONVERTED, columns_differ)
    compared = difference(
        table.name,
        read_rows(
            staging,
            row_query(source, columns, table.primary_key, as_stored(staged.target, {}, "t")),
        ),
        _rows(
            second,
            staged.target,
            table.primary_key,
            as_truncated(staged.target, "t") if has_truncated_times(manifest) else None,
            within=_carried_ranges(staged),
        ),
        columns=columns_differ,
        partial=not staged.speaks_for_all_rows,
    )
    problem = _not_carried_problem(second, staged, manifest) or ""
    return replace(compared, problem=problem, stored=_stored(second, staged.target))


def _carried_ranges(staged: StagedTable) -> sql.Composable:
    """Return the condition that a row ``t`` is in no chunk that the archive does not carry."""
    if staged.wholly_unchanged:
        return sql.SQL("false")
    return staged.outside_unchanged_chunks() if staged.skipped else sql.SQL("true")


def _not_carried_problem(
    connection: Connection, staged: StagedTable, manifest: Manifest
) -> str | None:
    """Return what is wrong with the chunks that the archive does not carry; None if nothing is."""
    if not staged.skipped:
        return None
    chunks, target = len(staged.skipped), staged.target
    known = not target.transformed or has_usable_values(connection, target)
    if manifest.digest_probe != probe_digest(connection) or not known:
        return f"{chunks} chunks that the archive does not carry cannot be compared here"
    different = staged.skipped - unchanged_chunks(connection, target, staged.manifest)
    if not different:
        return None
    return f"{len(different)} of {chunks} chunks that the archive does not carry have other rows"


def _only_there(manifest: Manifest, theirs: Mapping[str, TableFacts]) -> list[TableDifference]:
    if manifest.kind is not ArchiveKind.COMPLETE:
        return []
    sent = {table.name for table in manifest.tables}
    return [_uncompared(label, _ONLY_THERE) for label in theirs if label not in sent]


@contextmanager
def _snapshot(url: str) -> Iterator[Connection]:
    with ExitStack() as stack:
        connection = stack.enter_context(connect(url, application="compare"))
        stack.enter_context(connection.transaction())
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


def _nothing_to_compare(catalog: Catalog, what: str) -> SchemaError:
    return SchemaError(
        f"{what} that matches {', '.join(catalog.tables)} in schema {catalog.schema_name}, so"
        " nothing can be compared",
        remedy="check the databases' names in the URLs and the catalog (--catalog, else"
        " AR_SYNC_CATALOG)",
    )


def _differing(sent: Sequence[Column], held: TableFacts) -> tuple[set[str], set[str]]:
    """Return the columns that the second lacks, and those that it defines differently."""
    there = {column.name: held.column(column.name) for column in sent}
    unlike = {
        column.name
        for column in sent
        if (found := there[column.name]) is not None
        and (found.type != column.type or found.generated)
    }
    return {name for name, found in there.items() if found is None}, unlike


def _named(sent: Sequence[Column], names: Collection[str]) -> tuple[str, ...]:
    return tuple(column.name for column in sent if column.name in names)


def _rows(
    connection: Connection,
    table: TargetTable,
    key: Sequence[str],
    masked: Mapping[str, sql.Composable] | None = None,
    *,
    within: sql.Composable | None = None,
) -> Generator[Row]:
    """Return the rows of a table with the sender's values.

    Values that the transform has changed in place are read from their copy.

    Args:
        connection: Connection to the database.
        table: The table.
        key: Columns of its key.
        masked: By column, the expression to read instead, as the sender does.
        within: Condition on the rows ``t`` to read; None: all.
    """
    columns = [column.name for column in table.columns]
    source = sql.SQL("{} AS t").format(table.rows)
    values = as_stored(table, masked or {}, "t")
    if _stored(connection, table):
        source, sent = sent_values(table)
        values |= sent
    if within is not None:
        source = sql.SQL("{} WHERE {}").format(source, within)
    return read_rows(connection, row_query(source, columns, key, values))


def _stored(connection: Connection, table: TargetTable) -> tuple[str, ...]:
    """Return the columns of which the sender's stored values are compared."""
    usable = table.transformed and has_usable_values(connection, table)
    return table.transformed if usable else ()


def _staged(
    connection: Connection,
    reader: ArchiveReader,
    catalog: Catalog,
    theirs: Mapping[str, TableFacts],
) -> dict[str, StagedTable]:
    """Return the archive's rows in temporary tables, by label."""
    complete = reader.manifest.kind is ArchiveKind.COMPLETE
    targets = {
        label: _without_unlike(target)
        for label, target in target_tables(catalog, theirs, reader.manifest.tables).items()
    }
    staged: dict[str, StagedTable] = {}
    members: dict[str, tuple[StagedTable, Chunk]] = {}
    for number, table in enumerate(_comparable(reader.manifest, targets)):
        relation = sql.Identifier("pg_temp", f"ar_sync_compare_{number}")
        others = frozenset(c.member for c in table.chunks if c.is_change or not c.carried)
        one = StagedTable(targets[table.name], table, relation, complete, others)
        create_staging(connection, one)
        staged[table.name] = one
        members |= {chunk.member: (one, chunk) for chunk in one.differing}
    for member, stream in reader.members():
        if member in members:
            one, chunk = members[member]
            stage_chunk(connection, one, chunk, decompress_chunk(stream, chunk))
    return staged


def _without_unlike(target: TargetTable) -> TargetTable:
    """Return a target without columns of another type, which the archive's bytes do not fit."""
    _, unlike = _differing(target.columns, target.facts)
    held = tuple(column for column in target.facts.columns if column.name not in unlike)
    shared = tuple(column for column in target.columns if column.name not in unlike)
    return replace(target, columns=shared, facts=replace(target.facts, columns=held))


def _unstaged(
    table: TableManifest, catalog: Catalog, theirs: Mapping[str, TableFacts]
) -> TableDifference:
    """Return why the rows of an archive's table cannot be compared."""
    if not catalog.replicates(table.name):
        return _uncompared(table.name, _LEFT_OUT)
    if table.name not in theirs:
        return _uncompared(table.name, _NO_TABLE)
    lacking, unlike = _differing(table.columns, theirs[table.name])
    return _uncompared(table.name, _NO_KEY, _named(table.columns, lacking | unlike))


def _comparable(manifest: Manifest, targets: Mapping[str, TargetTable]) -> Iterator[TableManifest]:
    """Yield the tables whose key columns exist in the database."""
    for table in manifest.tables:
        target = targets.get(table.name)
        if target is not None and target.columns and {*table.primary_key} <= {*target.shared}:
            yield table


def _uncompared(label: str, problem: str, columns: tuple[str, ...] = ()) -> TableDifference:
    return TableDifference(label, {}, {}, columns, problem)
