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

_CHILDREN = """
SELECT pn.nspname, p.relname, cn.nspname, c.relname
  FROM pg_inherits h
  JOIN pg_class p ON p.oid = h.inhparent AND p.relkind = 'r'
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
  JOIN pg_class c ON c.oid = h.inhrelid
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
 ORDER BY 1, 2, 3, 4
"""


def inherited_rule_findings(
    connection: Connection, catalog: Catalog, tables: Mapping[str, TableFacts]
) -> Iterator[Finding]:
    """Yield a finding for each table that sends inherited columns without its parent's rules."""
    by_place = {(one.schema, one.relname or one.name): one for one in tables.values()}
    for *places, schema, name in connection.execute(_CHILDREN).fetchall():
        parent, child = by_place.get((places[0], places[1])), by_place.get((schema, name))
        if parent is None or child is None:
            continue
        ruled = catalog.rules(child.name).column_rules
        left = [
            column
            for column in catalog.rules(parent.name).column_rules
            if column not in ruled and child.column(column) is not None
        ]
        if left:
            yield Finding(
                Level.WARNING,
                f"table {child.name} inherits {', '.join(listed(sorted(left)))} from {parent.name}"
                " and has no rule for them, so that their values are sent",
                f"give {child.name} the rules of {parent.name} in the catalog too",
            )
