"""Freeing of unique values before they are written, so that every row can be updated in place.

A unique index that is not deferrable is checked row by row. So two rows cannot exchange their
values by two updates, and a row cannot take the value of one that is deleted later. Therefore a
row that will be updated or deleted, and that holds a value which an incoming row needs, gets a
placeholder first. After that the statements cannot conflict in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ar_sync_pipeline.archive.errors import printable
from ar_sync_pipeline.merge.differences import CHANGE, REPLACE, TableDifference
from ar_sync_pipeline.merge.errors import GRANT
from ar_sync_pipeline.merge.placeholders import Placeholder, placeholders
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.side_effects import SideEffects
from ar_sync_pipeline.merge.unique_values import holders, still_held
from ar_sync_pipeline.postgres.connect import Connection, is_of_the_server, names_function
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import application_settings
from ar_sync_pipeline.postgres.sql_parts import exists
from ar_sync_pipeline.postgres.table_facts import UniqueKey

# The last four: a value too long for an index, an error of a function in C, and a type that is not
# PostgreSQL's own and has no maximum or sum, or several.
_REFUSED = (
    psycopg.IntegrityError,
    psycopg.DataError,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.InternalError_,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.AmbiguousFunction,
)


@dataclass(frozen=True)
class UniqueValueFreer:
    """Frees the unique values of a merge's tables.

    Attributes:
        to_delete: Rows that the merge deletes.
        effects: Whether the deletion of a row has an effect on others.
    """

    connection: Connection
    to_delete: RowsToDelete
    effects: SideEffects

    def free(self, difference: TableDifference, prefix: str) -> None:
        """Free the unique values that the incoming rows of a table get.

        If no placeholder fits, a row is deleted at once or marked to be replaced, if that has no
        effect on other rows.

        Args:
            prefix: Prefix of the names of temporary tables, unique within the transaction.

        Raises:
            LoadRefusedError: Replacing rows would change others, or a foreign key prevents the
                change of the values.
        """
        deleted = self.to_delete.counts.get(difference.target.name, 0)
        if difference.fills or not (difference.changed or (difference.added and deleted)):
            return
        for number, unique in enumerate(difference.target.unique_keys()):
            if unique.deferrable:
                continue
            moved = self._blocking_rows(difference, unique, f"{prefix}_{number}")
            if moved is not None and not self._place(difference, unique, moved):
                self._remove(difference, unique, moved)

    def _blocking_rows(
        self, difference: TableDifference, unique: UniqueKey, name: str
    ) -> sql.Identifier | None:
        """Return rows to change or delete that have a wanted value; None: there are none."""
        identity, table = difference.identity, difference.target.name
        written = sql.SQL("EXISTS (SELECT FROM {} AS d WHERE {} AND d.action = {})").format(
            difference.relation, identity.same("b", "d"), sql.Literal(CHANGE)
        )
        deleted = identity.is_stored_in("b", self.to_delete.relation(table))
        query = sql.SQL(
            "SELECT b.*, pg_catalog.row_number() OVER () AS {} FROM ({}) AS b WHERE {} OR {}"
        ).format(sql.Identifier("ar_sync number"), holders(difference, unique), written, deleted)
        relation = identity.fill(self.connection, name, query)
        return relation if exists(self.connection, relation) else None

    def _place(self, difference: TableDifference, unique: UniqueKey, moved: sql.Identifier) -> bool:
        """Try placeholders until one frees the values; return whether one did.

        Raises:
            LoadRefusedError: A foreign key that is checked at once prevents the change of the
                values.
        """
        if difference.identity.by_place:
            return False  # an update would move the row to another place
        held_by: psycopg.Error | None = None
        for placeholder in placeholders(
            self.connection, self.to_delete.references, difference, unique
        ):
            try:
                if self._try(difference, unique, moved, placeholder):
                    return True
            except psycopg.errors.ForeignKeyViolation as error:
                held_by = error
            except psycopg.Error as error:
                # A function that a check, domain or index calls may raise any error.
                refused = isinstance(error, _REFUSED) or names_function(error.diag.context)
                if not refused or is_of_the_server(error, self.connection):
                    raise
        if held_by is not None and not self.deletes_silently(difference):
            held = printable(held_by.diag.constraint_name or "a foreign key")
            holder = printable(held_by.diag.table_name or "a table")
            raise LoadRefusedError(
                f"rows of {difference.target.name} take over each other's values of {unique.name},"
                f" but {held} of {holder} prevents the change",
                remedy=f"make {held} DEFERRABLE, or {GRANT}; the archive is tried again by itself",
            ) from held_by
        return False

    def refuse_replacing(self, difference: TableDifference) -> None:
        """Refuse to replace rows if deleting them would change others.

        Raises:
            LoadRefusedError: Deleting them would change others.
        """
        if not self.deletes_silently(difference):
            columns = ", ".join(difference.target.fixed) or "a unique value"
            raise LoadRefusedError(
                f"rows of {difference.target.name} have another {columns} at the sender, which"
                " PostgreSQL does not update, and other rows depend on them",
                remedy=f"{GRANT}, or ALTER the column at the receiver to GENERATED BY DEFAULT; the"
                " archive is tried again by itself",
            )

    def _try(
        self,
        difference: TableDifference,
        unique: UniqueKey,
        moved: sql.Identifier,
        placeholder: Placeholder,
    ) -> bool:
        statement = sql.SQL("UPDATE {} AS t SET {} = {} FROM {} AS m WHERE {}").format(
            difference.target.rows,
            sql.Identifier(placeholder.column),
            placeholder.value,
            moved,
            difference.identity.matches("t", "m"),
        )
        freed = False
        with self.connection.transaction():
            with application_settings(self.connection):
                self.connection.execute(statement)
            freed = not scalar(self.connection, still_held(difference, unique, moved))
            if not freed:
                raise psycopg.Rollback
        return freed

    def _remove(
        self, difference: TableDifference, unique: UniqueKey, moved: sql.Identifier
    ) -> None:
        """Delete blocking rows that are to be deleted; mark the others to be replaced."""
        if not self.deletes_silently(difference):
            raise LoadRefusedError(
                f"rows of {difference.target.name} take over each other's values of {unique.name},"
                f" and no temporary value is allowed{_fired(difference)}",
                remedy=f"{GRANT}, or make {unique.name} DEFERRABLE; the archive is tried again by"
                " itself",
            )
        identity, table = difference.identity, difference.target.name
        self.connection.execute(
            sql.SQL(
                "UPDATE {} AS d SET action = {} FROM {} AS m WHERE {} AND d.action = {}"
            ).format(
                difference.relation,
                sql.Literal(REPLACE),
                moved,
                identity.same("d", "m"),
                sql.Literal(CHANGE),
            )
        )
        self.connection.execute(
            sql.SQL("DELETE FROM {} AS t USING {} AS m, {} AS d WHERE {} AND {}").format(
                difference.target.rows,
                moved,
                self.to_delete.relation(table),
                identity.matches("t", "m"),
                identity.same("m", "d"),
            )
        )

    def deletes_silently(self, difference: TableDifference) -> bool:
        """Return whether the deletion of a row of the table changes no other row."""
        if self.effects.suppressed:
            return True
        references = self.to_delete.references.to(difference.target.name)
        held = any(key.on_delete.writes or not key.deferrable for key in references)
        return not held and not difference.target.facts.triggers


def _fired(difference: TableDifference) -> str:
    """Return the triggers and rules that may have prevented a placeholder."""
    names = ", ".join(difference.target.facts.triggers[:5])
    return f"; these fire for replicated rows: {names}" if names else ""
