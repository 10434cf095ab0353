"""Statistics of columns and tables in PostgreSQL: sizes, indexes, common and newest values.

The statistics are those of the last ANALYZE; no row is read. The view ``pg_stats`` shows only
columns that the role may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

_ROWS = """
SELECT t.name, (sum(c.reltuples) FILTER (WHERE c.reltuples >= 0))::bigint,
       count(*) FILTER (WHERE c.oid <> t.oid)
  FROM (SELECT name, oid FROM unnest(%s::text[]) AS name,
               LATERAL (SELECT to_regclass(name)::oid AS oid) AS r) AS t
 CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(t.oid)
                     UNION SELECT t.oid) AS p
  JOIN pg_class c ON c.oid = p.relid
 GROUP BY t.name
"""
_COLUMNS = """
SELECT t.name, a.attname,
       EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indisvalid)
  FROM (SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name) AS t
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
"""
# Both arrays are of the column's own type, so they are read as text.
_VALUES = """
SELECT t.name, s.attname, s.null_frac, s.most_common_vals::text::text[],
       s.histogram_bounds::text::text[]
  FROM (SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name) AS t
  JOIN pg_class c ON c.oid = t.oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_stats s ON (s.schemaname, s.tablename) = (n.nspname, c.relname)
                 AND s.inherited = (c.relkind = 'p')
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
  JOIN pg_type y ON y.oid = a.atttypid
 WHERE y.typcategory IN ('S', 'D') AND coalesce(s.avg_width, 0) < 300
"""


@dataclass(frozen=True)
class ColumnStatistics:
    """Statistics of one column.

    Attributes:
        indexed: Whether it is the first column of an index.
        null_fraction: Fraction of its rows that are NULL; None: not analyzed, or not visible to
            this role.
        values: Some of its values as text, the most common ones first.
        newest: Its greatest value as text; None: unknown.
    """

    indexed: bool = False
    null_fraction: float | None = None
    values: tuple[str, ...] = ()
    newest: str | None = None


@dataclass(frozen=True)
class TableStatistics:
    """Statistics of one table.

    Attributes:
        row_count: Approximate number of rows, as of the last ANALYZE; None: never analyzed.
        partition_count: Number of partitions; 0 for an ordinary table.
        columns: Statistics of columns by name.
    """

    row_count: int | None
    partition_count: int
    columns: Mapping[str, ColumnStatistics]

    def column(self, name: str) -> ColumnStatistics:
        """Return the statistics of a column; empty ones if there are none."""
        return self.columns.get(name, _UNKNOWN)


def read_statistics(
    connection: Connection, tables: Iterable[TableFacts]
) -> dict[str, TableStatistics]:
    """Return the statistics of tables by label."""
    labels = {table.relation.as_string(connection): table.name for table in tables}
    names = list(labels)
    columns: dict[str, dict[str, ColumnStatistics]] = {name: {} for name in names}
    for name, column, indexed in connection.execute(_COLUMNS, [names]):
        columns[name][column] = ColumnStatistics(indexed)
    for name, column, nulls, common, bounds in connection.execute(_VALUES, [names]):
        columns[name][column] = ColumnStatistics(
            columns[name][column].indexed,
            nulls,
            tuple(v for v in (*(common or ()), *(bounds or ())) if v is not None),
            max(filter(None, (common or []) + (bounds or [])), default=None),
        )
    return {
        labels[name]: TableStatistics(rows, partitions, columns[name])
        for name, rows, partitions in connection.execute(_ROWS, [names])
    }


_UNKNOWN = ColumnStatistics()
