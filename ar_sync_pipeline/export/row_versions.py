"""Tables whose row versions show everything that was written since an earlier snapshot.

Every row version has the transaction id of its writer (PostgreSQL manual, 5.5 "System Columns").
Some changes of a table's exported content write no row: those are found in the system catalogs, or
the table is not judged by its row versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.export.definition_changes import redefined_tables
from ar_sync_pipeline.export.history import comparable, has_traces
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

# The text of other types follows from other objects: labels of an enum, names of tables, a version
# of an extension. These may change while no row does.
_FIXED_TYPES = re.compile(
    r"(smallint|integer|bigint|boolean|uuid|bytea|date|interval|oid|json|jsonb|text|bpchar|real"
    r"|double precision|inet|cidr|macaddr|name|(character|character varying|numeric|bit"
    r"|bit varying)(\([0-9,-]+\))?|(timestamp|time)(\(\d\))? with(out)? time zone)(\[\])?\Z"
)


def judged_tables(
    connection: Connection, tables: Mapping[str, TableFacts], since: Watermark, now: Watermark
) -> frozenset[str]:
    """Return the tables whose row versions show every change since an earlier snapshot.

    None are if transaction ids cannot be compared with that snapshot, or if it left no traces by
    which a restored database could be recognized. Of the tables, only ordinary ones are, whose
    definition has not changed.
    """
    if since.traces is None or now.traces is None or comparable(since, now) is None:
        return frozenset()
    if not has_traces(connection, since):
        return frozenset()
    fixed = {
        name: facts.relation.as_string(connection)
        for name, facts in tables.items()
        if all(_FIXED_TYPES.match(column.type) for column in facts.columns)
    }
    found = connection.execute(_ORDINARY, {"names": list(fixed.values())}).fetchall()
    ordinary = {name for (name,) in found}
    judged = {name for name, relation in fixed.items() if relation in ordinary}
    return frozenset(judged - redefined_tables(connection, tables, since))


# A crash empties an unlogged table. Other access methods may keep row versions differently.
_ORDINARY = """
SELECT n.name
  FROM unnest(%(names)s::text[]) AS n (name)
  JOIN pg_class c ON c.oid = to_regclass(n.name)
  JOIN pg_am a ON a.oid = c.relam
 WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND a.amname = 'heap'
"""
