"""Tables that inherit columns for which only their parent has rules.

An inherited table is a table of its own, with its own rows: rules of its parent do not apply to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts
from ar_sync_pipeline.visible_text import listed

_HEIRS = """
WITH RECURSIVE heir AS (
  SELECT h.inhrelid AS oid, h.inhparent AS parent, 1 AS distance FROM pg_inherits h
    JOIN pg_class p ON p.oid = h.inhparent AND p.relkind = 'r'
   UNION
  SELECT r.oid, h.inhparent, r.distance + 1 FROM heir r JOIN pg_inherits h ON h.inhrelid = r.parent)
SELECT pn.nspname, p.relname, cn.nspname, c.relname
  FROM heir h
  JOIN pg_class p ON p.oid = h.parent
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
  JOIN pg_class c ON c.oid = h.oid
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
 ORDER BY h.distance, 1, 2, 3, 4
"""


def inherited_rule_findings(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    """Yield each table that sends inherited columns without the rules of a parent, or its parents.

    A column is named once, with the nearest table that has a rule for it.
    """
    by_place = {(one.schema, one.relname or one.name): one for one in tables.values()}
    named: set[tuple[str, str]] = set()
    for *places, schema, name in connection.execute(_HEIRS).fetchall():
        parent, child = by_place.get((places[0], places[1])), by_place.get((schema, name))
        if parent is None or child is None:
            continue
        ruled = catalog.rules(child.name).column_rules
        left = [
            column
            for column in catalog.rules(parent.name).column_rules
            if column not in ruled
            and child.column(column) is not None
            and (child.name, column) not in named
        ]
        named.update((child.name, column) for column in left)
        if left:
            yield Finding(
                Level.WARNING,
                f"table {child.name} inherits {', '.join(listed(sorted(left)))} from {parent.name}"
                " and has no rule for them, so that their values are sent",
                f"give {child.name} the rules of {parent.name} in the catalog too",
            )
