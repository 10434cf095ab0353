"""The catalog: which tables travel and how each one changes.

Primary keys, foreign keys and column types are read from the database; the catalog holds only
what no database can tell. A table that it does not mention travels with the defaults.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
Literal = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableRules(_Strict):
    """How one table changes, and what the receiver adds to it.

    Attributes:
        changed_at: the ``timestamptz`` column that the application moves when a row changes;
            None: only the watermark finds changes.
        changed_at_zone: the IANA time zone in which ``changed_at`` is written, where it is a
            ``timestamp without time zone``.
        watermark: whether partials also read the table for rows that the previous archive's
            snapshot could not see; None: decided by the table's size
            (`Catalog.watermark_limit_mb`).
        children: tables whose rows come along with a selected row that they refer to.
        media_columns: columns that name media files.
        no_media_values: values of these columns that mean "no file".
        receiver_columns: columns that are the receiver's own; loads never write them.
        reset_on_change: receiver's own columns and the value that they get when a row is new or
            changes, for the transform to find it.
        clear_on_change: receiver's own columns that such a row gets NULL in.
        rewritten_by_transform: shared columns that the receiver rewrites in place. The sender's
            values are kept beside the table, so comparisons stay exact and a reload of an
            unchanged row does not undo the rewriting.
    """

    changed_at: Name | None = None
    changed_at_zone: Name | None = None
    watermark: bool | None = None
    children: tuple[Name, ...] = ()
    media_columns: tuple[Name, ...] = ()
    no_media_values: tuple[str, ...] = ()
    receiver_columns: tuple[Name, ...] = ()
    reset_on_change: dict[Name, Literal] = Field(default_factory=dict)
    clear_on_change: tuple[Name, ...] = ()
    rewritten_by_transform: tuple[Name, ...] = ()


class Catalog(_Strict):
    """The tables of one application that travel from sender to receiver.

    Attributes:
        name: of the catalog, for people.
        schema_name: the database schema of the tables (``schema`` in the file).
        tables: patterns of table names, case-sensitive, with ``*`` and ``?``.
        receiver_tables: tables that only the receiver has; they match a pattern but never travel.
        django_app: the app label under which ``django_migrations`` records migrations; None:
            migrations are not compared.
        watermark_limit_mb: tables above this size are not read for the watermark by default.
        whole_table_limit_mb: tables without a key are carried whole up to this size, and refused
            above it.
        table: rules by table name.
    """

    name: Name
    schema_name: Name = Field(default="public", alias="schema")
    tables: tuple[Name, ...] = Field(min_length=1)
    receiver_tables: tuple[Name, ...] = ()
    django_app: Name | None = None
    watermark_limit_mb: Annotated[int, Field(ge=0)] = 2048
    whole_table_limit_mb: Annotated[int, Field(ge=0)] = 64
    table: dict[Name, TableRules] = Field(default_factory=dict)

    def travels(self, table: str) -> bool:
        """Whether a table of this name is copied from the sender to the receiver."""
        matches = any(fnmatchcase(table, pattern) for pattern in self.tables)
        return matches and table not in self.receiver_tables

    def rules(self, table: str) -> TableRules:
        """The rules of a table; the defaults where the catalog says nothing."""
        return self.table.get(table, _DEFAULT_RULES)

    def named_tables(self) -> tuple[str, ...]:
        """The travelling tables that the file names, sorted; a pattern alone names none."""
        literal = (name for name in self.tables if not set(name) & set("*?["))
        return tuple(sorted({name for name in (*self.table, *literal) if self.travels(name)}))

    def tracked(self) -> tuple[str, ...]:
        """The tables with a ``changed_at`` column, sorted by name."""
        return tuple(sorted(name for name, rules in self.table.items() if rules.changed_at))


_DEFAULT_RULES = TableRules()
