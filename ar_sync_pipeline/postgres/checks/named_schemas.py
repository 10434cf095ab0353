"""Schemas that the statements of a dump or a load name because of what keys are made of.

A partial compares keys and references with their own operators. A merge computes the elements of a
unique index, and the generated columns in it, by their printed expressions, and compares them with
the index's own operators. A staging table has the collations of its target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

_SCHEMA = re.compile(r'(?:OPERATOR\()?("(?:[^"]|"")+"|[^".(]+)\.')


def compared_schemas(tables: Mapping[str, TableFacts]) -> set[str]:
    """Return the schemas of what a dump names to compare keys and references."""
    names = [operator for table in tables.values() for operator in table.key_operators]
    for table in tables.values():
        for key in table.foreign_keys:
            if key.referenced_table in tables:
                names += (*key.operators, *key.collates)
    found = filter(None, map(_SCHEMA.match, names))
    return {one[1].strip('"').replace('""', '"') for one in found}


def named_schemas(connection: Connection, tables: Iterable[TableFacts]) -> tuple[str, ...]:
    """Return the schemas of functions, operators, types and collations that a load names."""
    places = [facts.place for facts in tables]
    arguments = {"schemas": [s for s, _ in places], "names": [name for _, name in places]}
    return tuple(row[0] for row in connection.execute(_NAMED, arguments))


RELATIONS = sql.SQL("""
relation AS (
  SELECT c.oid
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) AS w (schema, relname)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname
   UNION
  SELECT h.inhrelid
    FROM relation r
    JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'p'
    JOIN pg_inherits h ON h.inhparent = r.oid)
""")
"""The recursive term of the tables ``%(schemas)s`` and ``%(names)s`` and their partitions."""

# The role scripts have the same query. What is built in has no pg_depend entry.
# Until version 14 a column, not its expression, depends on what computes it.
_NAMED = sql.SQL("""
WITH RECURSIVE {relations},
index AS (
  SELECT i.* FROM relation r JOIN pg_index i ON i.indrelid = r.oid
   WHERE i.indisunique OR i.indisexclusion),
used AS (
  SELECT d.refclassid AS class, d.refobjid AS oid
    FROM index i
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
   UNION ALL
  SELECT d.refclassid, d.refobjid
    FROM relation r
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid
     AND d.refclassid IN ('pg_proc'::regclass, 'pg_collation'::regclass)
   UNION ALL
  SELECT d.refclassid, d.refobjid
    FROM index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attgenerated <> ''
     AND (a.attnum = ANY (i.indkey::int2[])
          OR EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                        AND d.refobjsubid = a.attnum))
    JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
    JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
   UNION ALL
  SELECT 'pg_operator'::regclass, o.oid
    FROM index i
    JOIN pg_constraint k ON k.conindid = i.indexrelid
   CROSS JOIN unnest(k.conexclop) AS o(oid)
   UNION ALL
  SELECT 'pg_operator'::regclass, o.oid
    FROM relation r
    JOIN pg_constraint k ON k.conrelid = r.oid
   CROSS JOIN unnest(k.conpfeqop) AS o(oid))
SELECT DISTINCT n.nspname
  FROM used u
 CROSS JOIN LATERAL (
    SELECT pronamespace FROM pg_proc WHERE u.class = 'pg_proc'::regclass AND oid = u.oid
     UNION ALL
    SELECT oprnamespace FROM pg_operator WHERE u.class = 'pg_operator'::regclass AND oid = u.oid
     UNION ALL
    SELECT typnamespace FROM pg_type WHERE u.class = 'pg_type'::regclass AND oid = u.oid
     UNION ALL
    SELECT collnamespace FROM pg_collation WHERE u.class = 'pg_collation'::regclass AND oid = u.oid
     UNION ALL
    SELECT q.oprnamespace
      FROM pg_opclass c
      JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
       AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
      JOIN pg_operator q ON q.oid = m.amopopr
     WHERE u.class = 'pg_opclass'::regclass AND c.oid = u.oid) AS x (namespace)
  JOIN pg_namespace n ON n.oid = x.namespace AND n.nspname <> 'pg_catalog'
 ORDER BY n.nspname
""").format(relations=RELATIONS)
