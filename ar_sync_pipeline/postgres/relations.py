"""Relations of a database by name: tables, views, sequences, including unreadable ones."""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection

_RELATIONS = """
SELECT n.nspname, c.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""

_NO_TABLES = """
SELECT n.nspname, c.relname,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                      WHEN 'f' THEN 'foreign table' ELSE 'partition' END
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (c.relkind IN ('v', 'm', 'f') OR c.relkind IN ('r', 'p') AND c.relispartition)
   AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""


def relations_in_place_of_tables(connection: Connection, catalog: Catalog) -> dict[str, str]:
    """Return what is no table, of what the catalog's patterns match: its kind by label."""
    labelled = (
        (label_of(schema, name, catalog.schema_name), kind)
        for schema, name, kind in connection.execute(_NO_TABLES)
    )
    return {label: kind for label, kind in labelled if catalog.replicates(label)}


def patterns_without_relation(
    connection: Connection, catalog: Catalog, patterns: Sequence[str]
) -> list[str]:
    """Return the patterns of a catalog that match nothing in the database."""
    if not patterns:
        return []
    labels = [
        label_of(schema, name, catalog.schema_name)
        for schema, name in connection.execute(_RELATIONS)
    ]
    return [
        pattern
        for pattern in patterns
        if not any(catalog.matches_any((pattern,), label) for label in labels)
    ]
