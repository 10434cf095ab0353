"""What is known of a table: columns, keys, references, and how to write its name in SQL.

A table has one name in the product: the relation's name alone in the catalog's schema, and
``schema.relation`` in any other. `ar_sync_pipeline.postgres.schema_facts` reads the facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from psycopg import sql


class Action(StrEnum):
    """What a foreign key does when its parent changes (``pg_constraint.confdeltype``)."""

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
        type: ``format_type`` text under the search path ``pg_catalog``.
        generated: computed by the server; nobody may write it.
        sequence: schema and name of the sequence that fills it.
        always_identity: ``GENERATED ALWAYS AS IDENTITY``: PostgreSQL refuses to update it.
        collation: schema and name, where it is not the default of the type.
        expression: SQL over bare columns, of a generated column.
        computed_from: the columns of that expression.
        binary: its type has binary input and output, all parts of it.
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


@dataclass(frozen=True)
class ForeignKey:
    """A reference from ``table.columns`` to ``referenced_table.referenced_columns``.

    Attributes:
        operators: by column, the equality operator between parent and child, as SQL.
        match_full: either all columns are NULL or none (``MATCH FULL``).
        cleared: the columns that ``ON DELETE SET NULL (...)`` or ``SET DEFAULT (...)`` names.
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

    @property
    def definition(self) -> str:
        """One text that two servers have in common if their foreign keys join the same columns."""
        pairs = sorted(zip(self.columns, self.referenced_columns, strict=True))
        here, there = (", ".join(names) for names in zip(*pairs, strict=True))
        return f"{self.table} ({here}) -> {self.referenced_table} ({there})"

    def refers(self, child: str, parent: str) -> sql.Composed:
        """The condition that the child row ``child`` refers to the parent row ``parent``."""
        operators = self.operators or ("=",) * len(self.columns)
        return sql.SQL(" AND ").join(
            sql.SQL("{} {} {}").format(
                sql.Identifier(parent, there), sql.SQL(operator), sql.Identifier(child, here)
            )
            for here, there, operator in zip(
                self.columns, self.referenced_columns, operators, strict=True
            )
        )


@dataclass(frozen=True)
class UniqueKey:
    """A unique index or an exclusion constraint: what no two rows may have in common.

    Attributes:
        valid: it holds for all rows, not only for those written since it was made.
        name: of the index, which is also the constraint's.
        elements: SQL of each key element: a quoted column or an expression over bare columns.
        operators: by element, the operator that must not hold between two rows, as SQL.
        plain: the column names, where every element is a column; empty otherwise.
        predicate: SQL of the condition of a partial index.
        uses: every column of elements and predicate.
        nulls_distinct: NULL differs from NULL, as by default.
        deferrable: checked at the end of a statement or transaction, not row by row.
        exclusion: an exclusion constraint, not a unique index.
        collations: by element, its collation where that is not deterministic, else empty.
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

    @property
    def definition(self) -> str:
        """One text that two servers have in common if their keys mean the same."""
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
        return text + (f" where {self.predicate}" if self.predicate else "")


@dataclass(frozen=True)
class TableFacts:
    """A table as the database describes it.

    Attributes:
        name: in the product; see the module's text.
        primary_key: column names in key order.
        unique_keys: every unique index, that of the primary key included, and exclusion
            constraints.
        key: columns that tell rows apart for replication: the primary key, else a unique key
            whose columns are all NOT NULL; generated columns never; empty if there is none.
        key_operators: by key column, its equality operator, as SQL.
        size_bytes: of the heap, as of the last evaluation.
        denied: of SELECT, INSERT, UPDATE and DELETE, what this connection's role may not do.
        partitioned: a partitioned table, whose rows are in its partitions.
        policies: names of row level security policies that apply to this connection's role.
        partition_key: of a partitioned table, the columns by which rows find their partition.
        triggers: names of the user's triggers and rules that writing rows would fire.
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
    def relation(self) -> sql.Identifier:
        """The table, quoted and qualified: what rows are inserted into."""
        return sql.Identifier(self.schema, self.relname or self.name)

    @property
    def rows(self) -> sql.Composed:
        """The table's own rows, without those of tables that inherit from it."""
        only = sql.SQL("{}") if self.partitioned else sql.SQL("ONLY {}")
        return only.format(self.relation)

    @property
    def by_column_rights(self) -> bool:
        """Whether this connection's role may not read the table as a whole."""
        return "SELECT" in self.denied

    def column(self, name: str) -> ColumnFacts | None:
        """The column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    def same_row(self, left: str, right: str) -> sql.Composed:
        """The condition that two aliases mean the same row, by the key's own operators."""
        return equal(left, right, self.key, self.key_operators)


def equal(
    left: str, right: str, columns: Sequence[str], operators: Sequence[str] = ()
) -> sql.Composed:
    """``left.a = right.a AND ...`` over columns, each by its operator."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} {} {}").format(
            sql.Identifier(left, column), sql.SQL(operator), sql.Identifier(right, column)
        )
        for column, operator in zip(columns, operators or ("=",) * len(columns), strict=True)
    )
