"""The enums, domains and composite types that tables are made of."""

from __future__ import annotations

from collections.abc import Mapping

from ar_sync_pipeline.archive.manifest import TypeDefinition
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts


def read_types(
    connection: Connection, tables: Mapping[str, TableFacts]
) -> tuple[TypeDefinition, ...]:
    """Describe every type that columns of these tables use, directly or within, by name."""
    names = [facts.relation.as_string(connection) for facts in tables.values()]
    rows = connection.execute(_TYPES, {"tables": names}).fetchall()
    return tuple(
        TypeDefinition(name=name, kind=kind, parts=tuple(parts), base=base or "")
        for name, kind, parts, base in rows
    )


_TYPES = """
WITH RECURSIVE part AS (
  SELECT a.atttypid AS type
    FROM pg_attribute a
   WHERE a.attrelid = ANY (%(tables)s::regclass[]::oid[]) AND a.attnum > 0
     AND NOT a.attisdropped
  UNION
  SELECT x.type
    FROM part p
    JOIN pg_type t ON t.oid = p.type
   CROSS JOIN LATERAL (
     SELECT t.typelem AS type WHERE t.typcategory = 'A' AND t.typelem <> 0
     UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
     UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
     UNION ALL SELECT a.atttypid FROM pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
                  AND NOT a.attisdropped) AS x)
SELECT format_type(t.oid, NULL),
       CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'composite' END,
       CASE t.typtype
         WHEN 'e' THEN ARRAY(SELECT e.enumlabel::text FROM pg_enum e
                              WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
         WHEN 'd' THEN ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k
                              WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY 1)
                       || CASE WHEN t.typnotnull THEN ARRAY['NOT NULL'] ELSE ARRAY[]::text[] END
         ELSE ARRAY(SELECT format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod))
                      FROM pg_attribute a
                     WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
                     ORDER BY a.attnum)
       END,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END
  FROM part p
  JOIN pg_type t ON t.oid = p.type
 WHERE t.typtype IN ('e', 'd', 'c')
 ORDER BY 1
"""
