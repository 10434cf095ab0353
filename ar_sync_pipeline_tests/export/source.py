"""A sender's database that is dumped without Dagster."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from ar_sync_pipeline.archive.manifest import TableManifest, Watermark, Window
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.sync.dump.build_folder import open_build
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete, dump_partial
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest, TableDump
from ar_sync_pipeline_tests.fix_sites import execute


def now() -> datetime:
    return datetime.now(UTC)


def catalog(**rules: object) -> Catalog:
    """Return a catalog of the tables ``t_*``; keyword arguments are its fields."""
    return Catalog.model_validate({"name": "export", "tables": ["t_*"], **rules})


@dataclass
class Source:
    """The sender's side of a test."""

    url: str
    folder: Path
    catalog: Catalog = field(default_factory=catalog)
    limit_seconds: float = 30.0
    pseudonym_key: str | None = None

    @property
    def database(self) -> SenderDatabase:
        return SenderDatabase(self.url, self.catalog, now, self.limit_seconds, self.pseudonym_key)

    def run(self, *statements: str) -> None:
        execute(self.url, *statements)

    def complete(self, since: Watermark | None = None) -> TableDump:
        build = open_build(self.folder, uuid4().hex)
        return dump_complete(self.database, build, CompleteRequest(since))

    def partial(self, since: Watermark | None, window: Window | None = None) -> TableDump:
        """Dump what changed since a watermark; the window alone is empty unless given."""
        build = open_build(self.folder, uuid4().hex)
        past = now() - timedelta(days=3650)
        window = window or Window(start=past, end=past + timedelta(minutes=5))
        request = PartialRequest(window, timedelta(minutes=5), since)
        return dump_partial(self.database, build, request)

    def session(self, *statements: str) -> psycopg.Connection[tuple[object, ...]]:
        """Return another session, in a transaction that has run statements."""
        connection = psycopg.connect(self.url, application_name="migration")
        for statement in statements:
            connection.execute(statement.encode())
        return connection


def table(dump: TableDump, name: str) -> TableManifest | None:
    return next((t for t in dump.tables if t.name == name), None)


def row_counts(dump: TableDump) -> dict[str, int]:
    return {t.name: t.row_count for t in dump.tables}


def whole_tables(dump: TableDump) -> set[str]:
    return {t.name for t in dump.tables if t.whole}
