-- The role with which the sender reads production: it can read the tables that travel and write
-- nothing. Run it as a superuser in the production database, and again after each migration that
-- makes a table; it gives and takes until the role's rights are exactly these.
--
--   psql -d transapp -f sender_role.sql
--   psql -d transapp -c '\password ar_sync_sender'
--
-- Variables (-v name=value):
--   role        ar_sync_sender
--   schema      public               `schema` of the catalog
--   tables      AndroidRequests_*    `tables` of the catalog: patterns, comma separated
--   new_tables  on                   tables that the application makes later may be read as well;
--                                    off: run this file after each migration
--   bypassrls   off                  on: the role sees all rows of tables with row level security;
--                                    without it a dump of such a table fails, since a part of a
--                                    table would make the receiver delete the rest

\set ON_ERROR_STOP on
\set QUIET on
\if :{?role} \else \set role ar_sync_sender \endif
\if :{?schema} \else \set schema public \endif
\if :{?tables} \else \set tables AndroidRequests_* \endif
\if :{?new_tables} \else \set new_tables on \endif
\if :{?bypassrls} \else \set bypassrls off \endif

BEGIN;
SET LOCAL client_min_messages = warning;

SELECT format('CREATE ROLE %I LOGIN', :'role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec

SELECT '^(' || string_agg(replace(replace(regexp_replace(
         trim(pattern), '([^[:alnum:]_*?])', '\\\1', 'g'), '*', '.*'), '?', '.'), '|') || ')$'
         AS pattern
  FROM unnest(string_to_array(:'tables', ',')) AS pattern \gset

-- What it had before goes first.
REVOKE ALL ON ALL TABLES IN SCHEMA :"schema" FROM :"role";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA :"schema" FROM :"role";
REVOKE ALL ON SCHEMA :"schema" FROM :"role";
REVOKE ALL ON DATABASE :"DBNAME" FROM :"role";

-- A partial collects the keys of its rows in temporary tables.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
-- To see how long other sessions' transactions have been open: of tables too large for the
-- watermark, changes that commit late are found by that.
GRANT pg_read_all_stats TO :"role";

SELECT format('ALTER ROLE %I BYPASSRLS', :'role') WHERE :'bypassrls'::boolean \gexec

SELECT format('GRANT SELECT ON %s TO %I', c.oid::regclass, :'role')
  FROM pg_class c
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p')
   AND (c.relname ~ :'pattern' OR c.relname = 'django_migrations') \gexec

-- A sequence belongs to its column, or only stands in the column's default.
SELECT DISTINCT format('GRANT SELECT ON SEQUENCE %s TO %I', q.oid::regclass, :'role')
  FROM pg_class c
  LEFT JOIN pg_attrdef a ON a.adrelid = c.oid
  JOIN pg_depend d ON (d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                       AND d.refclassid = 'pg_class'::regclass)
                   OR (d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                       AND d.refobjid = c.oid AND d.deptype IN ('a', 'i'))
  JOIN pg_class q ON q.relkind = 'S'
                 AND q.oid = CASE d.classid WHEN 'pg_attrdef'::regclass THEN d.refobjid
                                            ELSE d.objid END
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname ~ :'pattern' \gexec

SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner,
       CASE WHEN :'new_tables'::boolean THEN 'GRANT' ELSE 'REVOKE' END AS verb,
       CASE WHEN :'new_tables'::boolean THEN 'TO' ELSE 'FROM' END AS preposition
  INTO TEMP future
  FROM pg_class c
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relname ~ :'pattern'
   AND c.relkind IN ('r', 'p');
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I %s SELECT ON %s %s %I',
              owner, :'schema', verb, kind, preposition, :'role')
  FROM future CROSS JOIN unnest(ARRAY['TABLES', 'SEQUENCES']) AS kind \gexec
DROP TABLE future;

COMMIT;

-- What others gave it, or PUBLIC has: this file does not take that away.
SELECT r.rolsuper OR (r.rolbypassrls AND NOT :'bypassrls'::boolean) OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
       OR has_schema_privilege(r.oid, :'schema', 'CREATE')
       OR has_database_privilege(r.oid, :'DBNAME', 'CREATE')
       OR EXISTS (SELECT FROM pg_class c
                   WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                     AND has_table_privilege(r.oid, c.oid,
                                             'INSERT, UPDATE, DELETE, TRUNCATE')) AS too_much
  FROM pg_roles r WHERE r.rolname = :'role' \gset
\if :too_much
\warn 'This role can do more than read: by an attribute, by a membership, or by what PUBLIC may do'
\warn '(before PostgreSQL 15: REVOKE CREATE ON SCHEMA public FROM PUBLIC). Look with \\du and \\dp.'
\endif

-- A dump refuses a table of which the role would not see every row.
SELECT string_agg(c.relname, ', ' ORDER BY c.relname) AS hidden, count(*) > 0 AS some_hidden
  FROM pg_class c
  JOIN pg_roles r ON r.rolname = :'role'
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname ~ :'pattern' AND c.relrowsecurity AND NOT (r.rolsuper OR r.rolbypassrls)
   AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE')) \gset
\if :some_hidden
\warn 'Row level security may hide rows from this role:' :hidden
\warn 'Run this file again with -v bypassrls=on, or ALTER ROLE ... BYPASSRLS; dumps of these tables fail.'
\endif
