"""The catalog: which tables are replicated and how each one changes.

Primary keys, foreign keys and column types are read from the database; the catalog contains only
what no database can tell. A replicated table without rules has the defaults.
"""

from __future__ import annotations

from typing import Annotated, Any
from typing import Literal as OneOf

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ar_sync_pipeline.catalog.labels import canonical, is_literal, locate, matches
from ar_sync_pipeline.catalog.masks import Mask, MaskFunction, Value

Name = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]+$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=127, pattern=r"^[^\x00]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TableRules(_Strict):
    """How one table changes, and what the receiver adds to it.

    Attributes:
        changed_at: The ``timestamptz`` column that the application updates when a row changes;
            None: only the watermark finds changes.
        changed_at_zone: IANA time zone of ``changed_at``, if that is a ``timestamp without time
            zone``.
        watermark: Whether partials also read the table for rows that the previous archive's
            snapshot could not see; None: the table's size decides (`Catalog.watermark_limit_mb`).
        children: Tables whose rows are exported together with a selected row that they refer to.
        media_columns: Columns that name media files.
        no_media_values: Values of these columns that mean "no file".
        receiver_columns: Receiver-only columns; loads never write them.
        exclude: Columns of the sender that are not replicated; the receiver keeps its own values in
            them. The files of an excluded media column are not replicated either.
        mask: What is sent instead of a column's values, by column.
        approved_columns: Columns of the sender whose values are sent by the rules of this table,
            although another rule kept them back by the name that they had before.
        reset_on_change: Value that receiver-only columns get when a row is new or changes, or one
            of its children is new, changes or is deleted, so that the transform finds the row.
        clear_on_change: Receiver-only columns that become NULL in such a row.
        rewritten_by_transform: Shared columns that the receiver transforms in place. The sender's
            values are kept in a separate table, so comparisons stay exact and a reload of an
            unchanged row does not undo the transformation.
        triggers: Whether replicated rows fire the table's user triggers at the receiver.
    """

    changed_at: Name | None = None
    changed_at_zone: Name | None = None
    watermark: bool | None = None
    children: tuple[Label, ...] = ()
    media_columns: tuple[Name, ...] = ()
    no_media_values: tuple[str, ...] = ()
    receiver_columns: tuple[Name, ...] = ()
    exclude: tuple[Name, ...] = ()
    mask: dict[Name, Mask] = Field(default_factory=dict)
    approved_columns: tuple[Name, ...] = ()
    reset_on_change: dict[Name, Value] = Field(default_factory=dict)
    clear_on_change: tuple[Name, ...] = ()
    rewritten_by_transform: tuple[Name, ...] = ()
    triggers: OneOf["suppress", "fire"] = "suppress"

    @property
    def not_replicated(self) -> frozenset[str]:
        """Columns that no archive contains, and no load writes."""
        return frozenset((*self.receiver_columns, *self.exclude))

    @property
    def not_sent_as_it_is(self) -> frozenset[str]:
        """Columns whose values at the sender are not those that an archive contains."""
        return frozenset((*self.not_replicated, *self.mask))

    @property
    def sent_media_columns(self) -> tuple[str, ...]:
        """Media columns that are replicated with their files."""
        return tuple(name for name in self.media_columns if name not in self.exclude)

    @property
    def column_rules(self) -> dict[str, str]:
        """Rule of each column whose values do not leave the sender unchanged."""
        masks = {name: str(mask.function) for name, mask in self.mask.items()}
        return masks | dict.fromkeys(self.exclude, "exclude")

    def emptied(self, column: str) -> bool:
        """Return whether a column's values never reach the receiver, not even masked."""
        mask = self.mask.get(column)
        return column in self.exclude or (mask and mask.function) is MaskFunction.NULL


class Catalog(_Strict):
    """The tables of one application that are replicated from sender to receiver.

    A table's name in the catalog is its label (`ar_sync_pipeline.catalog.labels`): the name alone
    in the catalog's schema, ``schema.table`` in any other. Names compare case-sensitively. All
    labels are stored in their canonical spelling, whatever the file contains.

    Attributes:
        name: Name of the catalog; a receiver's ledger accepts no other.
        schema_name: Database schema of the tables (``schema`` in the file).
        tables: Patterns of labels, with ``*`` and ``?``; before the dot these match schemas.
        exclude: Patterns of labels that are not replicated although ``tables`` matches them.
        receiver_tables: Patterns of receiver-only tables; ``tables`` may match them too.
        django_app: App label under which ``django_migrations`` records migrations; None: migrations
            are not compared.
        watermark_limit_mb: Size above which tables are not read for the watermark by default.
        whole_table_limit_mb: Size up to which tables without a key are exported whole; larger ones
            are refused.
        table: Rules by label.
    """

    name: Name
    schema_name: Name = Field(default="public", alias="schema")
    tables: tuple[Label, ...] = Field(min_length=1)
    exclude: tuple[Label, ...] = ()
    receiver_tables: tuple[Label, ...] = ()
    django_app: Name | None = None
    watermark_limit_mb: Annotated[int, Field(ge=0)] = 2048
    whole_table_limit_mb: Annotated[int, Field(ge=0)] = 64
    table: dict[Label, TableRules] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _canonical_labels(cls, data: Any) -> Any:  # noqa: ANN401  what pydantic passes
        """Spell every label canonically; other values are left to the fields' validation."""
        if not isinstance(data, dict):
            return data
        schema = data.get("schema", "public")
        return _spelled(data, schema) if isinstance(schema, str) and schema else data

    def replicates(self, label: str) -> bool:
        """Return whether a table is replicated."""
        return (
            self.matches_any(self.tables, label)
            and not self.matches_any(self.exclude, label)
            and not self.is_receiver_only(label)
        )

    def is_receiver_only(self, label: str) -> bool:
        """Return whether a table is receiver-only by the catalog."""
        return self.matches_any(self.receiver_tables, label)

    def matches_any(self, patterns: tuple[str, ...], label: str) -> bool:
        """Return whether one of the patterns matches a table."""
        return any(matches(pattern, label, self.schema_name) for pattern in patterns)

    def locate(self, label: str) -> tuple[str, str]:
        """Return the schema and the name, in the database, of the table that a label means."""
        return locate(label, self.schema_name)

    def excluded_columns(self) -> tuple[str, ...]:
        """Return the excluded columns of replicated tables, as ``schema.table.column``."""
        return tuple(
            ".".join((*self.locate(label), column))
            for label, rules in sorted(self.table.items())
            if self.replicates(label)
            for column in rules.exclude
        )

    @property
    def excludes_media(self) -> bool:
        """Whether files of some media column stay at the sender."""
        return any(
            set(rules.media_columns) & set(rules.exclude)
            for label, rules in self.table.items()
            if self.replicates(label)
        )

    def rules(self, label: str) -> TableRules:
        """Return the rules of a table; the defaults if the catalog has none."""
        return self.table.get(label, _DEFAULT_RULES)

    def names(self, label: str) -> bool:
        """Return whether the file names a replicated table, by a section or in ``tables``."""
        return (label in self.table or label in self.tables) and self.replicates(label)

    def approves(self, label: str, old: str) -> bool:
        """Return whether the file says that a table is replicated that had another name before.

        So says a pattern of ``tables`` that matches the new name alone, and of which a wider one
        matches all tables: it has no other effect.
        """
        return self.names(label) or any(
            self.matches_any((one,), label)
            and not self.matches_any((one,), old)
            and any(self._is_wider(other, one) for other in self.tables)
            for one in self.tables
        )

    def _is_wider(self, pattern: str, other: str) -> bool:
        """Return whether a pattern covers another; ``*.*`` beside ``*`` only adds schemas."""
        return self.locate(pattern)[1] != self.locate(other)[1] and self.matches_any(
            (pattern,), other
        )

    def named_tables(self) -> tuple[str, ...]:
        """Return the replicated tables that the file names, sorted; a wildcard names none."""
        literal = filter(is_literal, self.tables)
        return tuple(sorted({name for name in (*self.table, *literal) if self.replicates(name)}))

    def tracked(self) -> tuple[str, ...]:
        """Return the replicated tables with a ``changed_at`` column, sorted by label."""
        return tuple(
            sorted(
                name
                for name, rules in self.table.items()
                if rules.changed_at and self.replicates(name)
            )
        )


def _spelled(data: dict[str, Any], schema: str) -> dict[str, Any]:
    """Return the fields of a catalog with canonical labels."""

    def labels(value: Any) -> Any:  # noqa: ANN401  as in the file
        if not isinstance(value, list | tuple):
            return value
        return [canonical(v, schema) if isinstance(v, str) else v for v in value]

    def rules(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict) or "children" not in value:
            return value
        return value | {"children": labels(value["children"])}

    spelled = dict(data)
    for name in {"tables", "exclude", "receiver_tables"} & data.keys():
        spelled[name] = labels(data[name])
    if isinstance(data.get("table"), dict):
        sections: dict[str, Any] = {}
        for label, section in data["table"].items():
            sections.setdefault(canonical(label, schema), rules(section))
        spelled["table"] = sections
    return spelled


_DEFAULT_RULES = TableRules()
