"""Rights on tables outside the catalog that foreign keys join with replicated ones.

A load reads them: before it deletes a row, the tables that refer to it; after it has written a row
without the server's checks, the tables that it refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding
from ar_sync_pipeline.postgres.checks.named_schemas import RELATIONS
from ar_sync_pipeline.postgres.checks.rights import lacking_right, role_script, usage_grant
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts


def outside_findings(
    connection: Connection, catalog: Catalog, tables: Iterable[TableFacts], *, verifies: bool
) -> Iterator[Finding]:
    """Yield the rights that this connection's role lacks on tables outside the catalog.

    Args:
        tables: Facts of the replicated tables.
        verifies: Whether loads verify foreign keys themselves.
    """
    places = [facts.place for facts in tables]
    arguments = {
        "schemas": [schema for schema, _ in places],
        "names": [name for _, name in places],
        "verifies": verifies,
    }
    script = role_script("receiver")
    role = sql.Identifier(connection.info.user)
    for schema, name, whole, columns in connection.execute(_OUTSIDE, arguments).fetchall():
        subject = f"table {label_of(schema, name, catalog.schema_name)}"
        grant = usage_grant(connection, schema)
        if grant is not None:
            yield lacking_right(connection, f"schema {schema}", "USAGE", grant, script)
        if whole or columns:
            listed = sql.SQL(", ").join(map(sql.Identifier, columns or ()))
            grant = sql.SQL("GRANT SELECT{} ON {} TO {}").format(
                sql.SQL("") if whole else sql.SQL(" ({})").format(listed),
                sql.Identifier(schema, name),
                role,
            )
            if not whole:
                subject = f"column {', '.join(columns)} of {subject}"
            yield lacking_right(connection, subject, "SELECT", grant, script)


# The role script of the receiver has the same query. What a role may read of a partitioned table it
# may read of its partitions. A key that is NOT VALID may be so on both servers: it is not verified.
_OUTSIDE = sql.SQL("""
WITH RECURSIVE {relations},
key AS (
  SELECT * FROM pg_constraint WHERE contype = 'f' AND conparentid = 0),
outside AS (
  SELECT conrelid AS oid, NULL::int2[] AS columns
    FROM key
   WHERE confrelid IN (SELECT oid FROM relation)
   UNION ALL
  SELECT confrelid, confkey
    FROM key
   WHERE conrelid IN (SELECT oid FROM relation) AND convalidated
     AND (%(verifies)s OR EXISTS (SELECT FROM pg_class
                                   WHERE oid IN (conrelid, confrelid) AND relispartition)))
SELECT n.nspname, c.relname,
       bool_or(o.columns IS NULL AND NOT has_table_privilege(c.oid, 'SELECT')),
       array_agg(DISTINCT a.attname)
         FILTER (WHERE NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))
  FROM outside o
  JOIN pg_class c ON c.oid = o.oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (o.columns)
 WHERE c.oid NOT IN (SELECT oid FROM relation)
   AND has_table_privilege(pg_partition_root(c.oid), 'SELECT') IS NOT TRUE
 GROUP BY n.nspname, c.relname
 ORDER BY n.nspname, c.relname
""").format(relations=RELATIONS)
