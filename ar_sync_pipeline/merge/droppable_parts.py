"""Parts that an empty table does not need while it is filled: foreign keys, keys, indexes.

A part is dropped only if its definition restores all of it. One with a comment, a tablespace, a
changed trigger, a mark for CLUSTER or replication, or a dependent object is not dropped. Neither is
a part that the role may drop but not create again: an owner may drop an index without the right to
create one in the schema, and a foreign key without the right to refer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.session_settings import built_in_search_path


@dataclass(frozen=True)
class DroppablePart:
    """An index, a key or a foreign key.

    Attributes:
        drop: Statement that drops the part.
        restore: Statement that creates the part again.
        foreign_key: Schema, table and name of a foreign key; None for other parts.
    """

    drop: str
    restore: str
    foreign_key: tuple[str, str, str] | None = None


def droppable_parts(
    connection: Connection, targets: Sequence[TargetTable], *, keys: bool
) -> list[DroppablePart]:
    """Return the droppable parts of some tables, in an order in which they can be restored.

    A foreign key is included only if both of its tables are named.

    Args:
        keys: Whether to include primary and unique keys on which nothing else depends, and the
            foreign keys of other empty tables to the named ones.
    """
    tables = [target.relation.as_string(connection) for target in targets]
    with (
        built_in_search_path(connection),
        connection.cursor(row_factory=class_row(DroppablePart)) as cursor,
    ):
        return [
            _with_tuple(part)
            for query in (_INDEXES, *((_KEYS,) if keys else ()), _FOREIGN_KEYS)
            for part in cursor.execute(query, {"tables": tables, "keys": keys}).fetchall()
        ]


def _with_tuple(part: DroppablePart) -> DroppablePart:
    """Turn the list that the driver makes of an array into a tuple."""
    if part.foreign_key is None:
        return part
    schema, table, name = part.foreign_key
    return DroppablePart(part.drop, part.restore, (schema, table, name))


# Since version 17 an index is created under the search path pg_catalog, where an expression's
# function may not find what it names. Built-in functions have no entry.
_PLAIN_INDEX = """
   has_schema_privilege(n.oid, 'CREATE')
   AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident AND NOT i.indisexclusion
   AND c.relkind = 'i' AND NOT c.relispartition AND c.reltablespace = 0
   AND obj_description(c.oid, 'pg_class') IS NULL
   AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attstattarget > 0)
   AND NOT EXISTS (SELECT FROM pg_depend d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass))
"""
_INDEXES = f"""
SELECT format('DROP INDEX %%I.%%I', n.nspname, c.relname) AS drop,
       pg_get_indexdef(i.indexrelid) AS restore
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = ANY (%(tables)s::regclass[]) AND NOT i.indisunique AND {_PLAIN_INDEX}
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass
                    AND d.refobjid = c.oid)
 ORDER BY c.relname
"""
_PLAIN_FOREIGN_KEYS = """
SELECT k.* FROM pg_constraint k
 WHERE k.contype = 'f' AND has_table_privilege(k.confrelid, 'REFERENCES')
   AND k.convalidated AND k.conparentid = 0 AND k.coninhcount = 0
   AND k.confrelid = ANY (%(tables)s::regclass[])
   AND (k.conrelid = ANY (%(tables)s::regclass[])
        OR %(keys)s AND EXISTS (
             SELECT FROM pg_class r WHERE r.oid = k.conrelid AND r.relkind = 'r'
                AND pg_relation_size(r.oid) = 0 AND pg_has_role(r.relowner, 'USAGE')))
   AND obj_description(k.oid, 'pg_constraint') IS NULL
   AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_constraint'::regclass
                    AND d.refobjid = k.oid AND d.deptype <> 'i')
"""
# The definition of a constraint does not contain the storage parameters of its index.
_KEYS = f"""
WITH dropped AS ({_PLAIN_FOREIGN_KEYS})
SELECT CASE WHEN k.oid IS NULL THEN format('DROP INDEX %%I.%%I', n.nspname, c.relname)
            ELSE format('ALTER TABLE %%s DROP CONSTRAINT %%I', i.indrelid::regclass, k.conname)
       END AS drop,
       CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
            ELSE format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', i.indrelid::regclass, k.conname,
                        pg_get_constraintdef(k.oid)) END AS restore
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u')
 WHERE i.indrelid = ANY (%(tables)s::regclass[]) AND i.indisunique AND {_PLAIN_INDEX}
   AND i.indimmediate
   AND (k.oid IS NULL OR (k.conparentid = 0 AND k.coninhcount = 0 AND c.reloptions IS NULL
                          AND obj_description(k.oid, 'pg_constraint') IS NULL))
   AND NOT EXISTS (
         SELECT FROM pg_depend d
          WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                 OR d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid)
            AND NOT (d.classid = 'pg_class'::regclass AND d.objid = c.oid)
            AND NOT (d.classid = 'pg_constraint'::regclass
                     AND d.objid IN (SELECT oid FROM dropped)))
 ORDER BY c.relname
"""
_FOREIGN_KEYS = f"""
SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', k.conrelid::regclass, k.conname) AS drop,
       format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', k.conrelid::regclass, k.conname,
              pg_get_constraintdef(k.oid)) AS restore,
       ARRAY[n.nspname, c.relname, k.conname]::text[] AS foreign_key
  FROM ({_PLAIN_FOREIGN_KEYS}) k
  JOIN pg_class c ON c.oid = k.conrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 ORDER BY k.conrelid::regclass::text, k.conname
"""
