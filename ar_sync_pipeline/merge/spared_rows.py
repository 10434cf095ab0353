"""Rows that a late complete lacks and must not delete: rows that it leaves as they are need them.

The rows were added after the complete was made, and a later archive of the same load brings them.
To delete and restore them is not possible where newer children refer to them, which are in chunks
that the complete does not carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from ar_sync_pipeline.merge.differences import TableDifference
from ar_sync_pipeline.merge.rows_to_delete import RowsToDelete
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.unique_values import holders
from ar_sync_pipeline.postgres.table_facts import ForeignKey


@dataclass
class SparedRows:
    """Absent rows of a complete that stay, as identities in temporary tables by table name.

    Attributes:
        later: Staged tables of the archives that are applied after the complete, by name.
    """

    to_delete: RowsToDelete
    later: Mapping[str, Sequence[StagedTable]]
    relations: dict[str, sql.Identifier] = field(default_factory=dict)

    def find(self, differences: Mapping[str, TableDifference]) -> None:
        """Take the rows out of those to delete.

        A row with a unique value that the complete gives to another row is not spared: then what
        refers to it is refused.
        """
        # A spared row refers to others, which must then stay, too.
        while any(self._spare(key, differences) for key in self._keys()):
            pass

    def _keys(self) -> list[ForeignKey]:
        to_delete = self.to_delete
        keys = (key for table in to_delete.tables() for key in to_delete.references.to(table))
        return [key for key in keys if self._is_shared(key)]

    def _is_shared(self, key: ForeignKey) -> bool:
        references = self.to_delete.references
        return (
            key.table in references.targets
            and key.referenced_table in self.later
            and not references.receiver_only_columns(key)
            and not references.may_have_orphans(key)
            and not any(
                self.to_delete.identity(t).by_place for t in (key.table, key.referenced_table)
            )
        )

    def _spare(self, key: ForeignKey, differences: Mapping[str, TableDifference]) -> int:
        table = key.referenced_table
        identity, connection = self.to_delete.identity(table), self.to_delete.connection
        spared = self.relations.get(table)
        if spared is None:
            name = f"{self.to_delete.prefix}_spared_{len(self.relations)}"
            rows = self.to_delete.references.tables[table].rows
            spared = self.relations[table] = identity.create(connection, name, rows)
        count = connection.execute(
            sql.SQL("INSERT INTO {} SELECT DISTINCT {} FROM {} ON CONFLICT DO NOTHING").format(
                spared, identity.stored_list("d"), self._needed(key, differences.get(table))
            )
        ).rowcount
        if count:
            self.to_delete.leave(table, spared)
        return count

    def _needed(self, key: ForeignKey, difference: TableDifference | None) -> sql.Composed:
        """Return the rows to delete ``d`` to which rows refer that stay as they are."""
        to_delete, table = self.to_delete, key.referenced_table
        brought = sql.SQL(" OR ").join(
            sql.SQL("EXISTS (SELECT FROM {} AS l WHERE {})").format(
                other.with_columns(self.to_delete.references.tables[table].key),
                to_delete.identity(table).matches("l", "d"),
            )
            for other in self.later[table]
        )
        claimed = [
            sql.SQL("EXISTS (SELECT FROM ({}) AS h WHERE {})").format(
                holders(difference, unique), to_delete.identity(table).same("h", "d")
            )
            for unique in (difference.target.unique_keys() if difference else ())
            if difference and not difference.empty and not difference.fills
        ]
        return sql.SQL("{} AND NOT {} AND ({}) AND NOT ({})").format(
            to_delete.losing_parents(key),
            to_delete.is_written_or_deleted(key.table, "c"),
            brought,
            sql.SQL(" OR ").join([sql.SQL("false"), *claimed]),
        )
