"""Functions that PostgreSQL calls, with the rights of the load's role, when rows are written.

These are those of checks, computed columns, indexes and domains, those of the operators by which
keys and references are compared, and those of the defaults of columns that a load does not name: a
default that it replaces is not computed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from psycopg import sql

from ar_sync_pipeline.postgres.checks.named_schemas import RELATIONS
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.schema_queries import TYPES_WITHIN
from ar_sync_pipeline.postgres.table_facts import TableFacts


def uncallable_functions(
    connection: Connection, tables: Iterable[TableFacts], given: Mapping[str, Collection[str]]
) -> tuple[str, ...]:
    """Return the functions that this connection's role may not call, with their arguments.

    Args:
        given: Columns to which a load gives a value in a new row, by table.
    """
    known = list(tables)
    places = [facts.place for facts in known]
    defaults = [
        (*facts.place, column.name)
        for facts in known
        for column in facts.columns
        if column.name not in given[facts.name]
    ]
    arguments = {
        "schemas": [schema for schema, _ in places],
        "names": [name for _, name in places],
        "default_schemas": [schema for schema, _, _ in defaults],
        "default_names": [name for _, name, _ in defaults],
        "default_columns": [column for _, _, column in defaults],
    }
    return tuple(row[0] for row in connection.execute(_UNCALLABLE, arguments))


# The role script of the receiver has the same query, with all defaults. Until version 14 a column,
# not its expression, depends on what computes it.
_UNCALLABLE = sql.SQL("""
WITH RECURSIVE {relations},
type AS (
  SELECT a.atttypid AS oid
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
   UNION
  SELECT x.oid
    FROM type p
    JOIN pg_type t ON t.oid = p.oid
   CROSS JOIN LATERAL ({types_within}) AS x(oid)),
default_column AS (
  SELECT a.atttypid, a.atthasdef, f.oid
    FROM unnest(%(default_schemas)s::text[], %(default_names)s::text[], %(default_columns)s::text[])
      AS w (schema, relname, attname)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.attname
    LEFT JOIN pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum),
caller AS (
  SELECT 'pg_class'::regclass AS class, oid FROM relation
   UNION ALL
  SELECT 'pg_class'::regclass, i.indexrelid FROM relation r JOIN pg_index i ON i.indrelid = r.oid
   UNION ALL
  SELECT 'pg_attrdef'::regclass, f.oid
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attgenerated <> ''
    JOIN pg_attrdef f ON f.adrelid = r.oid AND f.adnum = a.attnum
   UNION ALL
  SELECT 'pg_attrdef'::regclass, oid FROM default_column WHERE atthasdef
   UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
   UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid FROM type t JOIN pg_constraint k ON k.contypid = t.oid
   UNION ALL
  SELECT 'pg_type'::regclass, t.oid
    FROM default_column c JOIN pg_type t ON t.oid = c.atttypid AND t.typtype = 'd'
   WHERE NOT c.atthasdef),
used AS (
  SELECT d.refclassid AS class, d.refobjid AS oid
    FROM caller c
    JOIN pg_depend d ON d.classid = c.class AND d.objid = c.oid),
operator AS (
  SELECT oid FROM used WHERE class = 'pg_operator'::regclass
   UNION ALL
  SELECT m.amopopr
    FROM used u
    JOIN pg_opclass c ON u.class = 'pg_opclass'::regclass AND c.oid = u.oid
    JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
     AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype)
SELECT f.oid::regprocedure::text
  FROM pg_proc f
 WHERE f.oid IN (SELECT oid FROM used WHERE class = 'pg_proc'::regclass
                 UNION ALL
                 SELECT q.oprcode FROM operator o JOIN pg_operator q ON q.oid = o.oid)
   AND f.pronamespace <> 'pg_catalog'::regnamespace AND f.prokind = 'f'
   AND NOT has_function_privilege(f.oid, 'EXECUTE')
 ORDER BY 1
""").format(relations=RELATIONS, types_within=sql.SQL(TYPES_WITHIN))
