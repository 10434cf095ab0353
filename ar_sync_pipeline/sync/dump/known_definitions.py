"""Definitions of the tables that partials do not read: a file in the sender's scratch folder.

The system catalogs show that a definition was written, and not what it was before: ``GRANT`` on a
column, ``SET DEFAULT`` and ``SET STATISTICS`` write it, too. If the file is lost, such a table
counts as altered once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.postgres.table_definitions import TableDefinition
from ar_sync_pipeline.sync.dump.sender_journal_file import locked, read_content

DEFINITIONS_FILE = "ar_sync_definitions.json"
_MOST_OF_A_TABLE = 20


class _DefinitionFrom(BaseModel):
    """The definition of a table in the archives from a snapshot on."""

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    definition: TableDefinition


class _Known(BaseModel):
    """Content of the file: for each table one entry for each change, oldest first."""

    tables: dict[str, tuple[_DefinitionFrom, ...]] = {}

    def at(self, name: str, snapshot_at: datetime) -> TableDefinition | None:
        before = [one for one in self.tables.get(name, ()) if one.snapshot_at <= snapshot_at]
        return before[-1].definition if before else None


def remember_definitions(
    scratch: Path, snapshot_at: datetime, found: Mapping[str, TableDefinition]
) -> None:
    """Record the definitions for an archive in progress where they differ from those before."""
    if not _changed(_read(scratch), snapshot_at, found):
        return
    with locked(scratch):
        known = _read(scratch)
        tables = dict(known.tables)
        for name, definition in _changed(known, snapshot_at, found).items():
            others = [one for one in tables.get(name, ()) if one.snapshot_at != snapshot_at]
            others.append(_DefinitionFrom(snapshot_at=snapshot_at, definition=definition))
            others.sort(key=lambda one: one.snapshot_at)
            tables[name] = tuple(others[-_MOST_OF_A_TABLE:])
        content = _Known(tables=tables).model_dump_json().encode()
        write_atomically(scratch / DEFINITIONS_FILE, content)


def definitions_at(
    scratch: Path, snapshot_at: datetime, names: Collection[str]
) -> dict[str, TableDefinition]:
    """Return the definitions of tables in the archive of a snapshot, as far as known."""
    known = _read(scratch)
    found = {name: known.at(name, snapshot_at) for name in names}
    return {name: definition for name, definition in found.items() if definition is not None}


def _changed(
    known: _Known, snapshot_at: datetime, found: Mapping[str, TableDefinition]
) -> dict[str, TableDefinition]:
    return {name: one for name, one in found.items() if known.at(name, snapshot_at) != one}


def _read(scratch: Path) -> _Known:
    return read_content(scratch / DEFINITIONS_FILE, _Known) or _Known()
