"""Statistics of columns and tables in PostgreSQL: sizes, indexes, common and newest values.

The statistics are those of the last ANALYZE; no row is read. The view ``pg_stats`` shows only
columns that the role may read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import TableFacts

# By the system catalogs: to_regclass fails if the role may not use the schema.
_TABLES = """
WITH t AS (
  SELECT c.oid, n.nspname, c.relname, c.relkind
    FROM unnest(%s::text[], %s::text[]) AS w (schema, relname)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.relname)
"""
_ROWS = """
SELECT t.nspname, t.relname, (sum(c.reltuples) FILTER (WHERE c.reltuples >= 0))::bigint,
       count(*) FILTER (WHERE c.oid <> t.oid)
  FROM t
 CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(t.oid)
                     UNION SELECT t.oid) AS p
  JOIN pg_class c ON c.oid = p.relid
 GROUP BY t.nspname, t.relname
"""
_COLUMNS = """
SELECT t.nspname, t.relname, a.attname,
       EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = a.attrelid AND i.indkey[0] = a.attnum AND i.indisvalid)
  FROM t
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
"""
# Both arrays are of the column's own type, so they are read as text.
_VALUES = """
SELECT t.nspname, t.relname, s.attname, s.null_frac, s.most_common_vals::text::text[],
       s.histogram_bounds::text::text[]
  FROM t
  JOIN pg_stats s ON (s.schemaname, s.tablename) = (t.nspname, t.relname)
                 AND s.inherited = (t.relkind = 'p')
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = s.attname
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
    labels = {table.place: table.name for table in tables}
    places = [[schema for schema, _ in labels], [name for _, name in labels]]
    columns: dict[str, dict[str, ColumnStatistics]] = {label: {} for label in labels.values()}
    for schema, name, column, indexed in connection.execute(_TABLES + _COLUMNS, places):
        columns[labels[schema, name]][column] = ColumnStatistics(indexed)
    for schema, name, column, nulls, common, bounds in connection.execute(
        _TABLES + _VALUES, places
    ):
        known = columns[labels[schema, name]]
        known[column] = ColumnStatistics(
            known[column].indexed,
            nulls,
            tuple(v for v in (*(common or ()), *(bounds or ())) if v is not None),
            max(filter(None, (common or []) + (bounds or [])), default=None),
        )
    return {
        labels[schema, name]: TableStatistics(rows, partitions, columns[labels[schema, name]])
        for schema, name, rows, partitions in connection.execute(_TABLES + _ROWS, places)
    }


_UNKNOWN = ColumnStatistics()
