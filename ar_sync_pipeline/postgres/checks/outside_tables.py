"""Rights on tables outside the catalog that foreign keys join with replicated ones.

A load reads them: before it deletes a row, the tables that refer to it; after it has written a row
without the server's checks, the tables that it refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from psycopg import sql

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.acting_role import acting_role
from ar_sync_pipeline.postgres.checks.findings import Finding
from ar_sync_pipeline.postgres.checks.named_schemas import RELATIONS
from ar_sync_pipeline.postgres.checks.rights import (
    hidden_rows,
    lacking_right,
    role_script,
    usage_grant,
)
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts


def outside_findings(
    connection: Connection, catalog: Catalog, tables: Iterable[TableFacts], *, verifies: bool
) -> Iterator[Finding]:
    """Yield what keeps this connection's role from reading rows of tables outside the catalog.

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
    found = connection.execute(_OUTSIDE, arguments).fetchall()
    for schema, name, whole, columns, policies in found:
        label = label_of(schema, name, catalog.schema_name)
        grant = usage_grant(connection, schema)
        if grant is not None:
            yield lacking_right(connection, f"schema {schema}", "USAGE", grant, script)
        if whole or columns:
            subject = f"table {label}" if whole else f"column {', '.join(columns)} of table {label}"
            grant = _select_grant(connection, (schema, name), () if whole else columns)
            yield lacking_right(connection, subject, "SELECT", grant, script)
        if policies is not None:
            yield hidden_rows(connection, label, policies or ["none: every row is hidden"])


def _select_grant(
    connection: Connection, place: tuple[str, str], columns: Sequence[str]
) -> sql.Composed:
    listed = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    return sql.SQL("GRANT SELECT{} ON {} TO {}").format(
        listed if columns else sql.SQL(""),
        sql.Identifier(*place),
        acting_role(connection),
    )


# The role script of the receiver has the same query. A key that is NOT VALID may be so on both
# servers: it is not verified. As ar_sync_pipeline/merge/leaf_references.py does it, a partition is
# read through its partitioned table if the role may read only that one: its policies count then.
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
         FILTER (WHERE NOT has_column_privilege(c.oid, a.attnum, 'SELECT')),
       CASE WHEN row_security_active(c.oid) THEN
         ARRAY(SELECT polname FROM pg_policy WHERE polrelid = c.oid ORDER BY polname) END
  FROM outside o
  JOIN pg_class l ON l.oid = o.oid
  LEFT JOIN pg_class r
    ON r.oid = pg_partition_root(l.oid)
   AND has_schema_privilege(r.relnamespace, 'USAGE') AND has_table_privilege(r.oid, 'SELECT')
   AND NOT (has_schema_privilege(l.relnamespace, 'USAGE') AND has_table_privilege(l.oid, 'SELECT'))
  JOIN pg_class c ON c.oid = coalesce(r.oid, l.oid)
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a
    ON a.attrelid = c.oid AND c.oid = l.oid AND a.attnum = ANY (o.columns)
 WHERE l.oid NOT IN (SELECT oid FROM relation)
 GROUP BY n.nspname, c.oid, c.relname
 ORDER BY n.nspname, c.relname
""").format(relations=RELATIONS)
