-- The role with which the receiver loads: it can write the catalog's tables and schema ar_sync,
-- and nothing else. Run it as a superuser in the visualization database, and again after each
-- migration that makes a table; it gives and takes until the role's rights are exactly these.
--
--   psql -d transapp_viz -f receiver_role.sql
--   psql -d transapp_viz -c '\password ar_sync_receiver'
--
-- Variables (-v name=value):
--   role        ar_sync_receiver
--   schema      public               `schema` of the catalog
--   tables      AndroidRequests_*    `tables` of the catalog: patterns, comma separated; the
--                                    receiver's own tables of the catalog match them too
--   new_tables  off                  an archive with a table that this role may not write is
--                                    parked until this file has been run again; on: every table
--                                    that the application makes later may be written at once,
--                                    whatever its name

\set ON_ERROR_STOP on
\set QUIET on
\if :{?role} \else \set role ar_sync_receiver \endif
\if :{?schema} \else \set schema public \endif
\if :{?tables} \else \set tables AndroidRequests_* \endif
\if :{?new_tables} \else \set new_tables off \endif

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

-- An archive's rows are staged in temporary tables.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";

SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', c.oid::regclass, :'role')
  FROM pg_class c
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p')
   AND c.relname ~ :'pattern' \gexec

-- Before a row is deleted, tables outside the catalog are looked at for rows that refer to it.
-- They are not written: where there is such a row, the load says so and changes nothing.
SELECT DISTINCT format('GRANT SELECT ON %s TO %I', k.conrelid::regclass, :'role')
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_class r ON r.oid = k.confrelid
 WHERE k.contype = 'f' AND r.relnamespace = :'schema'::regnamespace
   AND c.relnamespace = :'schema'::regnamespace
   AND r.relname ~ :'pattern' AND c.relname !~ :'pattern' \gexec

SELECT format('GRANT SELECT ON %I.django_migrations TO %I', :'schema', :'role')
 WHERE to_regclass(format('%I.django_migrations', :'schema')) IS NOT NULL \gexec

-- A sequence belongs to its column, or only stands in the column's default.
SELECT DISTINCT format('GRANT USAGE, SELECT, UPDATE ON SEQUENCE %s TO %I', q.oid::regclass, :'role')
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

-- The product makes its own tables there; what another role made there before becomes its own.
SELECT format('CREATE SCHEMA ar_sync AUTHORIZATION %I', :'role')
 WHERE to_regnamespace('ar_sync') IS NULL \gexec
ALTER SCHEMA ar_sync OWNER TO :"role";
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'role')
  FROM pg_class c
 WHERE c.relnamespace = 'ar_sync'::regnamespace AND c.relkind IN ('r', 'p') \gexec

SELECT DISTINCT pg_get_userbyid(c.relowner) AS owner,
       CASE WHEN :'new_tables'::boolean THEN 'GRANT' ELSE 'REVOKE' END AS verb,
       CASE WHEN :'new_tables'::boolean THEN 'TO' ELSE 'FROM' END AS preposition
  INTO TEMP future
  FROM pg_class c
 WHERE c.relnamespace = :'schema'::regnamespace AND c.relname ~ :'pattern'
   AND c.relkind IN ('r', 'p');
SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I %s %s %s %I',
              owner, :'schema', verb, rights, preposition, :'role')
  FROM future
 CROSS JOIN unnest(ARRAY['SELECT, INSERT, UPDATE, DELETE ON TABLES',
                         'USAGE, SELECT, UPDATE ON SEQUENCES']) AS rights \gexec
DROP TABLE future;

COMMIT;

-- What others gave it, or PUBLIC has: this file does not take that away.
SELECT r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
       OR has_schema_privilege(r.oid, :'schema', 'CREATE')
       OR has_database_privilege(r.oid, :'DBNAME', 'CREATE')
       OR EXISTS (SELECT FROM pg_class c
                   WHERE c.relnamespace = :'schema'::regnamespace AND c.relkind IN ('r', 'p', 'v')
                     AND c.relname !~ :'pattern'
                     AND has_table_privilege(r.oid, c.oid,
                                             'INSERT, UPDATE, DELETE, TRUNCATE')) AS too_much
  FROM pg_roles r WHERE r.rolname = :'role' \gset
\if :too_much
\warn 'This role can write more than the catalog: by an attribute, by a membership, or by what PUBLIC'
\warn 'may do (before PostgreSQL 15: REVOKE CREATE ON SCHEMA public FROM PUBLIC). Look with \\du and \\dp.'
\endif
