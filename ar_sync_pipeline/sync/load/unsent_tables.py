"""Tables that the catalog replicates and that the sender no longer sends.

Production may drop or rename a table before the receiver does. Archives then contain nothing about
the receiver's rows of it, and no load changes these, unless rows to which they refer are deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import sql

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import read_sent_tables
from ar_sync_pipeline.postgres.session_settings import default_search_path
from ar_sync_pipeline.postgres.sql_parts import exists
from ar_sync_pipeline.visible_text import names_in_words

# Rows of the others are hidden from this role.
_IS_READABLE = """
has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
AND NOT row_security_active(c.oid)
"""
_TABLES = """
SELECT n.nspname, c.relname
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
   AND {}
 ORDER BY n.nspname, c.relname
"""


def unsent_tables(connection: Connection, catalog: Catalog) -> tuple[str, ...]:
    """Return names of replicated tables with rows that the sender no longer sends.

    An empty table is not reported: the receiver may have been migrated first.
    """
    sent = read_sent_tables(connection)
    if sent is None:
        return ()
    return tuple(
        tables_with_rows(connection, catalog, lambda n: catalog.replicates(n) and n not in sent)
    )


def tables_with_rows(
    connection: Connection, catalog: Catalog, wanted: Callable[[str], bool]
) -> list[str]:
    """Return names of the wanted tables that have rows which this role may read."""
    tables = {
        label: sql.Identifier(schema, name)
        for schema, name in connection.execute(_TABLES.format(_IS_READABLE)).fetchall()
        if wanted(label := label_of(schema, name, catalog.schema_name))
    }
    with default_search_path(connection):
        return [label for label, table in tables.items() if exists(connection, table)]


def hidden_tables(connection: Connection, catalog: Catalog) -> list[str]:
    """Return names of replicated tables that have pages, and rows which this role may not read."""
    condition = (
        f"NOT ({_IS_READABLE}) AND (pg_catalog.pg_relation_size(c.oid) > 0"
        " OR EXISTS (SELECT FROM pg_catalog.pg_partition_tree(c.oid) AS p"
        " WHERE p.isleaf AND pg_catalog.pg_relation_size(p.relid) > 0))"
    )
    return [
        label
        for schema, name in connection.execute(_TABLES.format(condition)).fetchall()
        if catalog.replicates(label := label_of(schema, name, catalog.schema_name))
    ]


def unsent_in_words(tables: Sequence[str]) -> str:
    """Return what an operator should know of such tables, as a clause; empty without any."""
    if not tables:
        return ""
    return (
        f"the sender does not send {names_in_words(tables)}, so that these rows are no longer"
        " updated, only deleted or cleared with rows to which they refer: migrate the"
        " receiver as the sender was; if the sender has the table again, its next complete brings"
        " it; name what only the receiver has in `receiver_tables` of the catalog"
    )
