"""Facts about the sender's database, read before a catalog is proposed for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.postgres.checks.column_statistics import TableStatistics, read_statistics
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import SchemaError
from ar_sync_pipeline.postgres.migrations import migrated_apps
from ar_sync_pipeline.postgres.schema_facts import read_tables
from ar_sync_pipeline.sync.setup.changed_at_choice import usual_changed_at
from ar_sync_pipeline.sync.setup.table_choice import (
    TableChoice,
    choose_tables,
    django_apps,
    main_schema,
)
from ar_sync_pipeline.sync.watch.media_columns import MediaColumn, find_media_columns

_RELATIONS = """
SELECT n.nspname, c.relname,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      ELSE 'foreign table' END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('v', 'm', 'f')
   AND n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True)
class SenderFindings:
    """Facts about the sender's database.

    Attributes:
        database: Name of the database.
        schema: Schema whose tables have labels without a dot.
        choice: Which tables are replicated.
        statistics: Statistics of the replicated tables.
        media: By label, the columns that name media files.
        apps: Apps of a Django database.
        apps_guessed: Whether the role may not read which apps have migrations.
        others: Views and foreign tables, each with its kind.
        usual_changed_at: Name of the column that moves in most replicated tables; empty: none.
    """

    database: str
    schema: str
    choice: TableChoice
    statistics: Mapping[str, TableStatistics]
    media: Mapping[str, list[MediaColumn]]
    apps: tuple[str, ...]
    apps_guessed: bool
    others: tuple[str, ...]
    usual_changed_at: str


def examine_sender(connection: Connection, media_folder: Path | None) -> SenderFindings:
    """Read the sender's system catalogs and statistics.

    Args:
        connection: Connection to the sender's database.
        media_folder: Media folder; None: media columns are not searched.

    Raises:
        SchemaError: The database has no table.
    """
    schema = main_schema(connection)
    tables = read_tables(connection, schema, lambda _: True)
    if not tables:
        raise SchemaError(
            f"the database {connection.info.dbname} has no table",
            remedy="check the database's name in AR_SYNC_SENDER_DATABASE_URL",
        )
    choice = choose_tables(connection, schema, tables)
    statistics = read_statistics(connection, choice.replicated.values())
    media = {
        label: find_media_columns(connection, table, statistics[label], media_folder)
        for label, table in choice.replicated.items()
        if media_folder is not None
    }
    others = tuple(
        f"{kind} {label_of(space, name, schema)}"
        for space, name, kind in connection.execute(_RELATIONS)
    )
    migrated = migrated_apps(connection, schema)
    made = {label: tables[label] for label in tables if label in choice.applications}
    return SenderFindings(
        connection.info.dbname,
        schema,
        choice,
        statistics,
        media,
        django_apps(made, migrated),
        migrated is None,
        others,
        usual_changed_at(choice.replicated.values()),
    )
