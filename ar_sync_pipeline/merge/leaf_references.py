"""Foreign keys that only one partition has, or that name one: a load does not follow them.

A merge knows tables as a whole. A session that suppresses side effects does not enforce such a key,
so it is checked when a load has written; in another session the server carries out its actions,
which no plan shows, so what they would change is looked for before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.merge.differences import CHANGE, REPLACE
from ar_sync_pipeline.merge.found_changes import FoundChanges
from ar_sync_pipeline.merge.target_table import row_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.schema_queries import COLLATES_OF_REFERENCE
from ar_sync_pipeline.postgres.session_settings import built_in_search_path
from ar_sync_pipeline.postgres.sql_parts import any_null, exists
from ar_sync_pipeline.postgres.table_facts import Action, ForeignKey, TableFacts


def check_leaf_references(connection: Connection, written: Collection[TableFacts]) -> None:
    """Check the foreign keys of and to single partitions of the tables that a load has written.

    Raises:
        LoadRefusedError: A row refers to a row that does not exist.
    """
    for leaf in _leaf_keys(connection, written):
        if leaf.key.validated:
            leaf.check(connection)


def refuse_actions_on_leaf_references(found: FoundChanges) -> None:
    """Refuse deletions and changes that would change receiver-only rows by such a foreign key.

    Raises:
        LoadRefusedError: The action of a key to a single partition would change rows.
    """
    firing = {
        target.facts.place: target.facts
        for name, target in found.references.targets.items()
        if found.effects.fires(target)
        if found.to_delete.counts.get(name) or name in found.differences
    }
    if not firing:
        return
    replicated = {target.facts.place for target in found.references.targets.values()}
    for leaf in _leaf_keys(found.connection, firing.values()):
        if leaf.parent_root in firing and leaf.child_root not in replicated:
            leaf.refuse_actions(found, firing[leaf.parent_root])


@dataclass(frozen=True)
class _LeafKey:
    """A foreign key of or to a single partition.

    Attributes:
        child_root: Schema and name of the table to which the referring rows belong.
        parent_root: Schema and name of the table to which the rows referred to belong.
    """

    key: ForeignKey
    child: _Relation
    parent: _Relation
    child_root: tuple[str, str]
    parent_root: tuple[str, str]

    def check(self, connection: Connection) -> None:
        key = self.key
        orphans = sql.SQL("{} AS c WHERE NOT {} AND NOT {}").format(
            self.child.rows,
            any_null("c", key.columns),
            key.has_parent("c", self.parent.rows),
        )
        if exists(connection, orphans):
            self._refuse(
                "rows of {} would refer by {} to rows that {} does not have",
                "wait for the next complete archive, which has the rows if the sender has them;"
                " otherwise declare this foreign key between the partitioned tables, or delete"
                " these rows; the archive is tried again by itself",
            )

    def refuse_actions(self, found: FoundChanges, root: TableFacts) -> None:
        for lost in self._losing(found, root):
            rows = sql.SQL("{} AS c JOIN {} AS t ON {} WHERE {}").format(
                self.child.rows, self.parent.rows, self.key.refers("c", "t"), lost
            )
            if exists(found.connection, rows):
                self._refuse(
                    "rows of {} refer by {}, whose action would change them, to rows of {} that the"
                    " sender deleted or changed",
                    "declare this foreign key to the partitioned table, or let these rows refer to"
                    " others; the archive is tried again by itself",
                )

    def _losing(self, found: FoundChanges, root: TableFacts) -> Iterator[sql.Composed]:
        """Yield conditions that the row ``t`` of the partition goes, or loses its values."""
        to_delete, difference = found.to_delete, found.differences.get(root.name)
        if self.key.on_delete.writes and to_delete.counts.get(root.name):
            yield to_delete.identity(root.name).is_in("t", to_delete.relation(root.name))
        if difference is None or not difference.changed:
            return
        staged = sql.SQL("EXISTS (SELECT FROM {} WHERE {} AND {})")
        same = difference.target.same_row("t", "n")
        if self.key.on_delete.writes:
            yield staged.format(difference.rows((REPLACE,)), same, sql.SQL("true"))
        columns = [c for c in self.key.referenced_columns if c in difference.target.shared]
        if self.key.on_update.writes and columns:
            differs = sql.SQL("{} *<> {}").format(row_of(columns, "t"), row_of(columns, "n"))
            yield staged.format(difference.rows((CHANGE,)), same, differs)

    def _refuse(self, problem: str, remedy: str) -> None:
        here, there = (
            printable(sql.Identifier(*one.name).as_string(None))
            for one in (self.child, self.parent)
        )
        raise LoadRefusedError(
            f"{problem.format(here, printable(self.key.name), there)}; a load does not follow"
            " foreign keys of single partitions",
            remedy=remedy,
        )


def _leaf_keys(connection: Connection, tables: Iterable[TableFacts]) -> Iterator[_LeafKey]:
    """Yield the foreign keys of and to single partitions of tables."""
    names = [facts.relation.as_string(connection) for facts in tables]
    with built_in_search_path(connection):
        keys = connection.execute(_KEYS, {"written": names}).fetchall()
    for child, parent, roots, facts, *shape, collates in keys:
        columns, referenced, operators = map(tuple, shape)
        key = ForeignKey(
            facts["name"],
            "",
            columns,
            "",
            referenced,
            operators,
            on_delete=Action(facts["on_delete"]),
            on_update=Action(facts["on_update"]),
            validated=facts["validated"],
            period=facts["period"],
            collates=tuple(collates),
        )
        child_root, parent_root = map(tuple, roots)
        yield _LeafKey(key, _Relation(**child), _Relation(**parent), child_root, parent_root)


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


_KEYS = sql.SQL("""
WITH relation AS NOT MATERIALIZED (
  SELECT c.oid, c.relispartition, pg_partition_root(c.oid) AS root,
         (SELECT ARRAY[m.nspname, r.relname] FROM pg_class r
            JOIN pg_namespace m ON m.oid = r.relnamespace
           WHERE r.oid = coalesce(pg_partition_root(c.oid), c.oid)) AS place,
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
SELECT c.facts, p.facts, json_build_array(c.place, p.place),
       json_build_object(
         'name', k.conname, 'on_delete', k.confdeltype, 'on_update', k.confupdtype,
         'validated', k.convalidated,
         'period', coalesce((to_jsonb(k) ->> 'conperiod')::boolean, false)),
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
       {collates}
  FROM pg_constraint k
  JOIN relation c ON c.oid = k.conrelid
  JOIN relation p ON p.oid = k.confrelid
 WHERE k.contype = 'f' AND k.conparentid = 0
   AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
   AND (c.relispartition OR p.relispartition)
   AND (coalesce(c.root, c.oid) = ANY (%(written)s::regclass[]::oid[])
        OR coalesce(p.root, p.oid) = ANY (%(written)s::regclass[]::oid[]))
""").format(collates=sql.SQL(COLLATES_OF_REFERENCE))
