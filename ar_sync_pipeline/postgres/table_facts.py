"""Facts of a table: columns, keys, references, and its name in SQL.

A table has one name in the product: the relation's name alone in the catalog's schema, and
``schema.relation`` in any other. `ar_sync_pipeline.postgres.schema_facts` reads the facts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from psycopg import sql

from ar_sync_pipeline.postgres.definition_texts import comparable_text
from ar_sync_pipeline.postgres.sql_parts import equal

_SCHEMA = re.compile(r'("(?:[^"]|"")+"|[^".(]+)\.')
_CONSTANT = re.compile(r"\(?(?:-?[0-9.]+|'(?:[^']|'')*'|true|false|NULL)\)?(?:::[\w .,()\"\[\]]+)?")


class Action(StrEnum):
    """Action of a foreign key when its parent changes (``pg_constraint.confdeltype``)."""

    NO_ACTION = "a"
    RESTRICT = "r"
    CASCADE = "c"
    SET_NULL = "n"
    SET_DEFAULT = "d"

    @property
    def writes(self) -> bool:
        """Whether it changes rows of the child."""
        return self in {Action.CASCADE, Action.SET_NULL, Action.SET_DEFAULT}


@dataclass(frozen=True)
class ColumnFacts:
    """A column as the database describes it.

    Attributes:
        type: Text of ``format_type`` under the search path ``pg_catalog``.
        generated: Whether the server computes the column; it cannot be written.
        sequence: Schema and name of the sequence that fills the column.
        always_identity: Whether it is ``GENERATED ALWAYS AS IDENTITY``: PostgreSQL refuses to
            update it.
        collation: Schema and name of the collation, if it is not the default of the type.
        has_default: Whether a new row gets a value by a default, or by an identity.
        expression: SQL of the default, or, over bare columns, of a generated column; empty: none.
        computed_from: Columns of the expression of a generated column.
        binary: Whether all parts of its type have binary input and output.
        text: Whether its values are texts of any type, such as a domain.
        object_types: Parts of its type whose values are numbers of objects of the database, such as
            ``oid`` and ``regclass``.
    """

    name: str
    type: str
    nullable: bool
    generated: bool
    has_default: bool = False
    sequence: tuple[str, str] | None = None
    always_identity: bool = False
    collation: tuple[str, str] | None = None
    binary: bool = True
    expression: str = ""
    computed_from: tuple[str, ...] = ()
    text: bool = False
    object_types: tuple[str, ...] = ()

    @property
    def catalog_types(self) -> tuple[str, ...]:
        """Parts of its type whose values mean other objects in another database."""
        return tuple(name for name in self.object_types if name != "oid")

    @property
    def type_schema(self) -> str | None:
        """Schema of the type, which a role must be allowed to use to name it; None: a built-in."""
        found = _SCHEMA.match(self.type)
        return found[1].strip('"').replace('""', '"') if found else None

    @property
    def has_constant_default(self) -> bool:
        """Whether all new rows get the same value, or NULL, if a statement does not name it."""
        return not self.has_default or _CONSTANT.fullmatch(self.expression) is not None


@dataclass(frozen=True)
class ForeignKey:
    """A reference from ``table.columns`` to ``referenced_table.referenced_columns``.

    Attributes:
        operators: Equality operator between parent and child for each column, as SQL.
        match_full: Whether either all columns or none must be NULL (``MATCH FULL``).
        cleared: Columns that ``ON DELETE SET NULL (...)`` or ``SET DEFAULT (...)`` names.
        validated: Whether it holds for all rows; one that is ``NOT VALID`` may not.
        period: Whether the last column is a ``PERIOD`` (PostgreSQL 18): several parents together
            may contain the child's.
        collates: Collation of each referenced column, as SQL, if it is not that of the column, else
            empty.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    referenced_table: str
    referenced_columns: tuple[str, ...]
    operators: tuple[str, ...] = ()
    on_delete: Action = Action.NO_ACTION
    on_update: Action = Action.NO_ACTION
    deferrable: bool = False
    match_full: bool = False
    cleared: tuple[str, ...] = ()
    validated: bool = True
    period: bool = False
    collates: tuple[str, ...] = ()

    @property
    def definition(self) -> str:
        """Text that is equal on two servers if their foreign keys join the same columns."""
        pairs = sorted(zip(self.columns, self.referenced_columns, strict=True))
        here, there = (", ".join(names) for names in zip(*pairs, strict=True))
        return f"{self.table} ({here}) -> {self.referenced_table} ({there})"

    @property
    def not_valid(self) -> str:
        """The definition of a foreign key that is ``NOT VALID``, beside the one without validity.

        A receiver of an earlier version only looks for the latter.
        """
        return f"{self.definition} NOT VALID"

    def refers(self, child: str, parent: str) -> sql.Composed:
        """Return the condition that the child row ``child`` refers to the parent row ``parent``.

        A ``PERIOD`` refers to each parent that it overlaps.
        """
        return self.compared(child, [(parent, name) for name in self.referenced_columns])

    def compared(self, child: str, values: Iterable[tuple[str, str]]) -> sql.Composed:
        """Return the condition that the row ``child`` refers to values, each an alias and a name.

        PostgreSQL compares by the parent's collation (``ri_GenerateQualCollation``).
        """
        operators = self.operators or ("=",) * len(self.columns)
        collates = self.collates or ("",) * len(self.columns)
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}{}").format(
                sql.Identifier(*value),
                sql.SQL(operator),
                sql.Identifier(child, name),
                sql.SQL(f" COLLATE {collation}" if collation else ""),
            )
            for name, value, operator, collation in zip(
                self.columns, values, operators, collates, strict=True
            )
        )

    def has_parent(self, child: str, *parents: sql.Composable) -> sql.Composed:
        """Return the condition that the row ``child`` has its parent among some relations.

        Of a ``PERIOD`` as PostgreSQL checks it (``RI_FKey_check``).
        """
        if not self.period:
            return sql.SQL("({})").format(
                sql.SQL(" OR ").join(
                    sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {})").format(
                        parent, self.refers(child, "p")
                    )
                    for parent in parents
                )
            )
        periods = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} AS period FROM {} AS p WHERE {}").format(
                sql.Identifier("p", self.referenced_columns[-1]), parent, self.refers(child, "p")
            )
            for parent in parents
        )
        return sql.SQL(
            "coalesce({} OPERATOR(pg_catalog.<@)"
            " (SELECT pg_catalog.range_agg(r.period) FROM ({}) AS r), false)"
        ).format(sql.Identifier(child, self.columns[-1]), periods)


@dataclass(frozen=True)
class RowType:
    """The type of the rows of a table or partition, and its columns in their order."""

    schema: str
    relname: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class UniqueKey:
    """A unique index or an exclusion constraint.

    Attributes:
        valid: Whether it holds for all rows, not only for those written since its creation.
        name: Name of the index, which is also the constraint's.
        elements: SQL of each key element: a quoted column or an expression over bare columns.
        operators: Operator of each element that must not hold between two rows, as SQL.
        plain: Column names, if every element is a column; empty otherwise.
        predicate: SQL of the condition of a partial index.
        uses: Every column of elements and predicate.
        nulls_distinct: Whether NULL differs from NULL, which is the default.
        deferrable: Whether it is checked at the end of a statement or transaction, not row by row.
        exclusion: Whether it is an exclusion constraint, not a unique index.
        collations: Collation of each element if it is not deterministic, else empty.
        collates: Collation of each element, as SQL, if it is not that of the column, else empty.
        by_equality: Whether columns that are equal are equal for it. An operator class or a
            collation of its own may tell such values apart.
        whole_row: Type of the whole row, if an element or the predicate has it.
    """

    name: str
    elements: tuple[str, ...]
    operators: tuple[str, ...]
    plain: tuple[str, ...]
    predicate: str | None
    uses: tuple[str, ...]
    nulls_distinct: bool = True
    deferrable: bool = False
    exclusion: bool = False
    collations: tuple[str, ...] = ()
    primary: bool = False
    valid: bool = True
    collates: tuple[str, ...] = ()
    by_equality: bool = True
    whole_row: RowType | None = None

    @property
    def identifies(self) -> bool:
        """Whether no two rows have equal values of its columns, if none of them is NULL."""
        return (
            bool(self.plain)
            and self.predicate is None
            and not self.exclusion
            and self.valid
            and self.by_equality
        )

    @property
    def definition(self) -> str:
        """Text that is equal on two servers if their keys mean the same."""
        parts = [
            f"{element}{f' COLLATE {collation}' if collation else ''}"
            f"{f' WITH {operator}' if self.exclusion else ''}"
            for element, collation, operator in zip(
                self.elements,
                self.collations or ("",) * len(self.elements),
                self.operators,
                strict=True,
            )
        ]
        text = f"{'exclusion' if self.exclusion else 'unique'} ({', '.join(parts)})"
        text += "" if self.nulls_distinct else " nulls not distinct"
        if self.plain and not self.exclusion and not self.by_equality:
            text += " by another equality"
        return comparable_text(text + (f" where {self.predicate}" if self.predicate else ""))


@dataclass(frozen=True)
class TableFacts:
    """A table as the database describes it.

    Attributes:
        name: Name in the product; see the module's text.
        primary_key: Column names in key order.
        unique_keys: Every unique index, including that of the primary key, and every exclusion
            constraint.
        key: Columns of the key for replication: the primary key, else a unique key whose columns
            are all NOT NULL; never with generated columns; empty if there is none.
        key_operators: Equality operator of each key column, as SQL.
        size_bytes: Size of the table in bytes, without indexes.
        denied: Rights that this connection's role lacks, of SELECT, INSERT, UPDATE and DELETE.
        partitioned: Whether it is a partitioned table, whose rows are in its partitions.
        policies: Names of row level security policies that apply to this connection's role.
        partition_key: Columns that decide the partition of a row, in a partitioned table.
        triggers: Names of the users' triggers and rules that a write would fire; one that only a
            partition has as ``partition.trigger``.
    """

    name: str
    columns: tuple[ColumnFacts, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[UniqueKey, ...]
    foreign_keys: tuple[ForeignKey, ...] = field(default=())
    size_bytes: int = 0
    denied: tuple[str, ...] = ()
    schema: str = "public"
    relname: str = ""
    key: tuple[str, ...] = ()
    key_operators: tuple[str, ...] = ()
    partitioned: bool = False
    policies: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    partition_key: tuple[str, ...] = ()

    @property
    def size_mb(self) -> float:
        """Size of the table in units of 1,048,576 bytes, without indexes."""
        return self.size_bytes / 2**20

    @property
    def relation(self) -> sql.Identifier:
        """Name of the table, quoted and qualified: the target of inserts."""
        return sql.Identifier(*self.place)

    @property
    def place(self) -> tuple[str, str]:
        """Schema and name of the relation."""
        return self.schema, self.relname or self.name

    @property
    def rows(self) -> sql.Composed:
        """The table's rows, without those of tables that inherit from it."""
        only = sql.SQL("{}") if self.partitioned else sql.SQL("ONLY {}")
        return only.format(self.relation)

    @property
    def fixed(self) -> frozenset[str]:
        """Columns by which rows are told apart or partitioned: each has to be sent as it is."""
        return frozenset((*self.primary_key, *self.key, *self.partition_key))

    @property
    def unusable_key(self) -> str:
        """Why the primary key is no key for replication, a clause; empty: it is one, or is none."""
        generated = [c.name for c in self.columns if c.generated and c.name in self.primary_key]
        if generated:
            return f"its primary key is generated ({', '.join(generated)})"
        if any(unique.primary and unique.exclusion for unique in self.unique_keys):
            return "its primary key is WITHOUT OVERLAPS, which is not used as a key"
        other = [
            unique.name
            for unique in self.unique_keys
            if not unique.by_equality and replace(unique, by_equality=True).identifies
            if not self.nullable(unique.plain)
        ]
        if other and not self.key:
            return f"{other[0]} is unique by another operator class or collation than its columns'"
        return ""

    @property
    def lacking_key(self) -> str:
        """What a table without a key lacks, for messages."""
        lacks = "no unique key of NOT NULL columns"
        why = self.unusable_key
        return f"{lacks} ({why})" if why else f"no primary key and {lacks}"

    @property
    def by_column_rights(self) -> bool:
        """Whether this connection's role may not read the table as a whole."""
        return "SELECT" in self.denied

    def replicated(self, withheld: Collection[str]) -> tuple[ColumnFacts, ...]:
        """Return the columns that are replicated: those that are not withheld nor computed."""
        return tuple(c for c in self.columns if not c.generated and c.name not in withheld)

    def column(self, name: str) -> ColumnFacts | None:
        """Return the column of this name; None if there is none."""
        return next((column for column in self.columns if column.name == name), None)

    def nullable(self, names: Collection[str]) -> tuple[str, ...]:
        """Return those of some columns that may be NULL."""
        return tuple(c.name for c in self.columns if c.name in names and c.nullable)

    def same_row(self, left: str, right: str) -> sql.Composed:
        """Return the condition that two aliases mean the same row, by the key's own operators."""
        return equal(left, right, self.key, self.key_operators)


def reference_definitions(keys: Iterable[ForeignKey]) -> tuple[str, ...]:
    """Return the definitions of foreign keys, and which of them rows may violate."""
    known = list(keys)
    valid = {key.definition for key in known if key.validated}
    violable = {key.not_valid for key in known if key.definition not in valid}
    return tuple(sorted({key.definition for key in known} | violable))
