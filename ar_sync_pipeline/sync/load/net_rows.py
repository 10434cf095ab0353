"""Net result of a load of several archives, in rows.

A row that two archives contain is counted in the plan of each. A load that applies later archives
again after a late one counts it even if it ends as it began. So the rows of all staging tables are
compared before the first merge and after the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from psycopg import sql

from ar_sync_pipeline.merge.apply_all import MergedArchives
from ar_sync_pipeline.merge.differences import current_values
from ar_sync_pipeline.merge.staging import StagedTable
from ar_sync_pipeline.merge.table_plan import TablePlan
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.row_image import row_image
from ar_sync_pipeline.postgres.sql_parts import column_list
from ar_sync_pipeline.sync.load.stage_archives import StagedArchive


@dataclass(frozen=True)
class NetRows:
    """Rows of a table that a load as a whole has added, changed and deleted."""

    added: int = 0
    changed: int = 0
    deleted: int = 0

    def __add__(self, other: NetRows) -> NetRows:
        """Return the sum, for other tables or other archives."""
        return NetRows(
            self.added + other.added,
            self.changed + other.changed,
            self.deleted + other.deleted,
        )


def planned_rows(plans: Sequence[TablePlan]) -> dict[str, NetRows]:
    """Return the sum of plans by table, which is the net result of a load of one archive."""
    found: dict[str, NetRows] = {}
    for plan in plans:
        rows = NetRows(plan.added, plan.changed, plan.deleted)
        found[plan.table] = found.get(plan.table, NetRows()) + rows
    return found


class RowsBefore:
    """The staged rows of all archives of a load, in their state before the first merge."""

    def __init__(self, connection: Connection, archives: Sequence[StagedArchive]) -> None:
        self._connection = connection
        staged: dict[str, list[StagedTable]] = {}
        for archive in archives:
            for table in archive.tables:
                staged.setdefault(table.target.name, []).append(table)
        numbers = count()
        self._tables = {
            name: (tables[-1], sql.Identifier("pg_temp", f"ar_sync_before_{next(numbers)}"))
            for name, tables in staged.items()
            if tables[-1].target.key
        }
        for name, (last, relation) in self._tables.items():
            self._remember(last, relation, staged[name])

    def net_rows(self, merged: MergedArchives) -> dict[str, NetRows]:
        """Return the net result of the load by table.

        The rows of tables without a key are those of the plans.
        """
        found = planned_rows(merged.plans)
        for name, rows in found.items():
            added, changed = rows.added, rows.changed
            if name in self._tables:
                added, changed = self._compare(*self._tables[name])
            found[name] = NetRows(added, changed, merged.deleted.get(name, 0))
        return found

    def _remember(
        self, last: StagedTable, relation: sql.Identifier, staged: Sequence[StagedTable]
    ) -> None:
        key = last.target.key
        keys = sql.SQL(" UNION ").join(
            sql.SQL("SELECT {} FROM {} AS n").format(column_list(key), one.with_columns(key))
            for one in staged
        )
        source, row = current_values(last)
        identity = last.target.identity
        query = sql.SQL(
            "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {}, h.image"
            " FROM ({}) AS n LEFT JOIN (SELECT {}, {} AS image FROM {}) AS h ON {}"
        )
        self._connection.execute(
            query.format(
                relation,
                identity.values("n"),
                keys,
                identity.values("t"),
                row_image(row),
                source,
                identity.matches("n", "h"),
            )
        )

    def _compare(self, last: StagedTable, relation: sql.Identifier) -> tuple[int, int]:
        source, row = current_values(last)
        query = sql.SQL(
            "SELECT count(*) FILTER (WHERE n.image IS NULL),"
            " count(*) FILTER (WHERE n.image <> {}) FROM {} JOIN {} AS n ON {}"
        )
        ((added, changed),) = self._connection.execute(
            query.format(row_image(row), source, relation, last.target.identity.matches("t", "n"))
        ).fetchall()
        return added, changed
