"""Foreign keys that only one partition has, or that name one: checked when a load has written.

A merge knows tables as a whole, so it does not follow such a key; a session that suppresses side
effects does not enforce it either.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.schema_queries import COLLATES_OF_REFERENCE
from ar_sync_pipeline.postgres.session_settings import built_in_search_path
from ar_sync_pipeline.postgres.sql_parts import any_null, exists
from ar_sync_pipeline.postgres.table_facts import ForeignKey, TableFacts


def check_leaf_references(connection: Connection, written: Collection[TableFacts]) -> None:
    """Check the foreign keys of and to single partitions of the tables that a load has written.

    Raises:
        LoadRefusedError: A row refers to a row that does not exist.
    """
    names = [facts.relation.as_string(connection) for facts in written]
    with built_in_search_path(connection):
        keys = connection.execute(_KEYS, {"written": names}).fetchall()
    for child, parent, name, *shape, period, collates in keys:
        columns, referenced, operators = map(tuple, shape)
        key = ForeignKey(
            name, "", columns, "", referenced, operators, period=period, collates=tuple(collates)
        )
        _check(connection, key, _Relation(**child), _Relation(**parent))


@dataclass(frozen=True)
class _Relation:
    """A partition, or a table that a key of a partition names.

    Attributes:
        root: Schema and name of the partitioned table, if the rows have to be read through it: a
            right on that table is none on its partitions.
    """

    oid: int
    name: tuple[str, str]
    plain: bool
    root: tuple[str, str] | None

    @property
    def rows(self) -> sql.Composed:
        if self.root is not None:
            return sql.SQL(
                "(SELECT * FROM {} AS r"
                " WHERE r.tableoid IN (SELECT t.relid::oid"
                " FROM pg_catalog.pg_partition_tree({}::oid::regclass) AS t))"
            ).format(sql.Identifier(*self.root), sql.Literal(self.oid))
        only = sql.SQL("ONLY {}") if self.plain else sql.SQL("{}")
        return only.format(sql.Identifier(*self.name))


def _check(connection: Connection, key: ForeignKey, child: _Relation, parent: _Relation) -> None:
    orphans = sql.SQL("{} AS c WHERE NOT {} AND NOT {}").format(
        child.rows, any_null("c", key.columns), key.has_parent("c", parent.rows)
    )
    if exists(connection, orphans):
        here, there = (
            printable(sql.Identifier(*one.name).as_string(connection)) for one in (child, parent)
        )
        raise LoadRefusedError(
            f"rows of {here} would refer by {printable(key.name)} to rows that {there} does not"
            " have; a load does not follow foreign keys of single partitions",
            remedy="wait for the next complete archive, which has the rows if the sender has them;"
            " otherwise declare this foreign key between the partitioned tables, or delete these"
            " rows; the archive is tried again by itself",
        )


_KEYS = sql.SQL("""
WITH relation AS NOT MATERIALIZED (
  SELECT c.oid, c.relispartition, pg_partition_root(c.oid) AS root,
         json_build_object(
           'oid', c.oid::bigint, 'name', ARRAY[n.nspname, c.relname], 'plain', c.relkind = 'r',
           'root', CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
                          OR NOT has_table_privilege(c.oid, 'SELECT')
                        THEN (SELECT ARRAY[m.nspname, r.relname]
                                FROM pg_class r
                                JOIN pg_namespace m ON m.oid = r.relnamespace
                               WHERE r.oid = pg_partition_root(c.oid) AND r.oid <> c.oid
                                 AND has_schema_privilege(m.oid, 'USAGE')
                                 AND has_table_privilege(r.oid, 'SELECT')) END) AS facts
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace)
SELECT c.facts, p.facts, k.conname,
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
              ORDER BY x.place),
       coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false),
       {collates}
  FROM pg_constraint k
  JOIN relation c ON c.oid = k.conrelid
  JOIN relation p ON p.oid = k.confrelid
 WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
   AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
   AND (c.relispartition OR p.relispartition)
   AND (coalesce(c.root, c.oid) = ANY (%(written)s::regclass[]::oid[])
        OR coalesce(p.root, p.oid) = ANY (%(written)s::regclass[]::oid[]))
""").format(collates=sql.SQL(COLLATES_OF_REFERENCE))
