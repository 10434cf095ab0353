-- The role with which the sender reads production: it can read the replicated tables and write
-- nothing. Run it as a superuser in the production database, and again after each migration that
-- makes a table; it gives and takes until the role's rights are exactly these.
--
--   psql -d transapp -f sender_role.sql
--   psql -d transapp -c '\password ar_sync_sender'
--
-- Variables (-v name=value):
--   role        ar_sync_sender
--   schema      public               `schema` of the catalog
--   tables      AndroidRequests_*    `tables` of the catalog: patterns, comma separated, those of
--                                    other schemas as schema.table
--   exclude                          `exclude` of the catalog, likewise
--   exclude_columns                  `exclude` of its tables as table.column or schema.table.column:
--                                    the role cannot read these columns
--   new_tables  off                  a dump with a table that this role may not read fails until
--                                    this file has been run again; on: every table that the
--                                    application makes later may be read at once, whatever its
--                                    name, with all its columns
--   stats       on                   the role sees how long other transactions have been open, and
--                                    the texts of other sessions' statements with that; off: of
--                                    tables too large for the watermark, rows of transactions that
--                                    stay open for longer than TIME wait for the next complete
--   bypassrls   off                  on: the role sees all rows of tables with row level security;
--                                    without it a dump of such a table fails, since a part of a
--                                    table would make the receiver delete the rest

\set ON_ERROR_STOP on
\set QUIET on
-- Whoever may create functions in another schema would otherwise run them here as a superuser
-- (PostgreSQL manual, 10.3: the function with the exact argument types is called).
SET search_path = pg_catalog, pg_temp;
\if :{?role} \else \set role ar_sync_sender \endif
\if :{?schema} \else \set schema public \endif
\if :{?tables} \else \set tables AndroidRequests_* \endif
\if :{?exclude} \else \set exclude '' \endif
\if :{?exclude_columns} \else \set exclude_columns '' \endif
\if :{?new_tables} \else \set new_tables off \endif
\if :{?stats} \else \set stats on \endif
\if :{?bypassrls} \else \set bypassrls off \endif

BEGIN;
SET LOCAL client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

\set keys_only on
\ir catalog_tables.sql

-- What it had before goes first, in every schema.
SELECT format('REVOKE ALL ON ALL TABLES IN SCHEMA %1$I FROM %2$I;'
              'REVOKE ALL ON ALL SEQUENCES IN SCHEMA %1$I FROM %2$I;'
              'REVOKE ALL ON SCHEMA %1$I FROM %2$I', nspname, :'role')
  FROM pg_namespace
 WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'ar_sync') \gexec
SELECT DISTINCT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM %I',
                       pg_get_userbyid(d.defaclrole), ' IN SCHEMA ' || quote_ident(n.nspname),
                       CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END, :'role')
  FROM pg_default_acl d
  LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
 CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
 WHERE a.grantee = (SELECT oid FROM pg_roles WHERE rolname = :'role')
   AND d.defaclobjtype IN ('r', 'S') \gexec
REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";

-- A partial collects the keys of its rows in temporary tables.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
SELECT format('GRANT USAGE ON SCHEMA %s TO %I', schema, :'role') FROM ar_sync_schemas \gexec
-- A mask makes values of its column's type.
SELECT DISTINCT format('GRANT USAGE ON SCHEMA %s TO %I', t.typnamespace::regnamespace, :'role')
  FROM ar_sync_tables c
  JOIN pg_attribute a ON a.attrelid = c.name AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid AND t.typnamespace <> 'pg_catalog'::regnamespace \gexec
-- What identifies the cluster, where it was taken from PUBLIC.
INSERT INTO ar_sync_lacking
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', name, :'role'),
       has_function_privilege(name, 'EXECUTE WITH GRANT OPTION')
  FROM (VALUES ('pg_control_system()'), ('pg_control_checkpoint()')) AS needed (name)
 WHERE NOT has_function_privilege(:'role', name, 'EXECUTE');
-- To see how long other sessions' transactions have been open: of tables too large for the
-- watermark, changes that commit late are found by that.
-- Until version 15 whoever may create roles gives it.
INSERT INTO ar_sync_lacking
SELECT format('GRANT pg_read_all_stats TO %I', :'role'),
       pg_has_role('pg_read_all_stats', 'MEMBER WITH ADMIN OPTION')
       OR rolcreaterole AND current_setting('server_version_num')::int < 160000
  FROM pg_roles
 WHERE rolname = current_user AND :'stats'::boolean
   AND NOT pg_has_role(:'role', 'pg_read_all_stats', 'USAGE');
SELECT format('REVOKE pg_read_all_stats FROM %I', :'role')
 WHERE NOT :'stats'::boolean AND pg_has_role(:'role', 'pg_read_all_stats', 'MEMBER') \gexec
SELECT statement FROM ar_sync_lacking WHERE may_give \gexec

SELECT format('ALTER ROLE %I BYPASSRLS', :'role') WHERE :'bypassrls'::boolean \gexec

-- A table with an excluded column is granted column by column, without what is computed from it.
-- Changed rows are found by xmin.
CREATE TEMP TABLE ar_sync_hidden AS
SELECT a.attrelid, a.attnum, x.given
  FROM (SELECT CASE WHEN :'separator' = ',' THEN trim(e) ELSE e END AS given
          FROM unnest(string_to_array(:'exclude_columns', :'separator')) AS e) AS x
  LEFT JOIN (ar_sync_tables t
             JOIN pg_class c ON c.oid = t.name
             JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
         ON x.given = n.nspname || '.' || c.relname || '.' || a.attname
         OR (n.nspname = :'schema' AND x.given = c.relname || '.' || a.attname)
 WHERE x.given <> '';
-- `ar-sync grants` has the names of a catalog, of which a migration may have dropped a table.
DELETE FROM ar_sync_hidden h
 WHERE attrelid IS NULL AND :'separator' <> ','
   AND NOT EXISTS (SELECT FROM ar_sync_tables t
                     JOIN pg_class c ON c.oid = t.name
                     JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE starts_with(h.given, n.nspname || '.' || c.relname || '.'));
DO $$ DECLARE
  unmatched text := (SELECT string_agg(quote_literal(given), ', ') FROM ar_sync_hidden
                      WHERE attrelid IS NULL);
BEGIN
  IF unmatched IS NOT NULL THEN
    RAISE EXCEPTION '% of `exclude_columns` is no column of a table that the role may read; nothing'
                    ' was changed', unmatched;
  END IF;
END $$;
-- A partition that is granted by its own name hides what its table hides.
INSERT INTO ar_sync_hidden
SELECT a.attrelid, a.attnum
  FROM ar_sync_hidden h
  JOIN pg_attribute o ON (o.attrelid, o.attnum) = (h.attrelid, h.attnum)
 CROSS JOIN LATERAL pg_partition_tree(h.attrelid) AS p
  JOIN pg_attribute a ON a.attrelid = p.relid AND a.attname = o.attname AND NOT a.attisdropped
 WHERE p.relid <> h.attrelid;
-- Until version 14 a computed column, not its expression, depends on what it is computed from.
INSERT INTO ar_sync_hidden
SELECT a.attrelid, a.attnum
  FROM ar_sync_hidden h
  JOIN pg_attribute a ON a.attrelid = h.attrelid AND a.attgenerated <> ''
  JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
 WHERE EXISTS (SELECT FROM pg_depend d
                WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = h.attrelid
                  AND d.refobjsubid = h.attnum
                  AND (d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                       OR d.classid = 'pg_class'::regclass AND d.objid = a.attrelid
                          AND d.objsubid = a.attnum));

SELECT format('GRANT SELECT ON %s TO %I', name, :'role') FROM ar_sync_tables
 WHERE name NOT IN (SELECT attrelid FROM ar_sync_hidden) \gexec
SELECT format('GRANT SELECT (%s, xmin) ON %s TO %I',
              string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), t.name, :'role')
  FROM ar_sync_tables t
  JOIN pg_attribute a ON a.attrelid = t.name AND a.attnum > 0 AND NOT a.attisdropped
 WHERE t.name IN (SELECT attrelid FROM ar_sync_hidden)
   AND NOT EXISTS (SELECT FROM ar_sync_hidden h
                    WHERE (h.attrelid, h.attnum) = (a.attrelid, a.attnum))
 GROUP BY t.name \gexec
SELECT format('GRANT SELECT ON %I.django_migrations TO %I', :'schema', :'role')
 WHERE to_regclass(format('%I.django_migrations', :'schema')) IS NOT NULL \gexec

-- A sequence belongs to its column, or is only named in the column's default.
SELECT DISTINCT format('GRANT SELECT ON SEQUENCE %s TO %I', q.oid::regclass, :'role'),
       format('GRANT USAGE ON SCHEMA %s TO %I', q.relnamespace::regnamespace, :'role')
  FROM ar_sync_tables c
  LEFT JOIN pg_attrdef a ON a.adrelid = c.name
  JOIN pg_depend d ON (d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                       AND d.refclassid = 'pg_class'::regclass)
                   OR (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                       AND d.refobjid = c.name AND d.deptype IN ('a', 'i'))
  JOIN pg_class q ON q.relkind = 'S'
                 AND q.oid = CASE d.classid WHEN 'pg_attrdef'::regclass THEN d.refobjid
                                            ELSE d.objid END
 WHERE NOT EXISTS (SELECT FROM ar_sync_hidden h
                    WHERE h.attrelid = c.name
                      AND h.attnum = CASE d.classid WHEN 'pg_attrdef'::regclass THEN a.adnum
                                                    ELSE d.refobjsubid END) \gexec

SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %s GRANT %s TO %I',
              pg_get_userbyid(owner), schema, rights, :'role')
  FROM (SELECT DISTINCT owner, schema FROM ar_sync_tables) AS future
 CROSS JOIN unnest(ARRAY['SELECT ON TABLES', 'SELECT ON SEQUENCES']) AS rights
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
                     AND has_schema_privilege(r.oid, n.oid, 'USAGE')
                     AND has_table_privilege(r.oid, c.oid,
                                             'INSERT, UPDATE, DELETE, TRUNCATE')) AS too_much
  FROM pg_roles r WHERE r.rolname = :'role' \gset
\if :too_much
\warn 'This role can do more than read: by an attribute, by a membership, or by what PUBLIC may do'
\warn '(before PostgreSQL 15: REVOKE CREATE ON SCHEMA public FROM PUBLIC). Look with \\du and \\dp.'
\endif

SELECT array_to_string((array_agg(name ORDER BY name))[:5], ', ')
       || CASE WHEN count(*) > 5 THEN format(' and %s more', count(*) - 5) ELSE '' END AS readable,
       count(*) > 0 AS some_readable
  FROM (SELECT c.oid::regclass::text AS name
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ar_sync')
           AND c.relkind IN ('r', 'p', 'm', 'f') AND has_schema_privilege(:'role', n.oid, 'USAGE')
           AND has_any_column_privilege(:'role', c.oid, 'SELECT')
           AND c.oid NOT IN (SELECT name FROM ar_sync_tables)
           AND c.oid IS DISTINCT FROM to_regclass(format('%I.django_migrations', :'schema'))
           AND NOT EXISTS (SELECT FROM pg_depend d
                            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
         UNION
        SELECT format('%s.%I', a.attrelid::regclass, a.attname)
          FROM ar_sync_hidden h JOIN pg_attribute a ON (a.attrelid, a.attnum) = (h.attrelid, h.attnum)
         WHERE has_column_privilege(:'role', a.attrelid, a.attnum, 'SELECT')) AS x \gset
\if :some_readable
\warn 'By an attribute, by a membership, or by what PUBLIC may do, this role also reads:' :readable
\warn 'Look with \\du and \\dp; REVOKE SELECT ... FROM PUBLIC, or REVOKE the membership.'
\endif

-- A dump refuses a table of which the role would not see every row.
SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) AS hidden,
       count(*) > 0 AS some_hidden
  FROM ar_sync_tables t
  JOIN pg_class c ON c.oid = t.name
  JOIN pg_roles r ON r.rolname = :'role'
 WHERE c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
   AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) \gset
\if :some_hidden
\warn 'Row level security may hide rows from this role:' :hidden
\warn 'Run this file again with -v bypassrls=on, or ALTER ROLE ... BYPASSRLS; dumps of these tables fail.'
\endif

SELECT string_agg(oid::regclass::text, ', ' ORDER BY oid::regclass::text) AS lost, count(*) > 0 AS some_lost
  FROM ar_sync_granted
 WHERE NOT has_any_column_privilege(:'role', oid, 'SELECT, INSERT, UPDATE') \gset
\if :some_lost
\warn 'The role had rights on these tables, which this catalog does not name, and has them no longer:' :lost
\warn 'If another catalog needs them, give each catalog a role of its own (-v role=...).'
\endif

-- What only somebody else may give.
SELECT string_agg(statement || ';', ' ' ORDER BY statement) AS beyond, count(*) > 0 AS some_beyond
  FROM ar_sync_lacking WHERE NOT may_give \gset
\if :some_beyond
\warn 'The role also needs rights that you may not give. Let an administrator run:' :beyond
\endif

DROP TABLE pg_temp.ar_sync_lacking, pg_temp.ar_sync_hidden, pg_temp.ar_sync_granted, pg_temp.ar_sync_tables, pg_temp.ar_sync_schemas, pg_temp.ar_sync_types,
  pg_temp.ar_sync_matched, pg_temp.ar_sync_patterns;
RESET search_path;
