"""New tables that look like a copy of one with column rules, and have none.

PostgreSQL does not record that ``CREATE TABLE ... AS`` or ``INSERT ... SELECT`` copied values. A
copy is mostly named after its table, like a partition and a table that was renamed away, and has
its columns. Other copies are not recognized.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.ruled_values import MovedValues, RuledColumn, rule_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

# For a table that inherits from one with rules `inherited_rules` has a warning.
_INHERITED = """
SELECT cn.nspname, c.relname, pn.nspname, p.relname
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = i.inhparent
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
"""


def possible_copies(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    known: Collection[str],
) -> Iterator[MovedValues]:
    """Yield new tables with all columns of a table with rules, and with its name in their own.

    Args:
        known: Tables that were sent before, see `RuledBefore`.
    """
    ruled = [facts for facts in tables.values() if catalog.rules(facts.name).column_rules]
    new = [facts for facts in tables.values() if facts.name not in known]
    if not ruled or not new:
        return
    inherited = {(row[:2], row[2:]) for row in connection.execute(_INHERITED)}
    for facts in new:
        for like in ruled:
            if _is_like(facts, like) and (facts.place, like.place) not in inherited:
                yield from _without_rules(catalog, facts, like)


def _is_like(facts: TableFacts, other: TableFacts) -> bool:
    names = {column.name for column in facts.columns}
    return (
        facts.name != other.name
        and other.place[1] in facts.place[1]
        and names >= {column.name for column in other.columns}
    )


def _without_rules(catalog: Catalog, facts: TableFacts, like: TableFacts) -> Iterator[MovedValues]:
    rules, there = catalog.rules(facts.name), catalog.rules(like.name)
    decided = {*rules.column_rules, *rules.receiver_columns, *rules.approved_columns}
    sent = {column.name for column in facts.columns if not column.generated} - decided
    found = [
        RuledColumn(name=name, rule=rule)
        for name in there.column_rules
        if name in sent and (rule := rule_of(there, name)) is not None
    ]
    if found:
        names = tuple(column.name for column in found)
        yield MovedValues(like.name, tuple(found), facts.name, names)
