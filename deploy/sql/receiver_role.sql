-- The role with which the receiver loads: it can write the catalog's tables and schema ar_sync,
-- and nothing else. Run it as a superuser in the visualization database, and again after each
-- migration that makes a table; it gives and takes until the role's rights are exactly these. Of
-- functions it only gives, and names those that are not needed for the tables themselves.
--
--   psql -d transapp_viz -f receiver_role.sql
--   psql -d transapp_viz -c '\password ar_sync_receiver'
--
-- Variables (-v name=value):
--   role        ar_sync_receiver
--   schema      public               `schema` of the catalog
--   tables      AndroidRequests_*    `tables` of the catalog: patterns, comma separated, those of
--                                    other schemas as schema.table
--   receiver_tables                  `receiver_tables` of the catalog, likewise
--   exclude                          `exclude` of the catalog, likewise
--   new_tables  off                  an archive with a table that this role may not write is
--                                    parked until this file has been run again; on: every table
--                                    that the application makes later may be written at once,
--                                    whatever its name
--   suppress    on                   PostgreSQL 15 and later: the role may set
--                                    session_replication_role, so that replicated rows fire no
--                                    triggers, rules or referential actions; loads check the
--                                    references themselves. off: they fire
--   bypassrls   off                  on: the role sees and writes all rows of tables with row level
--                                    security; without it loads of such a table fail

\set ON_ERROR_STOP on
\set QUIET on
-- Whoever may create functions in another schema would otherwise run them here as a superuser
-- (PostgreSQL manual, 10.3: the function with the exact argument types is called).
SET search_path = pg_catalog, pg_temp;
\if :{?role} \else \set role ar_sync_receiver \endif
\if :{?schema} \else \set schema public \endif
\if :{?tables} \else \set tables AndroidRequests_* \endif
\if :{?exclude} \else \set exclude '' \endif
\if :{?new_tables} \else \set new_tables off \endif
\if :{?suppress} \else \set suppress on \endif
\if :{?bypassrls} \else \set bypassrls off \endif

BEGIN;
SET LOCAL client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

\ir catalog_tables.sql

-- Sequences of no column, on which it has rights: functions that a load calls may need them.
CREATE TEMP TABLE ar_sync_sequences AS
SELECT q.oid::regclass AS name, q.relnamespace::regnamespace AS schema
  FROM pg_class q
 WHERE q.relkind = 'S' AND q.relnamespace IS DISTINCT FROM to_regnamespace('ar_sync')
   AND EXISTS (SELECT FROM aclexplode(q.relacl) a JOIN pg_roles r ON r.oid = a.grantee
                WHERE r.rolname = :'role' AND a.grantee <> q.relowner)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = q.oid AND d.deptype IN ('a', 'i')
                       OR d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
                          AND d.refobjid = q.oid);

-- What it had before goes first, in every schema.
SELECT format('REVOKE ALL ON ALL TABLES IN SCHEMA %1$I FROM %2$I;'
              'REVOKE ALL ON SCHEMA %1$I FROM %2$I', nspname, :'role')
  FROM pg_namespace
 WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'ar_sync') \gexec
SELECT format('REVOKE ALL ON SEQUENCE %s FROM %I', q.oid::regclass, :'role')
  FROM pg_class q
  JOIN pg_namespace n ON n.oid = q.relnamespace
 WHERE q.relkind = 'S' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ar_sync')
   AND q.oid NOT IN (SELECT name FROM ar_sync_sequences) \gexec
SELECT DISTINCT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %I',
                       pg_get_userbyid(d.defaclrole), ' IN SCHEMA ' || quote_ident(n.nspname),
                       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END, :'role')
  FROM pg_default_acl d
  LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
 CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
 WHERE a.grantee = (SELECT oid FROM pg_roles WHERE rolname = :'role')
   AND d.defaclobjtype IN ('r', 'S') \gexec
REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";

-- An archive's rows are staged in temporary tables.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
SELECT format('GRANT USAGE ON SCHEMA %s TO %I', schema, :'role')
  FROM (SELECT schema FROM ar_sync_schemas UNION SELECT schema FROM ar_sync_sequences) AS s \gexec
-- The temporary tables have columns of the same types.
SELECT DISTINCT format('GRANT USAGE ON SCHEMA %s TO %I', t.typnamespace::regnamespace, :'role')
  FROM ar_sync_tables c
  JOIN pg_attribute a ON a.attrelid = c.name AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid AND t.typnamespace <> 'pg_catalog'::regnamespace \gexec
-- What identifies the cluster, where it was taken from PUBLIC.
INSERT INTO ar_sync_lacking
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', name, :'role'),
       has_function_privilege(name, 'EXECUTE WITH GRANT OPTION')
  FROM (VALUES ('pg_control_system()')) AS needed (name)
 WHERE NOT has_function_privilege(:'role', name, 'EXECUTE');

-- What rows call when they are written: defaults, checks, computed columns, indexes. PUBLIC usually
-- may call all functions. Functions that these call are for you to grant (the same query as in
-- ar_sync_pipeline/postgres/checks/called_functions.py, which knows which columns get a default).
CREATE TEMP TABLE ar_sync_called AS
WITH RECURSIVE relation AS (
  SELECT name::oid AS oid FROM ar_sync_tables
   UNION
  SELECT h.inhrelid
    FROM relation r
    JOIN pg_class c ON c.oid = r.oid AND c.relkind = 'p'
    JOIN pg_inherits h ON h.inhparent = r.oid),
type AS (
  SELECT a.atttypid AS oid
    FROM relation r
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
   UNION
  SELECT x.oid
    FROM type p
    JOIN pg_type t ON t.oid = p.oid
   CROSS JOIN LATERAL (SELECT t.typelem WHERE t.typcategory = 'A'
                        UNION ALL SELECT t.typbasetype
                        UNION ALL SELECT s.rngsubtype FROM pg_range s
                                   WHERE t.oid IN (s.rngtypid, s.rngmultitypid)
                        UNION ALL SELECT a.atttypid FROM pg_attribute a
                                   WHERE a.attrelid = t.typrelid AND a.attnum > 0
                                     AND NOT a.attisdropped) AS x(oid)),
caller AS (
  SELECT 'pg_class'::regclass AS class, oid FROM relation
   UNION ALL
  SELECT 'pg_class'::regclass, i.indexrelid FROM relation r JOIN pg_index i ON i.indrelid = r.oid
   UNION ALL
  SELECT 'pg_attrdef'::regclass, f.oid FROM relation r JOIN pg_attrdef f ON f.adrelid = r.oid
   UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid
    FROM relation r JOIN pg_constraint k ON k.conrelid = r.oid
   UNION ALL
  SELECT 'pg_constraint'::regclass, k.oid FROM type t JOIN pg_constraint k ON k.contypid = t.oid
   UNION ALL
  SELECT 'pg_type'::regclass, t.oid
    FROM type p JOIN pg_type t ON t.oid = p.oid AND t.typtype = 'd'),
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
SELECT f.oid
  FROM pg_proc f
 WHERE f.oid IN (SELECT oid FROM used WHERE class = 'pg_proc'::regclass
                 UNION ALL
                 SELECT q.oprcode FROM operator o JOIN pg_operator q ON q.oid = o.oid)
   AND f.pronamespace <> 'pg_catalog'::regnamespace AND f.prokind = 'f';
INSERT INTO ar_sync_lacking
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', oid::regprocedure, :'role'),
       has_function_privilege(oid, 'EXECUTE WITH GRANT OPTION')
  FROM ar_sync_called
 WHERE NOT has_function_privilege(:'role', oid, 'EXECUTE');

SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', name, :'role')
  FROM ar_sync_tables \gexec

-- Tables outside the catalog are looked at, also by keys of and to single partitions: before a row is
-- deleted those that refer to it, after a row is written those that it refers to. They are not
-- written: where a reference is broken, the load says so and changes nothing (the same query as in
-- ar_sync_pipeline/postgres/checks/outside_tables.py, but with keys that are NOT VALID: a load verifies
-- those that the sender does not have as NOT VALID, too).
CREATE TEMP TABLE ar_sync_outside AS
WITH RECURSIVE written AS (
  SELECT name::oid AS oid, name IN (SELECT oid FROM ar_sync_matched WHERE list = 'tables') AS replicated
    FROM ar_sync_tables
   UNION
  SELECT h.inhrelid, w.replicated
    FROM written w
    JOIN pg_class c ON c.oid = w.oid AND c.relkind = 'p'
    JOIN pg_inherits h ON h.inhparent = w.oid),
key AS (
  SELECT * FROM pg_constraint WHERE contype = 'f' AND conparentid = 0)
SELECT conrelid::regclass AS name, NULL::int2[] AS columns
  FROM key
 WHERE confrelid IN (SELECT oid FROM written)
   AND conrelid NOT IN (SELECT oid FROM written)
 UNION
SELECT confrelid, confkey
  FROM key
 WHERE conrelid IN (SELECT oid FROM written WHERE replicated)
   AND confrelid NOT IN (SELECT oid FROM written);
SELECT format('GRANT SELECT%s ON %s TO %I', listed.columns, name, :'role'),
       format('GRANT USAGE ON SCHEMA %s TO %I', relnamespace::regnamespace, :'role')
  FROM ar_sync_outside o
  JOIN pg_class c ON c.oid = o.name
 CROSS JOIN LATERAL (
    SELECT ' (' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || ')' AS columns
      FROM pg_attribute WHERE attrelid = o.name AND attnum = ANY (o.columns)) AS listed \gexec

SELECT format('GRANT SELECT ON %I.django_migrations TO %I', :'schema', :'role')
 WHERE to_regclass(format('%I.django_migrations', :'schema')) IS NOT NULL \gexec

-- A sequence belongs to its column, or is only named in the column's default.
SELECT DISTINCT format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %I', q.oid::regclass, :'role'),
       format('GRANT USAGE ON SCHEMA %s TO %I', q.relnamespace::regnamespace, :'role')
  FROM ar_sync_tables c
  LEFT JOIN pg_attrdef a ON a.adrelid = c.name
  JOIN pg_depend d ON (d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                       AND d.refclassid = 'pg_class'::regclass)
                   OR (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                       AND d.refobjid = c.name AND d.deptype IN ('a', 'i'))
  JOIN pg_class q ON q.relkind = 'S'
                 AND q.oid = CASE d.classid WHEN 'pg_attrdef'::regclass THEN d.refobjid
                                            ELSE d.objid END \gexec

SELECT current_setting('server_version_num')::int >= 150000 AS has_parameters \gset
\if :has_parameters
INSERT INTO ar_sync_lacking
SELECT format('GRANT SET ON PARAMETER session_replication_role TO %I', :'role'),
       has_parameter_privilege('session_replication_role', 'SET WITH GRANT OPTION')
 WHERE :'suppress'::boolean
   AND NOT has_parameter_privilege(:'role', 'session_replication_role', 'SET');
SELECT format('REVOKE SET ON PARAMETER session_replication_role FROM %I', :'role')
 WHERE NOT :'suppress'::boolean
   AND has_parameter_privilege(:'role', 'session_replication_role', 'SET') \gexec
\endif
SELECT statement FROM ar_sync_lacking WHERE may_give \gexec

SELECT format('ALTER ROLE %I BYPASSRLS', :'role') WHERE :'bypassrls'::boolean \gexec

-- The product makes its tables there; it becomes the owner of what another role made there before.
SELECT format('CREATE SCHEMA ar_sync AUTHORIZATION %I', :'role')
 WHERE to_regnamespace('ar_sync') IS NULL \gexec
ALTER SCHEMA ar_sync OWNER TO :"role";
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'role')
  FROM pg_class c
 WHERE c.relnamespace = 'ar_sync'::regnamespace AND c.relkind IN ('r', 'p') \gexec

SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %s GRANT %s TO %I',
              pg_get_userbyid(owner), schema, rights, :'role')
  FROM (SELECT DISTINCT owner, schema FROM ar_sync_tables) AS future
 CROSS JOIN unnest(ARRAY['SELECT, INSERT, UPDATE, DELETE ON TABLES',
                         'USAGE, SELECT, UPDATE ON SEQUENCES']) AS rights
 WHERE :'new_tables'::boolean \gexec

COMMIT;

-- What others gave it, or PUBLIC has: this file does not take that away.
SELECT r.rolsuper OR (r.rolbypassrls AND NOT :'bypassrls'::boolean) OR r.rolcreaterole OR r.rolcreatedb
       OR r.rolreplication
       OR has_database_privilege(r.oid, :'DBNAME', 'CREATE')
       OR EXISTS (SELECT FROM pg_namespace n
                   WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ar_sync')
                     AND has_schema_privilege(r.oid, n.oid, 'CREATE'))
       OR EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ar_sync')
                     AND c.relkind IN ('r', 'p', 'v')
                     AND c.oid NOT IN (SELECT name FROM ar_sync_tables)
                     AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                     AND has_table_privilege(r.oid, c.oid,
                                             'INSERT, UPDATE, DELETE, TRUNCATE')) AS too_much
  FROM pg_roles r WHERE r.rolname = :'role' \gset
\if :too_much
\warn 'This role can write more than the catalog: by an attribute, by a membership, or by what PUBLIC'
\warn 'may do (before PostgreSQL 15: REVOKE CREATE ON SCHEMA public FROM PUBLIC). Look with \\du and \\dp.'
\endif

-- A load refuses a table of which the role would not see every row.
SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) AS hidden, count(*) > 0 AS some_hidden
  FROM (SELECT name FROM ar_sync_tables UNION SELECT name FROM ar_sync_outside) AS t
  JOIN pg_class c ON c.oid = t.name
  JOIN pg_roles r ON r.rolname = :'role'
 WHERE c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
   AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) \gset
\if :some_hidden
\warn 'Row level security may hide rows from this role:' :hidden
\warn 'Run this file again with -v bypassrls=on, or ALTER ROLE ... BYPASSRLS; loads that read these tables fail.'
\endif

SELECT string_agg(oid::regclass::text, ', ' ORDER BY oid::regclass::text) AS lost, count(*) > 0 AS some_lost
  FROM ar_sync_granted
-- Of tables that replicated ones refer to it has rights on the keys.
 WHERE NOT has_table_privilege(:'role', oid, 'SELECT, INSERT, UPDATE') \gset
\if :some_lost
\warn 'The role had rights on these tables, which this catalog does not name, and has them no longer:' :lost
\warn 'If another catalog needs them, give each catalog a role of its own (-v role=...).'
\endif

-- Not taken away: loads may need what an administrator granted since such a function calls it.
SELECT string_agg(f.oid::regprocedure::text, ', ' ORDER BY f.oid::regprocedure::text) AS further,
       count(*) > 0 AS some_further
  FROM pg_proc f
 WHERE f.pronamespace <> 'pg_catalog'::regnamespace AND f.oid NOT IN (SELECT oid FROM ar_sync_called)
   AND EXISTS (SELECT FROM aclexplode(f.proacl) a JOIN pg_roles r ON r.oid = a.grantee
                WHERE r.rolname = :'role' AND a.grantee <> f.proowner) \gset
\if :some_further
\warn 'The role may also call these functions, which no table of this catalog calls itself:' :further
\warn 'Leave those that other functions call, and REVOKE EXECUTE ON FUNCTION ... FROM the role for the others.'
\endif

-- The same of sequences.
SELECT string_agg(name::text, ', ' ORDER BY name::text) AS free, count(*) > 0 AS some_free
  FROM ar_sync_sequences \gset
\if :some_free
\warn 'The role also has rights on these sequences, which belong to no column:' :free
\warn 'Leave those that functions use, and REVOKE ALL ON SEQUENCE ... FROM the role for the others.'
\endif

-- What only somebody else may give.
SELECT string_agg(statement || ';', ' ' ORDER BY statement) AS beyond, count(*) > 0 AS some_beyond
  FROM ar_sync_lacking WHERE NOT may_give \gset
\if :some_beyond
\warn 'The role also needs rights that you may not give. Let an administrator run:' :beyond
\endif

DROP TABLE pg_temp.ar_sync_lacking, pg_temp.ar_sync_sequences, pg_temp.ar_sync_called, pg_temp.ar_sync_outside, pg_temp.ar_sync_granted,
  pg_temp.ar_sync_tables, pg_temp.ar_sync_schemas, pg_temp.ar_sync_types,
  pg_temp.ar_sync_matched, pg_temp.ar_sync_patterns;
RESET search_path;
