"""New tables that look like a copy of one with column rules, and have none.

PostgreSQL does not record that ``CREATE TABLE ... AS`` or ``INSERT ... SELECT`` copied values. A
copy is mostly named after its table, like a partition and a table that was renamed away, and has
its columns. Other copies are not recognized.

A database may have thousands of schemas with the same tables, so these are compared once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.export.ruled_values import MovedValues, RuledColumn, rule_of
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

_Place = tuple[str, str]

# For a table that inherits from one with rules `inherited_rules` has a warning.
_INHERITED = """
WITH RECURSIVE heir AS (
  SELECT i.inhrelid AS oid, i.inhparent AS parent FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid AND NOT c.relispartition
   UNION
  SELECT h.oid, i.inhparent FROM heir h JOIN pg_inherits i ON i.inhrelid = h.parent)
SELECT cn.nspname, c.relname, pn.nspname, p.relname
  FROM heir h
  JOIN pg_class c ON c.oid = h.oid
  JOIN pg_namespace cn ON cn.oid = c.relnamespace
  JOIN pg_class p ON p.oid = h.parent
  JOIN pg_namespace pn ON pn.oid = p.relnamespace
"""


def possible_copies(
    connection: Connection,
    catalog: Catalog,
    tables: Mapping[str, TableFacts],
    known: Collection[str],
) -> Iterator[MovedValues]:
    """Yield new tables with all columns of a table with rules, and with its name in their own.

    Each is yielded once, with the table of its own schema where there is one.

    Args:
        known: Tables that were sent before, see `RuledBefore`.
    """
    ruled = [facts for facts in tables.values() if catalog.rules(facts.name).column_rules]
    new = [facts for facts in tables.values() if facts.name not in known]
    if not ruled or not new:
        return
    inherited = {(row[:2], row[2:]) for row in connection.execute(_INHERITED)}
    models = _Models.of(catalog, ruled)
    for facts in new:
        copies = (_without_rules(catalog, facts, like) for like in models.like(facts, inherited))
        yield from islice(filter(None, copies), 1)


@dataclass
class _Models:
    """Tables with rules; those with the same name, columns and rules are in one group.

    Attributes:
        groups: Tables of each group by schema, with the names of their columns, by relation name.
        names: Relation names that are part of another one.
    """

    groups: dict[str, dict[object, tuple[frozenset[str], dict[str, TableFacts]]]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, catalog: Catalog, ruled: Collection[TableFacts]) -> Self:
        """Group tables with rules."""
        found = cls({})
        for facts in ruled:
            schema, name = facts.place
            columns = frozenset(column.name for column in facts.columns)
            rules = catalog.rules(facts.name)
            key = columns, frozenset((one, rule_of(rules, one)) for one in rules.column_rules)
            group = found.groups.setdefault(name, {}).setdefault(key, (columns, {}))
            group[1][schema] = facts
        return found

    def like(
        self, facts: TableFacts, inherited: Collection[tuple[_Place, _Place]]
    ) -> Iterator[TableFacts]:
        """Yield a table of each group of which a table has the columns, and the name in its own."""
        schema, name = facts.place
        if name not in self.names:
            self.names[name] = tuple(one for one in self.groups if one in name)
        columns = frozenset(column.name for column in facts.columns)
        fitting = [
            members
            for part in self.names[name]
            for needed, members in self.groups[part].values()
            if needed <= columns
        ]
        for members in sorted(fitting, key=lambda members: schema not in members):
            first = [members[schema]] if schema in members else []
            for one in (*first, *members.values()):
                if (facts.place, one.place) not in inherited:
                    yield one
                    break


def _without_rules(catalog: Catalog, facts: TableFacts, like: TableFacts) -> MovedValues | None:
    rules, there = catalog.rules(facts.name), catalog.rules(like.name)
    decided = {*rules.column_rules, *rules.receiver_columns, *rules.approved_columns}
    sent = {column.name for column in facts.columns if not column.generated} - decided
    found = [
        RuledColumn(name=name, rule=rule)
        for name in there.column_rules
        if name in sent and (rule := rule_of(there, name)) is not None
    ]
    names = tuple(column.name for column in found)
    return MovedValues(like.name, tuple(found), facts.name, names) if found else None
