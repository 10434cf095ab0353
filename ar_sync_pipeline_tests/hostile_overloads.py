"""Functions and operators of a schema that PostgreSQL prefers to its own ones (CVE-2018-1058).

Of all functions of a name on the search path, the one with exactly the given argument types is
called, although ``pg_catalog`` is searched first (PostgreSQL manual, 10.2 and 10.3). A literal
counts as ``text`` if that decides.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from ar_sync_pipeline_tests.fix_sites import execute, rows

_PACKAGE = Path(__file__).parents[1]
_SOURCES = ("ar_sync_pipeline/**/*.py", "deploy/sql/*.sql")


def install_hostile_overloads(url: str, schema: str = "public") -> None:
    """Create overloads of what the product's statements call; each counts its calls and fails."""
    names = "{" + ",".join(sorted(_called_names())) + "}"
    execute(
        url,
        f"CREATE SCHEMA IF NOT EXISTS {schema}",
        f"CREATE SEQUENCE {schema}.hostile_calls",
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC",
        f"GRANT USAGE ON SEQUENCE {schema}.hostile_calls TO PUBLIC",
        _CREATE.replace("NAMES", names).replace("SCHEMA.", f"{schema}."),
    )


def hostile_calls(url: str, schema: str = "public") -> int:
    """Return how often one was called, also in transactions that were rolled back."""
    ((last, called),) = rows(url, f"SELECT last_value, is_called FROM {schema}.hostile_calls")
    return int(str(last)) if called else 0


def _called_names() -> set[str]:
    """Return all words before a parenthesis; those of functions of PostgreSQL are among them."""
    files = chain.from_iterable(_PACKAGE.glob(pattern) for pattern in _SOURCES)
    return {name for file in files for name in re.findall(r"\b[a-z]\w+(?=\()", file.read_text())}


_CREATE = r"""
DO $do$
DECLARE
  one record;
  types regtype[] := '{text,name,varchar,bpchar,"\"char\"",oid,regclass,regnamespace,regtype,int2,
    int4,int8,numeric,float4,float8,bool,date,timestamp,timestamptz,time,interval,uuid,bytea,jsonb,
    inet,money,xid,tid,record,text[],name[],oid[],int2[],int8[],int2vector,oidvector}';
  several regtype[] := '{text,name,oid,regclass,regnamespace,int4,int8,numeric}';
  arrays regtype[] := '{text[],name[],oid[],int2[],int4[],int8[]}';
  body text := 'BEGIN PERFORM pg_catalog.nextval(''SCHEMA.hostile_calls'');'
               ' RAISE EXCEPTION ''hostile overload of %I(%s)''; END';
BEGIN
  PERFORM set_config('search_path', 'pg_catalog', true);
  PERFORM set_config('client_min_messages', 'error', true);
  CREATE TEMP TABLE fits ON COMMIT DROP AS
    SELECT t AS wanted, t AS given FROM unnest(types) AS t
    UNION SELECT t, 'text' FROM unnest(types) AS t
    UNION SELECT casttarget, castsource FROM pg_cast
           WHERE castcontext = 'i' AND castsource = ANY (types) AND casttarget = ANY (types)
    UNION SELECT p, t FROM unnest(several) AS t,
           unnest('{"\"any\"",anyelement,anynonarray,anycompatible}'::regtype[]) AS p
    UNION SELECT p, t FROM unnest(arrays) AS t,
           unnest('{anyarray,anycompatiblearray}'::regtype[]) AS p;
  FOR one IN
    WITH RECURSIVE called AS (
      -- An oidvector begins with element 0, also as an array.
      SELECT proname, ARRAY(SELECT unnest(proargtypes)) AS wanted,
             provariadic = '"any"'::regtype AS more
        FROM pg_proc
       WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = ANY ('NAMES')
         AND pronargs BETWEEN 1 AND 4
         -- Only constraints of partitions call it; it would have 42,000 overloads.
         AND proname <> 'satisfies_hash_partition'
    ), part AS (
      SELECT proname, wanted, '{}'::oid[] AS given FROM called
      UNION ALL
      -- The arguments of a variadic function are given one by one.
      SELECT proname, wanted || array_fill('"any"'::regtype::oid, ARRAY[n]), '{}'
        FROM called, generate_series(1, 2) AS n WHERE more
      UNION ALL
      SELECT proname, p.wanted, p.given || f.given::oid
        FROM part p JOIN fits f ON f.wanted = p.wanted[cardinality(p.given) + 1])
    SELECT DISTINCT proname, given FROM part
     WHERE cardinality(given) = cardinality(wanted)
       AND (proname, given) NOT IN (SELECT c.proname, c.wanted FROM called c)
  LOOP
    EXECUTE format('CREATE FUNCTION SCHEMA.%I(%s) RETURNS text LANGUAGE plpgsql AS %L',
                   one.proname, array_to_string(one.given::regtype[], ', '),
                   format(body, one.proname, one.given::regtype[]));
  END LOOP;
  FOR one IN
    SELECT DISTINCT oprname, l.given AS left_type, r.given AS right_type
      FROM pg_operator o
      JOIN fits l ON l.wanted = oprleft
      JOIN fits r ON r.wanted = oprright
     WHERE oprname IN ('=', '<>', '<', '>', '<=', '>=', '+', '-', '*', '||', '>>', '~', '~~', '*=',
                       '*<>', '&&', '@>')
       AND NOT EXISTS (SELECT FROM pg_operator p WHERE p.oprname = o.oprname
                          AND (p.oprleft, p.oprright) = (l.given::oid, r.given::oid))
  LOOP
    EXECUTE format('CREATE OR REPLACE FUNCTION SCHEMA.hostile(%s, %s) RETURNS boolean'
                   ' LANGUAGE plpgsql AS %L', one.left_type, one.right_type,
                   format(body, 'operator', ARRAY[one.left_type, one.right_type]::regtype[]));
    EXECUTE format('CREATE OPERATOR SCHEMA.%s (FUNCTION = SCHEMA.hostile, LEFTARG = %s,'
                   ' RIGHTARG = %s)', one.oprname, one.left_type, one.right_type);
  END LOOP;
END $do$
"""
