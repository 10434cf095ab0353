"""The queries of `schema_facts` over the system catalogs."""

from __future__ import annotations

# The label of a table, as in ar_sync_pipeline.catalog.labels.
_NAME = (
    "CASE WHEN {n}.nspname = %(schema)s AND position('.' IN {c}.relname) = 0"
    " THEN {c}.relname::text ELSE {n}.nspname || '.' || {c}.relname END"
)
# Conditions that pg_get_indexdef and pg_get_expr print are complete under the search path
# pg_catalog, which every session of the product has.
_OPERATOR = "format('OPERATOR(%%s.%%s)', {o}.oprnamespace::regnamespace, {o}.oprname)"
# A column of an expression depends on its table (since 12.1), since it cannot be dropped.
_PARTITIONS_BY = """(
  a.attrelid = p.partrelid AND a.attnum > 0
  AND (a.attnum = ANY (p.partattrs::int2[])
       OR EXISTS (SELECT FROM pg_depend d
                   WHERE d.classid = 'pg_class'::regclass AND d.objid = a.attrelid
                     AND d.objsubid = a.attnum AND d.deptype = 'i'
                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid
                     AND d.refobjsubid = 0)))"""
"""The columns ``a`` that decide the partition of a row of the partitioned table ``p``."""

FIRES_IN_PARTITION = "(l.relispartition AND t.tgtype & 1 = 1)"
"""Whether the trigger ``t`` of a partition ``l`` fires for writes to the partitioned table."""

# The triggers of partitions are listed once, since each trigger of rows has a clone in each
# partition. Not by pg_partition_tree(), which locks every partition until the transaction ends.
TABLES = f"""
WITH of_partitions AS MATERIALIZED (
  SELECT pg_partition_root(l.oid) AS root,
         array_agg(DISTINCT CASE WHEN t.tgparentid = 0 THEN l.relname || '.' ELSE '' END
                            || t.tgname) AS triggers
    FROM pg_trigger t JOIN pg_class l ON l.oid = t.tgrelid
   WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND {FIRES_IN_PARTITION}
   GROUP BY 1)
SELECT c.oid::bigint AS oid,
       {_NAME.format(n="n", c="c")} AS name,
       n.nspname AS schema,
       c.relname AS relname,
       c.relkind = 'p' AS partitioned,
       ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
              WHERE NOT has_table_privilege(c.oid, p)) AS denied,
       CASE WHEN row_security_active(c.oid) THEN coalesce(
         (SELECT json_agg(p.polname ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid),
         '["none: every row is hidden"]') END AS policies,
       (SELECT json_agg(x.name ORDER BY x.name)
          FROM (SELECT t.tgname AS name FROM pg_trigger t
                 WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D'
                UNION
                SELECT unnest(o.triggers) FROM of_partitions o WHERE o.root = c.oid
                UNION
                SELECT r.rulename FROM pg_rewrite r
                 WHERE r.ev_class = c.oid AND r.ev_type <> '1' AND r.ev_enabled <> 'D') x)
         AS triggers,
       (SELECT json_agg(a.attname ORDER BY a.attnum)
          FROM pg_partitioned_table p JOIN pg_attribute a ON {_PARTITIONS_BY}
         WHERE p.partrelid = c.oid) AS partition_key
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
 ORDER BY n.nspname <> %(schema)s, n.nspname, c.relname
"""

# pg_table_size() locks the table briefly, so it is called for the wanted ones only.
SIZES = """
SELECT t.oid::bigint AS oid,
       coalesce((SELECT sum(pg_table_size(p.relid)) FROM pg_partition_tree(t.oid) AS p),
                pg_table_size(t.oid), 0)::bigint AS size_bytes
  FROM unnest(%(tables)s::bigint[]::oid[]) AS t(oid)
"""

TYPES_WITHIN = """
     SELECT t.typelem AS type WHERE t.typcategory = 'A' AND t.typelem <> 0
     UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
     UNION ALL SELECT r.rngsubtype FROM pg_range r
                WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
     UNION ALL SELECT a.atttypid FROM pg_attribute a
                WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0
                  AND NOT a.attisdropped
"""
"""The types that the type ``t`` is made of: elements, bases, subtypes, attributes."""

# Until version 14 the column, not its expression, depends on the columns that it is computed from.
# Since version 18 NOT NULL may be NOT VALID: older rows may have NULL.
COLUMNS = f"""
WITH RECURSIVE part AS (
  SELECT DISTINCT a.atttypid AS column_type, a.atttypid AS type
    FROM pg_attribute a
   WHERE a.attrelid = ANY (%(tables)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
  UNION
  SELECT p.column_type, x.type
    FROM part p
    JOIN pg_type t ON t.oid = p.type
   CROSS JOIN LATERAL (
     {TYPES_WITHIN}) AS x)
SELECT a.attrelid::bigint AS table,
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull OR EXISTS (
         SELECT FROM pg_constraint v
          WHERE v.conrelid = a.attrelid AND v.contype = 'n' AND v.conkey = ARRAY[a.attnum]
            AND NOT v.convalidated) AS nullable,
       a.attgenerated <> '' AS generated,
       d.oid IS NOT NULL OR y.typdefaultbin IS NOT NULL OR a.attidentity <> '' AS has_default,
       a.attidentity = 'a' AS always_identity,
       sn.nspname AS sequence_schema,
       s.relname AS sequence_name,
       ln.nspname AS collation_schema,
       l.collname AS collation_name,
       NOT EXISTS (SELECT FROM part p JOIN pg_type t ON t.oid = p.type
                    WHERE p.column_type = a.atttypid AND (t.typsend = 0 OR t.typreceive = 0))
         AS binary,
       (SELECT json_agg(DISTINCT t.typname) FROM part p JOIN pg_type t ON t.oid = p.type
         WHERE p.column_type = a.atttypid AND t.typnamespace = 'pg_catalog'::regnamespace
           AND (t.typname = 'oid' OR t.typname ~ '^reg' AND t.typcategory = 'N'))
         AS object_types,
       y.typcategory = 'S' AS text,
       coalesce(pg_get_expr(d.adbin, d.adrelid), pg_get_expr(y.typdefaultbin, 0)) AS expression,
       CASE WHEN a.attgenerated <> '' THEN
         (SELECT json_agg(b.attname ORDER BY b.attnum)
            FROM pg_depend g JOIN pg_attribute b
              ON b.attrelid = a.attrelid AND b.attnum = g.refobjsubid
           WHERE (g.classid = 'pg_attrdef'::regclass AND g.objid = d.oid
                  OR g.classid = 'pg_class'::regclass AND g.objid = a.attrelid
                     AND g.objsubid = a.attnum)
             AND g.refclassid = 'pg_class'::regclass AND g.refobjid = a.attrelid
             AND b.attnum > 0 AND b.attnum <> a.attnum) END AS computed_from
  FROM pg_attribute a
  JOIN pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  LEFT JOIN pg_collation l ON l.oid = a.attcollation AND a.attcollation <> y.typcollation
  LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
  LEFT JOIN LATERAL (
       SELECT dep.refobjid AS oid
         FROM pg_depend dep JOIN pg_class q ON q.oid = dep.refobjid AND q.relkind = 'S'
        WHERE dep.classid = 'pg_attrdef'::regclass AND dep.objid = d.oid
          AND dep.refclassid = 'pg_class'::regclass
       UNION
       SELECT dep.objid
         FROM pg_depend dep JOIN pg_class q ON q.oid = dep.objid AND q.relkind = 'S'
        WHERE dep.classid = 'pg_class'::regclass AND dep.refclassid = 'pg_class'::regclass
          AND dep.refobjid = a.attrelid AND dep.refobjsubid = a.attnum AND dep.deptype = 'i'
       LIMIT 1) AS used ON true
  LEFT JOIN pg_class s ON s.oid = used.oid
  LEFT JOIN pg_namespace sn ON sn.oid = s.relnamespace
 WHERE a.attrelid = ANY (%(tables)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum
"""

# Values are compared by the `=` of their type, which is that of its default operator class
# (GetDefaultOpClass), and by the collation of the column. An index of a constraint has both.
_BY_EQUALITY = """(
  (l.oid IS NULL OR l.oid = a.attcollation
   OR (SELECT v.collisdeterministic FROM pg_collation v WHERE v.oid = a.attcollation))
  AND (EXISTS (SELECT FROM pg_constraint u
                WHERE u.conindid = i.indexrelid AND u.contype IN ('p', 'u'))
       OR EXISTS (
         WITH RECURSIVE base AS (
           SELECT a.atttypid AS type
           UNION ALL
           SELECT y.typbasetype FROM base JOIN pg_type y ON y.oid = base.type
            WHERE y.typtype = 'd')
         SELECT FROM base
           JOIN pg_type b ON b.oid = base.type AND b.typtype <> 'd'
           JOIN pg_opclass o ON o.opcdefault AND o.opcintype = oc.opcintype
           JOIN pg_am w ON w.oid = o.opcmethod AND w.amname = 'btree'
           JOIN pg_type y ON y.oid = o.opcintype
           JOIN pg_amop s ON s.amopfamily = o.opcfamily AND s.amopstrategy = 3
            AND s.amoplefttype = o.opcintype AND s.amoprighttype = o.opcintype
            AND s.amopopr = m.amopopr
          WHERE y.oid = b.oid
             OR (y.typtype = 'p' OR y.typispreferred)
                AND NOT EXISTS (SELECT FROM pg_opclass x
                                 WHERE x.opcdefault AND x.opcmethod = o.opcmethod
                                   AND x.opcintype = b.oid))))"""
"""Whether the element of an index that is the column ``a`` compares as ``=`` of the column does."""

# The equality of an index is the operator of its operator class, which need not be the `=` that
# the search path finds (citext, ltree). An exclusion constraint names its own, and so does a key
# that is WITHOUT OVERLAPS.
# Its expressions may have the whole row (attribute 0), which is printed as the table's name with a
# star.
# An index that only one partition has is a unique key among the rows of that partition.
UNIQUE_KEYS = f"""
WITH owner AS MATERIALIZED (
  SELECT r.oid AS root, r.oid AS oid, ARRAY[]::name[] AS partition_key
    FROM unnest(%(tables)s::bigint[]::oid[]) AS r(oid)
  UNION ALL
  SELECT r.oid, t.relid,
         ARRAY(SELECT a.attname
                 FROM pg_partition_ancestors(t.relid) AS n(oid)
                 JOIN pg_partitioned_table p ON p.partrelid = n.oid
                 JOIN pg_attribute a ON {_PARTITIONS_BY})
    FROM unnest(%(tables)s::bigint[]::oid[]) AS r(oid)
   CROSS JOIN LATERAL pg_partition_tree(r.oid) AS t
   WHERE t.level > 0),
-- First, since printing a definition locks its table for a moment, whoever's it is.
wanted AS MATERIALIZED (
  SELECT i.*, o.root, o.partition_key,
         concat(i.indexprs, i.indpred) LIKE '%%:varattno 0 %%' AS whole_row
    FROM pg_index i JOIN owner o ON o.oid = i.indrelid)
SELECT i.root::bigint AS table,
       c.relname AS name,
       i.indisprimary AND NOT t.relispartition AS primary,
       i.indisvalid AS valid,
       i.indisexclusion AS exclusion,
       NOT i.indimmediate AS deferrable,
       NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_distinct,
       nullif(concat_ws(' AND ', '(' || pg_get_expr(i.indpred, i.indrelid) || ')',
                        '(' || pg_get_partition_constraintdef(t.oid) || ')'), '') AS predicate,
       e.elements,
       e.operators,
       e.collations,
       e.collates,
       e.by_equality,
       CASE WHEN i.indexprs IS NULL THEN e.names END AS plain,
       CASE WHEN i.whole_row THEN
         (SELECT json_build_array(n.nspname, t.relname, json_agg(a.attname ORDER BY a.attnum))
            FROM pg_namespace n, pg_attribute a
           WHERE n.oid = t.relnamespace AND a.attrelid = t.oid AND a.attnum > 0
             AND NOT a.attisdropped
           GROUP BY n.nspname)
       END AS whole_row,
       (SELECT json_agg(DISTINCT a.attname ORDER BY a.attname)
          FROM pg_attribute a
         WHERE a.attrelid = i.indrelid AND a.attnum > 0
           AND (i.whole_row AND NOT a.attisdropped
                OR a.attnum = ANY (i.indkey::int2[]) OR a.attname = ANY (i.partition_key)
                OR EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                              AND d.refclassid = 'pg_class'::regclass
                              AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))) AS uses
  FROM wanted i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_class t ON t.oid = i.indrelid
  LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conexclop IS NOT NULL
 CROSS JOIN LATERAL (
   SELECT json_agg(pg_get_indexdef(i.indexrelid, x.position::int, false) ORDER BY x.position)
            AS elements,
          json_agg({_OPERATOR.format(o="q")} ORDER BY x.position) AS operators,
          json_agg(CASE WHEN l.collisdeterministic THEN ''
                        ELSE coalesce(quote_ident(l.collname), '') END ORDER BY x.position)
            AS collations,
          json_agg(CASE WHEN l.oid <> coalesce(a.attcollation, 0)
                        THEN format('%%I.%%I', ln.nspname, l.collname) ELSE '' END
                   ORDER BY x.position) AS collates,
          bool_and({_BY_EQUALITY}) AS by_equality,
          json_agg(a.attname ORDER BY x.position) AS names
     FROM generate_series(1, i.indnkeyatts) AS x(position)
     JOIN pg_opclass oc ON oc.oid = i.indclass[x.position - 1]
     LEFT JOIN pg_amop m ON m.amopfamily = oc.opcfamily AND m.amopstrategy = 3
       AND m.amoplefttype = oc.opcintype AND m.amoprighttype = oc.opcintype
       AND k.oid IS NULL
     LEFT JOIN pg_operator q ON q.oid = coalesce(k.conexclop[x.position], m.amopopr)
     LEFT JOIN pg_collation l ON l.oid = i.indcollation[x.position - 1]
     LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace
     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid
       AND a.attnum = i.indkey[x.position - 1] AND a.attnum > 0) AS e
 WHERE (i.indisunique OR i.indisexclusion) AND i.indisready
   AND NOT (t.relispartition
            AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = i.indexrelid))
 ORDER BY c.relname
"""

COLLATES_OF_REFERENCE = """(
  SELECT json_agg(CASE WHEN l.oid IS NULL THEN ''
                       ELSE format('%%I.%%I', ln.nspname, l.collname) END ORDER BY x.position)
    FROM unnest(k.conkey, k.confkey) WITH ORDINALITY AS x (child, parent, position)
    JOIN pg_attribute here ON here.attrelid = k.conrelid AND here.attnum = x.child
    JOIN pg_attribute there ON there.attrelid = k.confrelid AND there.attnum = x.parent
    LEFT JOIN pg_collation l ON l.oid = there.attcollation
     AND here.attcollation NOT IN (0, there.attcollation)
    LEFT JOIN pg_namespace ln ON ln.oid = l.collnamespace)"""
"""The collation of each referenced column of the foreign key ``k`` that its column differs from.

It is an array, with empty texts for the others.
"""

FOREIGN_KEYS = f"""
SELECT k.conrelid::bigint AS table,
       k.conname AS name,
       {_NAME.format(n="n", c="c")} AS table_name,
       {_NAME.format(n="m", c="r")} AS referenced_table,
       k.confdeltype AS on_delete,
       k.confupdtype AS on_update,
       k.condeferrable AS deferrable,
       k.convalidated AS validated,
       k.confmatchtype = 'f' AS match_full,
       coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false) AS period,
       (SELECT json_agg(a.attname ORDER BY a.attnum)
          FROM jsonb_array_elements_text(nullif(to_jsonb(k) -> 'confdelsetcols', 'null')) AS x(n)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.n::int2) AS cleared,
       (SELECT json_agg(a.attname ORDER BY x.position)
          FROM unnest(k.conkey) WITH ORDINALITY AS x(attnum, position)
          JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = x.attnum) AS columns,
       (SELECT json_agg(a.attname ORDER BY x.position)
          FROM unnest(k.confkey) WITH ORDINALITY AS x(attnum, position)
          JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.attnum)
          AS referenced_columns,
       (SELECT json_agg({_OPERATOR.format(o="o")} ORDER BY x.position)
          FROM unnest(k.conpfeqop) WITH ORDINALITY AS x(operator, position)
          JOIN pg_operator o ON o.oid = x.operator) AS operators,
       {COLLATES_OF_REFERENCE} AS collates
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class r ON r.oid = k.confrelid
  JOIN pg_namespace m ON m.oid = r.relnamespace
 WHERE k.contype = 'f' AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
   AND k.conparentid = 0 AND NOT r.relispartition
   AND k.conrelid = ANY (%(tables)s::bigint[]::oid[])
 ORDER BY k.conrelid, k.conname
"""

TYPES = f"""
WITH RECURSIVE part AS (
  SELECT a.atttypid AS type
    FROM unnest(%(schemas)s::text[], %(tables)s::text[], %(columns)s::text[])
           AS w (schema, relname, name)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = w.name
  UNION
  SELECT x.type
    FROM part p
    JOIN pg_type t ON t.oid = p.type
   CROSS JOIN LATERAL (
     {TYPES_WITHIN}) AS x)
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
