"""Foreign keys that only one partition has, or that name one: checked when a load has written.

A merge knows tables as a whole, so it does not follow such a key; a session that suppresses side
effects does not enforce it either.
"""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


def check_leaf_references(connection: Connection, written: Collection[TableFacts]) -> None:
    """Check the foreign keys of and to single partitions of the tables that a load has written.

    Raises:
        LoadRefusedError: A row refers to a row that does not exist.
    """
    names = [facts.relation.as_string(connection) for facts in written]
    for child, parent, *key in connection.execute(_KEYS, {"written": names}).fetchall():
        _check(connection, sql.Identifier(*child), sql.Identifier(*parent), *key)


def _check(
    connection: Connection,
    child: sql.Identifier,
    parent: sql.Identifier,
    name: str,
    columns: list[str],
    referenced: list[str],
    operators: list[str],
) -> None:
    key = ForeignKey(name, "", tuple(columns), "", tuple(referenced), tuple(operators))
    given = sql.SQL(" AND ").join(
        sql.SQL("{} IS NOT NULL").format(sql.Identifier("c", column)) for column in columns
    )
    orphan = sql.SQL(
        "SELECT EXISTS (SELECT FROM {} AS c WHERE {} AND NOT EXISTS (SELECT FROM {} AS p WHERE {}))"
    ).format(child, given, parent, key.refers("c", "p"))
    if scalar(connection, orphan):
        here, there = (printable(one.as_string(connection)) for one in (child, parent))
        raise LoadRefusedError(
            f"rows of {here} would refer by {printable(name)} to rows that {there} no longer has;"
            " a load does not follow foreign keys of single partitions",
            remedy="declare this foreign key between the partitioned tables, or delete these rows;"
            " the archive is tried again by itself",
        )


_KEYS = """
SELECT ARRAY[cn.nspname, c.relname], ARRAY[pn.nspname, p.relname], k.conname,
       ARRAY(SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY AS x (attnum, place)
               JOIN pg_attribute a ON (a.attrelid, a.attnum) = (k.conrelid, x.attnum)
              ORDER BY x.place),
       ARRAY(SELECT a.attname FROM unnest(k.confkey) WITH ORDINALITY AS x (attnum, place)
               JOIN pg_attribute a ON (a.attrelid, a.attnum) = (k.confrelid, x.attnum)
              ORDER BY x.place),
       ARRAY(SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname)
               FROM unnest(k.conpfeqop) WITH ORDINALITY AS x (operator, place)
               JOIN pg_operator o ON o.oid = x.operator
               JOIN pg_namespace n ON n.oid = o.oprnamespace
              ORDER BY x.place)
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = k.confrelid
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
   AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
   AND (c.relispartition OR p.relispartition)
   AND (coalesce(pg_partition_root(c.oid), c.oid) = ANY (%(written)s::regclass[]::oid[])
        OR coalesce(pg_partition_root(p.oid), p.oid) = ANY (%(written)s::regclass[]::oid[]))
"""
