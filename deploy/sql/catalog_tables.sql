-- Finds the tables that the catalog means; read by sender_role.sql and receiver_role.sql, which set the
-- variables `schema`, `tables` and `exclude`, inside their transaction. Those of `receiver_tables` may be
-- missing: an application makes them later.

\if :{?separator} \else \set separator , \endif
\if :{?keys_only} \else \set keys_only off \endif
\if :{?receiver_tables} \else \set receiver_tables '' \endif

-- The tables that the catalog means. Of a pattern with a dot the first part matches schemas; one
-- without a dot matches tables of the catalog's schema. Only * and ? are special.
CREATE TEMP TABLE ar_sync_patterns AS
WITH given AS (
  -- A name may hold a comma and begin with a blank: `ar-sync grants` puts another mark between names.
  SELECT list, CASE :'separator' WHEN ',' THEN trim(p) ELSE p END AS pattern
    FROM (VALUES ('tables', :'tables'), ('receiver_tables', :'receiver_tables'),
                 ('exclude', :'exclude')) AS lists (list, patterns),
         unnest(string_to_array(patterns, :'separator')) AS p
), parts AS (
  SELECT list, pattern,
         CASE WHEN starts_with(pattern, :'schema' || '.') OR position('.' IN pattern) = 0
              THEN :'schema' END AS own_schema,
         CASE WHEN starts_with(pattern, :'schema' || '.')
              THEN ARRAY['', substr(pattern, length(:'schema') + 2)]
              ELSE ARRAY[split_part(pattern, '.', 1),
                         substr(pattern, position('.' IN pattern) + 1)] END AS names
    FROM given
)
SELECT list, pattern, own_schema, regex[1] AS of_schema, regex[2] AS of_table
  FROM parts,
       LATERAL (SELECT array_agg('^' || replace(replace(regexp_replace(
                         name, '([^[:alnum:]_*?])', '\\\1', 'g'), '*', '.*'), '?', '.') || '$'
                         ORDER BY place) AS regex
                  FROM unnest(names) WITH ORDINALITY AS x(name, place)) AS both_parts;

CREATE TEMP TABLE ar_sync_matched AS
SELECT DISTINCT c.oid, p.list, p.pattern
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN ar_sync_patterns p ON c.relname ~ p.of_table
                         AND CASE WHEN p.own_schema IS NULL THEN n.nspname ~ p.of_schema
                                  ELSE n.nspname = p.own_schema END
 WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
   AND n.nspname NOT IN ('information_schema', 'ar_sync');

CREATE TEMP TABLE ar_sync_tables AS
SELECT oid::regclass AS name, relnamespace::regnamespace AS schema, relowner AS owner
  FROM pg_class
 WHERE oid IN (SELECT oid FROM ar_sync_matched WHERE list IN ('tables', 'receiver_tables'))
   AND oid NOT IN (SELECT oid FROM ar_sync_matched WHERE list = 'exclude');

-- `ar-sync grants` has the names of a catalog, of which a migration may have dropped a table, or not
-- made it yet. By hand, before anything is taken away: the defaults are one application's, yours may
-- be another.
CREATE TEMP TABLE ar_sync_unmatched AS
SELECT string_agg(DISTINCT quote_literal(pattern), ', ') AS patterns, :'separator' = ',' AS by_hand
  FROM ar_sync_patterns
 WHERE list = 'tables' AND pattern <> ''
   AND pattern NOT IN (SELECT pattern FROM ar_sync_matched WHERE list = 'tables');
DO $$ DECLARE
  unmatched text := (SELECT patterns FROM ar_sync_unmatched WHERE by_hand);
  given text := (SELECT CASE WHEN by_hand
                             THEN 'Name those of your catalog: -v schema=... -v tables=... -v exclude=...'
                             ELSE 'Run it in the database of the catalog, or correct `tables`.' END
                   FROM ar_sync_unmatched);
BEGIN
  IF unmatched IS NOT NULL THEN
    RAISE EXCEPTION 'no table of this database matches % of `tables`; nothing was changed', unmatched
      USING HINT = 'Name the patterns of your catalog of which this database has tables:'
                   ' -v schema=... -v tables=... -v exclude=...';
  ELSIF NOT EXISTS (SELECT FROM ar_sync_tables) THEN
    RAISE EXCEPTION 'no table of this database matches `tables` and not `exclude`; nothing was changed'
      USING HINT = given;
  END IF;
END $$;
SELECT patterns AS unmatched, patterns IS NOT NULL AS some_unmatched FROM ar_sync_unmatched \gset
DROP TABLE pg_temp.ar_sync_unmatched;
\if :some_unmatched
\warn 'no table of this database matches' :unmatched 'of `tables`: if it should, run this again when it has one'
\endif

-- The caller takes away all rights but those of the catalog: an owner would lose those on what it owns.
SELECT format('DO $owner$ BEGIN RAISE EXCEPTION ''%%'', %L USING HINT = %L; END $owner$',
              format('role %I owns %s; nothing was changed', :'role',
                     array_to_string((array_agg(name ORDER BY name))[:5], ', ')
                     || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END),
              format('Give this side a role of its own, in the URL of its settings or by -v role=... If it is one,'
                     ' give what it owns to another role, by ALTER ... OWNER TO or, all at once, by'
                     ' REASSIGN OWNED BY %I TO ..., and run this again', :'role'))
  FROM (SELECT c.oid::regclass::text
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_'
           AND n.nspname NOT IN ('information_schema', 'ar_sync')
           AND pg_get_userbyid(c.relowner) = :'role'
         UNION ALL
        SELECT format('schema %I', nspname) FROM pg_namespace
         WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'ar_sync')
           AND pg_get_userbyid(nspowner) = :'role'
         UNION ALL
        SELECT format('database %I', datname) FROM pg_database
         WHERE datname = :'DBNAME' AND pg_get_userbyid(datdba) = :'role') AS owned (name)
HAVING count(*) > 0 \gexec

-- The role loses them if the catalog does not name them: another catalog may need them.
CREATE TEMP TABLE ar_sync_granted AS
SELECT c.oid
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ar_sync')
   AND c.relkind IN ('r', 'p')
   AND EXISTS (SELECT FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                WHERE r.rolname = :'role' AND a.grantee <> c.relowner);

-- What RESET gives here may be a setting of whoever runs this, which the role does not have. Meanwhile
-- functions of others might be called: everything is qualified.
RESET search_path;
SELECT CASE WHEN source OPERATOR(pg_catalog.=) ANY (ARRAY['default', 'configuration file', 'command line'])
            THEN reset_val ELSE boot_val END AS server_path
  FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path' \gset
SET search_path = pg_catalog, pg_temp;

-- The catalog's schema is one of them also where it has no such table. Functions of the application name
-- others by the search path, of which PostgreSQL skips a schema that the role may not use. The settings
-- are in the order of their priority (PostgreSQL manual, ALTER ROLE).
CREATE TEMP TABLE ar_sync_schemas AS
WITH setting AS (
  SELECT substr(c, length('search_path=') + 1) AS path
    FROM pg_db_role_setting s
    LEFT JOIN pg_roles r ON r.oid = s.setrole
    LEFT JOIN pg_database d ON d.oid = s.setdatabase
   CROSS JOIN unnest(s.setconfig) AS c
   WHERE (s.setrole = 0 OR r.rolname = :'role')
     AND (s.setdatabase = 0 OR d.datname = current_database()) AND starts_with(c, 'search_path=')
   ORDER BY s.setrole = 0, s.setdatabase = 0
   LIMIT 1
), resolved AS MATERIALIZED (
  SELECT set_config('search_path', replace(
           coalesce((SELECT path FROM setting), :'server_path'), '"$user"', quote_ident(:'role')), true),
         current_schemas(false) AS schemas,
         set_config('search_path', 'pg_catalog, pg_temp', true)
)
SELECT schema FROM ar_sync_tables
UNION
SELECT format('%I', :'schema')::regnamespace
UNION
SELECT format('%I', name)::regnamespace
  FROM resolved, unnest(schemas) AS name
 WHERE name !~ '^pg_' AND name NOT IN ('information_schema', 'ar_sync');

-- A load computes the keys' expressions, and loads and dumps compare by their operators (the same query
-- as in ar_sync_pipeline/postgres/checks/named_schemas.py).
INSERT INTO ar_sync_schemas
WITH RECURSIVE relation AS (
  SELECT name::oid AS oid FROM ar_sync_tables
   UNION
  SELECT h.inhrelid
    FROM relation r
    JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'p'
    JOIN pg_inherits h ON h.inhparent = r.oid),
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
SELECT format('%I', n.nspname)::regnamespace
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
EXCEPT SELECT schema FROM ar_sync_schemas;

-- Temporary tables have columns of the tables' types, those of a dump only keys. An array has the rights of its elements, since
-- version 17 a multirange those of its range (the same query as in
-- ar_sync_pipeline/postgres/checks/rights.py).
CREATE TEMP TABLE ar_sync_types AS
SELECT DISTINCT coalesce(r.rngtypid, e.oid, a.atttypid)::regtype AS name
  FROM ar_sync_tables c
  JOIN pg_attribute a ON a.attrelid = c.name AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_type e ON e.typarray = a.atttypid
  LEFT JOIN pg_range r ON r.rngmultitypid = coalesce(e.oid, a.atttypid)
   AND current_setting('server_version_num')::int >= 170000
 WHERE NOT :'keys_only'::boolean
    OR EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[]));

-- PUBLIC usually has these rights. Whoever runs this may be no superuser, and not allowed to give one that was
-- taken from PUBLIC: that is said at the end, with the statement, and undoes nothing.
CREATE TEMP TABLE ar_sync_lacking AS
SELECT format('GRANT USAGE ON TYPE %s TO %I', name, :'role') AS statement,
       has_type_privilege(name, 'USAGE WITH GRANT OPTION') AS may_give
  FROM ar_sync_types
 WHERE NOT has_type_privilege(:'role', name, 'USAGE');
