"""Tables for the sender's values of columns that the transform changes in place.

They follow the schema: a table is created with the first transformed column and dropped with the
last one, is converted if its columns or its key are others, and loses its rows if DDL has changed
the rows that they belong to. A row without stored values is compared as it is at the receiver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from ar_sync_pipeline.merge.source_values import (
    C_COLLATION,
    column_of,
    has_own_collation,
    is_printed,
    stored_value,
)
from ar_sync_pipeline.merge.target_table import TargetTable, name_of_source_values
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.digest import printed_value
from ar_sync_pipeline.postgres.ledger_tables import LEDGER_SCHEMA, may_read_ledger
from ar_sync_pipeline.postgres.session_settings import built_in_search_path
from ar_sync_pipeline.postgres.sql_parts import add_primary_key, column_list
from ar_sync_pipeline.postgres.table_definitions import (
    TableDefinition,
    read_definitions,
    read_recorded,
)

_FORMER = "former source values"
_TEXT_OF = "text of "


@dataclass(frozen=True)
class _Stored:
    """A column of such a table.

    Attributes:
        type: Text of ``format_type``.
        collation: Schema and name of its collation, if it is not the default of the type.
        text_of: Type of the values whose text it has; empty: it has the values themselves.
        in_key: Whether it is in the primary key.
    """

    name: str
    type: str
    collation: tuple[str, str] | None
    text_of: str
    in_key: bool

    @property
    def values(self) -> str:
        """Type of the values."""
        return self.text_of or self.type

    def definition(self) -> sql.Composed:
        """Return the column in a CREATE TABLE."""
        collation = sql.SQL(" COLLATE {}").format(sql.Identifier(*self.collation or ("",)))
        return sql.SQL("{} {}{}").format(
            sql.Identifier(self.name),
            sql.SQL(self.type),  # the receiver's own catalog text
            collation if self.collation else sql.SQL(""),
        )

    def printed(self, alias: str) -> sql.Composable:
        """Return the text of a value."""
        value = sql.Identifier(alias, self.name)
        return value if self.text_of else printed_value(value)

    def fits(self, wanted: _Stored, *, proven: bool) -> bool:
        """Return whether another column takes its values; ``proven``: it has their type."""
        if self.text_of and not wanted.text_of:
            return False
        return proven or self.values == wanted.values


class SourceTables:
    """The tables of one load.

    Args:
        targets: Replicated tables of the receiver, by name.
    """

    def __init__(self, connection: Connection, targets: Mapping[str, TargetTable]) -> None:
        self._connection = connection
        self._targets = {name: target for name, target in targets.items() if target.transformed}
        self._names = targets.keys()
        self._prepared: dict[str, TableDefinition] = {}
        self._replacements: list[_Replacement] = []

    @property
    def to_convert(self) -> bool:
        """Whether tables do not fit; then call `convert` before the first archive is staged."""
        return bool(self._replacements)

    def prepare(self) -> None:
        """Create and drop tables, before the first archive is staged; in a transaction."""
        recorded = read_recorded(self._connection)
        self._drop({*recorded, *self._names} - self._targets.keys())
        self._prepared = self._definitions()
        for name, target in self._targets.items():
            held = _held(self._connection, target)
            before = recorded[name].definition if name in recorded else None
            if not held:
                _create(self._connection, target, _wanted(target))
            elif found := _replacement(target, held, before, self._prepared[name]):
                self._replacements.append(found)

    def convert(self) -> None:
        """Convert the tables that do not fit.

        Call it in the transaction of the load: the names of the columns are converted from those
        of the recorded definitions, which are of the converted tables only once it commits.
        """
        for one in self._replacements:
            one.execute(self._connection)

    def forget_altered(self) -> None:
        """Delete the values of tables that DDL has changed, or named otherwise, since `prepare`.

        Call it in the transaction of the load, before it records the definitions.
        """
        for name, now in self._definitions().items():
            target, before = self._targets[name], self._prepared[name]
            names, wanted = before.names_now(now), _wanted(target)
            kept = _keeps(before, now, names, [column.name for column in wanted])
            if not (kept and _are_named_alike(wanted, names)):
                self._connection.execute(sql.SQL("DELETE FROM {}").format(target.source_values))

    def _definitions(self) -> dict[str, TableDefinition]:
        facts = {name: target.facts for name, target in self._targets.items()}
        return read_definitions(self._connection, facts) if facts else {}

    def _drop(self, tables: Collection[str]) -> None:
        names = [name_of_source_values(table) for table in tables]
        with built_in_search_path(self._connection):
            found = self._connection.execute(_DROPPABLE, [names]).fetchall()
        for (name,) in found:
            relation = sql.Identifier(LEDGER_SCHEMA, name)
            self._connection.execute(sql.SQL("DROP TABLE {}").format(relation))


def has_usable_values(connection: Connection, target: TargetTable) -> bool:
    """Return whether the stored values are of the present rows, for what only reads them."""
    held, wanted = _held(connection, target), _wanted(target)
    if not {*wanted} <= {*held} or {c.name for c in held if c.in_key} != {*target.key}:
        return False
    if not may_read_ledger(connection, "table_definition"):
        return True
    recorded = read_recorded(connection).get(target.name)
    if recorded is None:
        return True
    (now,) = read_definitions(connection, {target.name: target.facts}).values()
    names = recorded.definition.names_now(now)
    return _are_named_alike(wanted, names) and _keeps(
        recorded.definition, now, names, [column.name for column in wanted]
    )


def awaits_conversion(connection: Connection, target: TargetTable) -> bool:
    """Return whether the next load converts the stored values, which are of no use until then.

    Args:
        target: A table as a load knows it, with all columns.
    """
    if not target.transformed or has_usable_values(connection, target):
        return False
    held, before = _held(connection, target), None
    if not held:
        return False
    if may_read_ledger(connection, "table_definition"):
        recorded = read_recorded(connection).get(target.name)
        before = recorded.definition if recorded else None
    (now,) = read_definitions(connection, {target.name: target.facts}).values()
    found = _replacement(target, held, before, now)
    return found is not None and found.query is not None


@dataclass(frozen=True)
class _Replacement:
    """A table that does not fit, and is replaced.

    Attributes:
        query: The values as they are to be stored; None: they cannot be converted.
    """

    target: TargetTable
    wanted: Sequence[_Stored]
    query: sql.Composed | None

    def execute(self, connection: Connection) -> None:
        """Create the table again with the converted values."""
        relation = self.target.source_values
        connection.execute(
            sql.SQL("ALTER TABLE {} RENAME TO {}").format(relation, sql.Identifier(_FORMER))
        )
        _create(connection, self.target, self.wanted)
        if self.query is not None:
            columns = column_list(column.name for column in self.wanted)
            connection.execute(
                sql.SQL("INSERT INTO {} ({}) {}").format(relation, columns, self.query)
            )
        connection.execute(sql.SQL("DROP TABLE {}").format(_former()))


def _replacement(
    target: TargetTable,
    held: Sequence[_Stored],
    before: TableDefinition | None,
    now: TableDefinition,
) -> _Replacement | None:
    """Return how a table is replaced; None: it fits.

    Args:
        before: Definition of the target as of the last load; None: it is not known.
        now: Definition of the target.
    """
    wanted = _wanted(target)
    names = before.names_now(now) if before else {column.name: column.name for column in held}
    present = {column.name for column in wanted}
    used = [c.name for c in held if c.in_key or names.get(c.name) in present]
    kept = before is None or _keeps(before, now, names, used)
    if kept and {*held} == {*wanted} and _are_named_alike(wanted, names):
        return None
    query = _converted(target, held, wanted, names, proven=before is not None) if kept else None
    return _Replacement(target, wanted, query)


def _keeps(
    before: TableDefinition, now: TableDefinition, names: Mapping[str, str], used: Sequence[str]
) -> bool:
    """Return whether DDL has not changed the rows, as far as some columns are concerned.

    Args:
        names: Present names of the columns by their names before.
        used: The columns, by their names before.
    """
    if not {*used} <= names.keys():
        return False
    columns = frozenset(names[name] for name in used)
    return now.replicating(columns).keeps_rows_of(before.renamed(names).replicating(columns))


def _are_named_alike(columns: Sequence[_Stored], names: Mapping[str, str]) -> bool:
    return all(names.get(column.name) == column.name for column in columns)


def _converted(
    target: TargetTable,
    held: Sequence[_Stored],
    wanted: Sequence[_Stored],
    names: Mapping[str, str],
    *,
    proven: bool,
) -> sql.Composed | None:
    """Return the query of the values as they are to be stored; None: they cannot be converted.

    The rows of the target lead from the former key to the present one.

    Args:
        proven: Whether the columns are known to have the type of the values.
    """
    former = {names.get(column.name): column for column in held if not column.in_key}
    values: list[sql.Composable] = []
    for column in wanted:
        value = former.get(column.name)
        if column.in_key:
            values.append(stored_value(target, column.name, "t"))
        elif value is None or not value.fits(column, proven=proven):
            return None
        else:
            values.append(value.printed("s") if column.text_of else sql.Identifier("s", value.name))
    keys = [column for column in held if column.in_key]
    same = [_same_key(target, column, names, proven=proven) for column in keys]
    if not all(same):
        return None
    return sql.SQL("SELECT {} FROM {} AS t JOIN {} AS s ON {}").format(
        sql.SQL(", ").join(values),
        target.rows,
        _former(),
        sql.SQL(" AND ").join(condition for condition in same if condition),
    )


def _same_key(
    target: TargetTable, held: _Stored, names: Mapping[str, str], *, proven: bool
) -> sql.Composed | None:
    """Return the condition that a column of the former key has the value of the row ``t``."""
    present = target.facts.column(names.get(held.name, ""))
    if present is None or not (proven or held.values == present.type):
        return None
    key = printed_value(sql.Identifier("t", present.name))
    return sql.SQL("{} = {}").format(key, held.printed("s"))


def _former() -> sql.Identifier:
    return sql.Identifier(LEDGER_SCHEMA, _FORMER)


def _create(connection: Connection, target: TargetTable, columns: Sequence[_Stored]) -> None:
    definitions = sql.SQL(", ").join(column.definition() for column in columns)
    relation = target.source_values
    with built_in_search_path(connection):
        connection.execute(sql.SQL("CREATE TABLE {} ({})").format(relation, definitions))
    add_primary_key(connection, relation, target.key)
    for column in columns:
        if column.text_of:
            connection.execute(
                sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                    relation, sql.Identifier(column.name), sql.Literal(_TEXT_OF + column.text_of)
                )
            )


def _wanted(target: TargetTable) -> tuple[_Stored, ...]:
    """Return the columns that the table is to have."""
    columns = []
    for name in (*target.key, *target.transformed):
        column, in_key = column_of(target, name), name in target.key
        if is_printed(target, column):
            columns.append(_Stored(name, "text", C_COLLATION, column.type, in_key))
        else:
            collation = C_COLLATION if has_own_collation(column) else column.collation
            columns.append(_Stored(name, column.type, collation, "", in_key))
    return tuple(columns)


def _held(connection: Connection, target: TargetTable) -> tuple[_Stored, ...]:
    """Return the columns that the table has; none if it does not exist."""
    with built_in_search_path(connection):
        rows = connection.execute(_COLUMNS, [name_of_source_values(target.name)]).fetchall()
    return tuple(
        _Stored(name, type_, (schema, collation) if collation else None, text_of, in_key)
        for name, type_, schema, collation, comment, in_key in rows
        for text_of in (comment.removeprefix(_TEXT_OF),)
    )


_DROPPABLE = """
SELECT c.relname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'ar_sync' AND c.relkind = 'r' AND c.relname = ANY (%s)
   AND pg_has_role(c.relowner, 'USAGE')
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), s.nspname, l.collname,
       coalesce(col_description(a.attrelid, a.attnum), ''),
       coalesce(a.attnum = ANY (i.indkey), false)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type y ON y.oid = a.atttypid
  LEFT JOIN pg_collation l ON l.oid = a.attcollation AND a.attcollation <> y.typcollation
  LEFT JOIN pg_namespace s ON s.oid = l.collnamespace
  LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
 WHERE n.nspname = 'ar_sync' AND c.relname = %s
"""
