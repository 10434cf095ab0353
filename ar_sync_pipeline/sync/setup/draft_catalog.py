"""A proposed catalog for any database, from the system catalogs and their statistics.

Rows are read only if a media folder is given: the first rows of tables with text columns. Of
Django's list of migrations the names of the apps are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ar_sync_pipeline.catalog.draft import Draft, ListedTable
from ar_sync_pipeline.postgres.checks.column_statistics import TableStatistics
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.sync.setup.draft_section import WATERMARK_LIMIT_MB, draft_section
from ar_sync_pipeline.sync.setup.personal_columns import Kind
from ar_sync_pipeline.sync.setup.personal_rules import (
    JoinedColumns,
    needed_columns,
    personal_by_table,
)
from ar_sync_pipeline.sync.setup.sender_findings import SenderFindings, examine_sender
from ar_sync_pipeline.sync.setup.table_choice import (
    is_bookkeeping,
    tables_of_extensions,
    why_nameless,
)
from ar_sync_pipeline.sync.watch.database_access import limit_waits
from ar_sync_pipeline.sync.watch.media_columns import endings


def draft_catalog(
    sender_url: str,
    receiver_url: str | None = None,
    media_folder: Path | None = None,
    name: str | None = None,
) -> Draft:
    """Propose a catalog; both databases are only read.

    Args:
        sender_url: URL of the sender's database.
        receiver_url: URL of the receiver's database; None: not compared.
        media_folder: Media folder of the sender; None: media columns are not searched.
        name: Name of the catalog; None: name of the sender's database.

    Raises:
        SchemaError: The sender's database has no table.
        ArSyncError: A database cannot be used.
    """
    with connect(sender_url, application="catalog draft") as connection:
        limit_waits(connection)
        sender = examine_sender(connection, media_folder)
        held = _Held.read(receiver_url, sender.schema) if receiver_url is not None else None
        return _draft(connection, sender, held, name or sender.database)


@dataclass(frozen=True)
class _Held:
    """What the receiver has.

    Attributes:
        tables: Tables by label, without those of extensions, which nobody else may write.
        needed: By label, columns without whose values the table refuses rows.
    """

    tables: dict[str, TableFacts]
    needed: dict[str, set[str]]

    @classmethod
    def read(cls, receiver_url: str, schema: str) -> Self:
        with connect(receiver_url, application="catalog draft") as connection:
            limit_waits(connection)
            own = tables_of_extensions(connection)
            tables = read_tables(connection, schema, lambda _: True)
            tables = {label: table for label, table in tables.items() if table.place not in own}
            needed = {label: needed_columns(connection, table) for label, table in tables.items()}
        return cls(tables, needed)


def _draft(
    connection: Connection,
    sender: SenderFindings,
    held: _Held | None,
    name: str,
) -> Draft:
    there = held.tables if held is not None else None
    by_schema: dict[str, list[ListedTable]] = defaultdict(list)
    for label, table in sender.choice.replicated.items():
        by_schema[table.schema].append(ListedTable(label, _about(table, sender.statistics[label])))
    joins = JoinedColumns(sender.choice.replicated)
    personal = personal_by_table(sender.choice.replicated, joins)
    sections = tuple(
        section
        for label, table in sender.choice.replicated.items()
        if (
            section := draft_section(
                connection,
                sender,
                table,
                there,
                personal[label],
                joins,
                held.needed[label]
                if held is not None and label in held.tables
                else needed_columns(connection, table),
            )
        )
        is not None
    )
    known = {*sender.choice.replicated, *sender.choice.excluded, *sender.choice.nameless}
    receiver_only = tuple(
        ListedTable(label)
        for label, table in (there or {}).items()
        if label not in known
        and not is_bookkeeping(table.relname)
        and not why_nameless(label, table, sender.schema)
    )
    apps = sender.apps
    return Draft(
        name=name,
        schema=sender.schema,
        notes=tuple(_notes(sender, there, personal)),
        tables={schema: tuple(listed) for schema, listed in by_schema.items()},
        exclude=tuple(ListedTable(*one) for one in sender.choice.excluded.items()),
        receiver_tables=receiver_only,
        django_app=apps[0] if len(apps) == 1 and not sender.apps_guessed else None,
        django_apps=apps,
        sections=sections,
    )


def _notes(
    sender: SenderFindings,
    held: Mapping[str, TableFacts] | None,
    personal: Mapping[str, Mapping[str, Kind]],
) -> Iterator[str]:
    yield (
        f"Proposed by `ar-sync catalog draft` for the database {sender.database}; read it, then"
        " remove the # of what you choose. docs/catalog.md explains every key."
    )
    yield (
        f"Tables up to {WATERMARK_LIMIT_MB:,} MB (watermark_limit_mb) are also read for changes"
        " without a new time stamp; larger ones are named below."
    )
    yield _personal_note([kind for kinds in personal.values() for kind in kinds.values()])
    if sender.others:
        yield f"Not replicated, since they are no tables: {', '.join(sender.others)}."
    for label, why in sender.choice.nameless.items():
        yield f"Not replicated, since {why}: {label}."
    found = endings(column for columns in sender.media.values() for column in columns)
    if found:
        yield (
            "Files that a row names need no pattern; for others, and for a new content under the"
            f" same name, set AR_SYNC_MEDIA_PATTERNS={','.join(found)}"
        )
    if held is None:
        yield "The receiver's database was not read: AR_SYNC_RECEIVER_DATABASE_URL is not set."


def _personal_note(kinds: list[Kind]) -> str:
    if not kinds:
        return (
            "No column looks personal or secret by name and type. Names do not show everything:"
            " look through all of them."
        )
    free = kinds.count(Kind.FREE_TEXT)
    count = len(kinds) - free
    found = "1 column looks" if count == 1 else f"{count} columns look"
    found += " personal or secret by name and type"
    found += f"; {free} with free text may contain personal data" if free else ""
    return (
        f"{found}. The sections of their tables name them. Names do not show everything: look"
        " through the others, too, and decide before the first complete which columns may leave the"
        " sender. Columns that are nullable or have a default are proposed for `exclude`, NOT NULL"
        " columns without a default for `mask`."
    )


def _about(table: TableFacts, statistics: TableStatistics) -> str:
    size = f"{table.size_mb:,.1f} MB, "
    size += (
        "not analyzed" if statistics.row_count is None else f"about {statistics.row_count:,} rows"
    )
    parts = [
        f"key {', '.join(table.key)}" if table.key else "no key: sent whole each time",
        size,
    ]
    if statistics.partition_count:
        parts.append(f"{statistics.partition_count} partitions")
    return "; ".join(parts)
