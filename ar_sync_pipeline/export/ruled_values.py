"""Values under a rule of the catalog, found again where DDL has given them another name.

Rules name tables and columns. A partition that is detached or attached, a table or column that is
renamed, and an expression that is dropped change the names of values and write no row. The ``oid``
of a table and the number of a column stay. An ``oid`` can be used again, also after a point-in-time
recovery, so a table is known by the transaction that created it as well.

Copies are other values: see `possible_copies` for those that look like one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.masks import MaskFunction
from ar_sync_pipeline.catalog.model import Catalog, TableRules
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

EXCLUDE = "exclude"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class RuledColumn(_Frozen):
    """A column whose values do not leave the sender as they are.

    Attributes:
        rule: ``exclude``, or the mask as JSON; of a computed column that of its source.
        source: Column with a rule from which the server computes it; None: the rule is its own.
    """

    name: str
    rule: str
    source: str | None = None

    @property
    def in_words(self) -> str:
        """Its name and its rule, for messages."""
        rule = f"`{EXCLUDE if self.rule == EXCLUDE else 'mask'}`"
        return f"{self.name} ({f'computed from {self.source}, ' if self.source else ''}{rule})"


class RuledPart(_Frozen):
    """A table or partition with values under a rule.

    Attributes:
        oid: Its number.
        created_by: Number of the transaction that created it.
        label: Table whose rules its columns have, of which a partition is a part.
        columns: Columns under a rule, by number.
        excluded: Table that `exclude` of the catalog keeps back with this part; None: none.
    """

    oid: int
    created_by: str
    label: str
    columns: dict[int, RuledColumn] = {}
    excluded: str | None = None


class RuledValues(_Frozen):
    """All values under a rule of one cluster."""

    system_identifier: str
    parts: tuple[RuledPart, ...] = ()

    def rules(self) -> dict[tuple[str, str], str]:
        """Return the rules of the catalog of that time, by table and column."""
        return {
            (part.label, column.name): column.rule
            for part in self.parts
            for column in part.columns.values()
            if column.source is None
        }

    def with_earlier(self, earlier: RuledValues | None) -> RuledValues:
        """Return these values, and those of before as they were: until a dump has read them.

        An approval, or another rule, that is taken back after a dump failed has sent nothing.
        """
        if earlier is None or earlier.system_identifier != self.system_identifier:
            return self
        parts = {(part.oid, part.created_by): part for part in self.parts}
        for part in earlier.parts:
            now = parts.get((part.oid, part.created_by), part)
            both = {
                "columns": now.columns | part.columns,
                "excluded": part.excluded or now.excluded,
            }
            parts[part.oid, part.created_by] = part.model_copy(update=both)
        return self.model_copy(update={"parts": tuple(parts[key] for key in sorted(parts))})


@dataclass(frozen=True)
class RuledBefore:
    """What earlier dumps found.

    Attributes:
        values: Values under a rule; None: unknown.
        tables: Tables that the newest archive replicates, and those that were last replicated
            without column rules.
    """

    values: RuledValues | None = None
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RuledNow:
    """Where values under a rule are now.

    Attributes:
        places: Table of each table or partition, by ``oid`` and creating transaction.
        columns: Name of each column, and whether it is computed, by ``oid`` and number.
    """

    system_identifier: str
    places: Mapping[tuple[int, str], str] = field(default_factory=dict)
    columns: Mapping[int, Mapping[int, tuple[str, bool]]] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: Connection, catalog: Catalog, before: RuledValues | None) -> RuledNow:
        """Read the places of all tables, and the columns of those with rules now or before."""
        rows = connection.execute(_PLACES).fetchall()
        places = {
            (oid, created_by): label_of(schema, name, catalog.schema_name)
            for _, oid, created_by, schema, name in rows
        }
        known = {part.oid for part in before.parts} if before else set[int]()
        ruled = {label for label, rules in catalog.table.items() if rules.column_rules}
        wanted = [oid for (oid, _), label in places.items() if oid in known or label in ruled]
        columns: dict[int, dict[int, tuple[str, bool]]] = {}
        for oid, number, name, computed in connection.execute(_COLUMNS, {"tables": wanted}):
            columns.setdefault(oid, {})[number] = (name, computed)
        return cls(rows[0][0] if rows else "", places, columns)

    def values(
        self, catalog: Catalog, tables: Mapping[str, TableFacts], before: RuledValues | None
    ) -> RuledValues:
        """Return the values under a rule; those of tables that are not replicated stay under it."""
        comparable = before if self.is_cluster_of(before) else None
        known = {(p.oid, p.created_by): p for p in (comparable.parts if comparable else ())}
        parts = []
        for (oid, by), label in sorted(self.places.items()):
            new = RuledPart(oid=oid, created_by=by, label=label)
            part = known.get((oid, by), new)
            if label in tables:
                found = self._replicated(catalog.rules(label), tables[label], part)
                parts.append(new.model_copy(update={"columns": found}))
            else:
                parts.append(self._not_replicated(catalog, label, part))
        kept = tuple(part for part in parts if part.columns or part.excluded)
        return RuledValues(system_identifier=self.system_identifier, parts=kept)

    def is_cluster_of(self, before: RuledValues | None) -> bool:
        """Return whether the numbers of earlier dumps mean the same objects."""
        return before is not None and before.system_identifier == self.system_identifier

    def _replicated(
        self, rules: TableRules, facts: TableFacts, part: RuledPart
    ) -> dict[int, RuledColumn]:
        """Return the columns under a rule; those that are not sent for another reason stay so."""
        found = {}
        for number, (name, _) in self.columns.get(part.oid, {}).items():
            column = _ruled(rules, facts, name)
            if column is None and name in rules.receiver_columns and number in part.columns:
                column = part.columns[number].model_copy(update={"name": name})
            if column is not None:
                found[number] = column
        return found

    def _not_replicated(self, catalog: Catalog, label: str, part: RuledPart) -> RuledPart:
        here = self.columns.get(part.oid, {})
        columns = {number: column for number, column in part.columns.items() if number in here}
        excluded = label if _is_excluded(catalog, label) else part.excluded
        return part.model_copy(update={"columns": columns, "excluded": excluded})


@dataclass(frozen=True)
class MovedValues:
    """Values that a rule kept back, and that would be sent by another name.

    Attributes:
        columns: Columns before; empty: the whole table was kept back.
        names: The same columns now.
        is_ruled: Whether they have a rule now, another one than before.
    """

    label: str
    columns: tuple[RuledColumn, ...]
    table: str
    names: tuple[str, ...]
    is_ruled: bool = False


def moved_values(
    now: RuledNow, catalog: Catalog, tables: Mapping[str, TableFacts], before: RuledBefore
) -> Sequence[MovedValues]:
    """Return the values that were under a rule and lost it by another name, once per table.

    A rule that the catalog no longer has for the same name was removed on purpose.
    """
    values = before.values
    if values is None or not now.is_cluster_of(values):
        return ()
    rules = values.rules()
    found: dict[MovedValues, None] = {}
    for part in values.parts:
        label = now.places.get((part.oid, part.created_by))
        if label is None or label not in tables:
            continue
        if part.excluded and _is_moved_table(catalog, part.excluded, label, before.tables):
            found[MovedValues(part.excluded, (), label, ())] = None
        found |= dict.fromkeys(_moved_columns(now, catalog.rules(label), part, label, rules))
    return tuple(found)


def _is_moved_table(catalog: Catalog, old: str, label: str, replicated: frozenset[str]) -> bool:
    """Return whether an excluded table got a name by which a wildcard alone replicates it.

    One that takes the name of a replicated table replaces it, or becomes a partition of it.
    """
    return old != label and label not in replicated and not catalog.approves(label, old)


def _moved_columns(
    now: RuledNow,
    rules: TableRules,
    part: RuledPart,
    label: str,
    before: Mapping[tuple[str, str], str],
) -> Iterator[MovedValues]:
    here = now.columns.get(part.oid, {})
    moved: dict[bool, list[tuple[RuledColumn, str]]] = {}
    for number, column in part.columns.items():
        name, computed = here.get(number, ("", True))
        if computed or name in rules.approved_columns or _hides(rules, name):
            continue
        rule = rule_of(rules, name)
        stays = column.source is None and (part.label, column.name) == (label, name)
        same = rule == column.rule or (rule is not None and rule != before.get((label, name)))
        if not stays and not same:
            moved.setdefault(rule is not None, []).append((column, name))
    for is_ruled, pairs in moved.items():
        columns, names = zip(*pairs, strict=True)
        yield MovedValues(part.label, columns, label, names, is_ruled)


def _hides(rules: TableRules, name: str) -> bool:
    """Return whether nothing of a column's values is sent."""
    mask = rules.mask.get(name)
    nothing = {MaskFunction.NULL, MaskFunction.CONSTANT}
    return name in rules.not_replicated or (mask is not None and mask.function in nothing)


def rule_of(rules: TableRules, name: str) -> str | None:
    """Return the rule of a column, as in `RuledColumn`."""
    if name in rules.exclude:
        return EXCLUDE
    return rules.mask[name].model_dump_json() if name in rules.mask else None


def _ruled(rules: TableRules, facts: TableFacts, name: str) -> RuledColumn | None:
    rule, column = rule_of(rules, name), facts.column(name)
    if rule is not None:
        return RuledColumn(name=name, rule=rule)
    for source in column.computed_from if column is not None else ():
        rule = rule_of(rules, source)
        if rule is not None:
            return RuledColumn(name=name, rule=rule, source=source)
    return None


def _is_excluded(catalog: Catalog, label: str) -> bool:
    return catalog.matches_any(catalog.tables, label) and catalog.matches_any(
        catalog.exclude, label
    )


# The functions for partitions do not obey the snapshot. The rows of system columns are not changed
# after a table was created; unlike `xmin`, no one is granted `cmin`.
_PLACES = r"""
WITH RECURSIVE place AS (
  SELECT c.oid, c.oid AS root FROM pg_class c
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   UNION ALL
  SELECT c.oid, p.root FROM place p
    JOIN pg_inherits i ON i.inhparent = p.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition)
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       p.oid::bigint, a.xmin::text, n.nspname, r.relname
  FROM place p
  JOIN pg_attribute a ON a.attrelid = p.oid AND a.attname = 'cmin' AND a.attnum < 0
  JOIN pg_class r ON r.oid = p.root
  JOIN pg_namespace n ON n.oid = r.relnamespace
 WHERE n.nspname NOT IN ('information_schema', 'ar_sync') AND n.nspname !~ '^pg_'
"""

_COLUMNS = """
SELECT a.attrelid::bigint, a.attnum, a.attname, a.attgenerated <> ''
  FROM pg_attribute a
 WHERE a.attrelid = ANY (%(tables)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
"""
