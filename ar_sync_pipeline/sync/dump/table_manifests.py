"""Rows of the tables as members of an archive: all of a complete, the chosen ones of a partial."""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.archive.manifest import Chunk, TableManifest
from ar_sync_pipeline.archive.table_manifest import MOST_UNIQUE_KEYS
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.export.dump_session import DumpSession
from ar_sync_pipeline.export.media_references import media_references
from ar_sync_pipeline.export.selection import (
    Selection,
    reads_watermark,
    reread_tables,
    select_rows,
    untracked_tables,
)
from ar_sync_pipeline.export.source_tables import exported_table
from ar_sync_pipeline.export.table_export import (
    chunk_selected_rows,
    chunk_whole_table,
    write_chunk,
)
from ar_sync_pipeline.export.whole_tables import WholeTables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder
from ar_sync_pipeline.sync.dump.format_limits import describing
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest


def whole_tables(
    session: DumpSession, catalog: Catalog, writer: WholeTables
) -> tuple[list[TableManifest], dict[str, int]]:
    """Return the tables of a complete, and the number of misjudged chunks by table."""
    tables = session.tables
    largest_first = sorted(tables, key=lambda name: -tables[name].size_bytes)
    with session.reading_rows():
        written = writer.write([exported_table(catalog, tables[name]) for name in largest_first])
    manifests = [
        _manifest(
            session, catalog, name, written[name].chunks, absent_keys=written[name].absent_keys
        ).model_copy(update={"changed_keys": written[name].changed_keys})
        for name in tables
    ]
    return manifests, {name: one.misjudged for name, one in written.items() if one.misjudged}


class PartialRows:
    """The rows of a partial: chosen, then written.

    Attributes:
        since: Point from which every change is exported, if ids can be compared with it.
        selection: Criteria of the changed rows.
        redefined: Tables whose unchanged rows may have other values than before; of those that are
            not read, only where they have.
        uncovered_before: Tables of which the receiver may lack changes at that point.
    """

    def __init__(
        self,
        session: DumpSession,
        catalog: Catalog,
        build: BuildFolder,
        request: PartialRequest,
        selection: Selection,
        redefined: frozenset[str],
        uncovered_before: frozenset[str],
    ) -> None:
        self.since = selection.since
        self._selection = selection
        self._session = session
        self._catalog = catalog
        self._build = build
        self._request = request
        self._redefined = redefined
        self._uncovered_before = uncovered_before
        self._whole: frozenset[str] = frozenset()
        self._references: set[str] = set()

    def select(self) -> None:
        """Choose the rows."""
        session = self._session
        with session.reading_rows():
            self._whole = select_rows(
                session.connection,
                self._catalog,
                session.tables,
                session.keys,
                self._selection,
                self._redefined,
            )

    def write(self) -> list[TableManifest]:
        """Write the chosen rows; tables without any are left out, unless they are whole."""
        found = (self._write_table(name) for name in self._session.tables)
        with self._session.reading_rows():
            return [manifest for manifest in found if manifest.chunks or manifest.whole]

    @property
    def unread(self) -> frozenset[str]:
        """Tables of which it may lack changes itself."""
        tables = self._session.tables
        found = (name for name in tables if not reads_watermark(self._catalog, tables[name]))
        return frozenset(found) - self._whole

    @property
    def made_up(self) -> frozenset[str]:
        """Tables of which the receiver may have lacked changes, and does not after it."""
        return self._whole & self._uncovered_before

    @property
    def uncovered(self) -> tuple[str, ...] | None:
        """Tables of which the receiver may lack changes; None: it may be any."""
        if self.since is None:
            return None
        return tuple(name for name in self._session.tables if not self._covers(name))

    @property
    def described(self) -> dict[str, object]:
        """Fields of the dump in addition to its tables."""
        return {
            "window": self._request.window,
            "changed_since": self._request.changed_at.start,
            "look_back": self._selection.look_back,
            "media_references": tuple(sorted(self._references)),
            "uncovered": self.uncovered,
            "redefined": tuple(sorted(self._redefined - self._whole)),
            "untracked_tables": untracked_tables(
                self._catalog, self._session.tables, self._selection, self._redefined
            ),
            "reread_tables": reread_tables(self._catalog, self._session.tables, self._selection),
        }

    def _write_table(self, name: str) -> TableManifest:
        connection, whole = self._session.connection, name in self._whole
        table = exported_table(self._catalog, self._session.tables[name])
        keys = None if whole else self._session.keys.get(name)
        if whole:
            queries = chunk_whole_table(connection, table)
        else:
            queries = chunk_selected_rows(connection, table, keys) if keys is not None else []
        chunks = [
            write_chunk(connection, self._build.members, table, number, query)
            for number, query in enumerate(queries)
        ]
        if chunks:
            rules = self._catalog.rules(name)
            self._references.update(media_references(connection, table, rules, keys))
        manifest = _manifest(self._session, self._catalog, name, chunks, whole=whole)
        return manifest.model_copy(update={"covers_since": self._covers(name)})

    def _covers(self, name: str) -> bool:
        """Return whether the receiver will lack no change of a table, if it lacked none before.

        What it lacks, such as of a table that was too large before, comes with the next complete.
        """
        if self.since is None or name in self._whole:
            return self.since is not None
        is_read = reads_watermark(self._catalog, self._session.tables[name])
        return is_read and name not in self._uncovered_before


def _manifest(
    session: DumpSession,
    catalog: Catalog,
    name: str,
    chunks: Sequence[Chunk],
    *,
    whole: bool = False,
    absent_keys: Chunk | None = None,
) -> TableManifest:
    facts = session.tables[name]
    table = exported_table(catalog, facts)
    with describing(f"table {name}"):
        return TableManifest(
            name=name,
            columns=table.columns,
            primary_key=table.primary_key,
            row_count=sum(chunk.row_count for chunk in chunks),
            chunks=tuple(chunks),
            absent_keys=absent_keys,
            sequences=session.sequences[name],
            whole=whole,
            unique_keys=_unique_keys(facts, catalog.rules(name)),
            column_rules=catalog.rules(name).column_rules,
            generated=table.generated,
        )


def _unique_keys(facts: TableFacts, rules: TableRules) -> tuple[str, ...]:
    """Return the definitions of the unique keys that the sent rows have.

    One that reads an excluded column says nothing of them, and may have a value of it as a literal.
    """
    hidden = {c.name for c in facts.columns if rules.emptied(c.name)}
    hidden |= {c.name for c in facts.columns if not hidden.isdisjoint(c.computed_from)}
    shown = (u for u in facts.unique_keys if u.valid and hidden.isdisjoint(u.uses))
    # First those of the whole table: the others are of single partitions, of which there are many.
    ordered = sorted(shown, key=lambda unique: (unique.predicate is not None, unique.definition))
    definitions = dict.fromkeys(unique.definition for unique in ordered)
    return tuple(sorted([*definitions][:MOST_UNIQUE_KEYS]))
