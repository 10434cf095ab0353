"""Facts of tables from the database itself: columns, keys, references, sequences.

They are read from the system catalogs (PostgreSQL manual, chapter 53), so that a catalog file
repeats nothing. Sequences are found by the column default that calls them. This also finds
sequences that their column does not own (three of AndroidRequests' are not owned).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from ar_sync_pipeline.postgres import schema_queries as queries
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.table_facts import (
    Action,
    ColumnFacts,
    ForeignKey,
    RowType,
    TableFacts,
    UniqueKey,
)


def read_tables(
    connection: Connection, schema: str, wanted: Callable[[str], bool]
) -> dict[str, TableFacts]:
    """Describe the tables of a database whose names are wanted, by name.

    All facts are of one state of the database: a table that is dropped or replaced between two
    queries would seem to have no columns.

    Args:
        schema: Schema of the catalog; its tables have plain names, those of others
            ``schema.table``.
    """
    with _one_state(connection), connection.cursor(row_factory=dict_row) as cursor:
        arguments = {"schema": schema}
        tables = cursor.execute(queries.TABLES, arguments).fetchall()
        tables = [row for row in tables if wanted(row["name"])]
        arguments["tables"] = [row["oid"] for row in tables]  # type: ignore[assignment]
        sizes = cursor.execute(queries.SIZES, arguments).fetchall()
        size_bytes = {row["oid"]: row["size_bytes"] for row in sizes}
        columns = _by_table(cursor.execute(queries.COLUMNS, arguments).fetchall())
        keys = _by_table(cursor.execute(queries.UNIQUE_KEYS, arguments).fetchall())
        references = _by_table(cursor.execute(queries.FOREIGN_KEYS, arguments).fetchall())
    return {
        row["name"]: _table_facts(
            row | {"size_bytes": size_bytes.get(row["oid"], 0)},
            columns.get(row["oid"], []),
            keys.get(row["oid"], []),
            references.get(row["oid"], []),
        )
        for row in tables
    }


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        yield  # the caller's transaction, as under the snapshot of a dump
        return
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def schema_fingerprint(tables: Mapping[str, TableFacts]) -> str:
    """Return a sha256 over names, columns, types and keys; equal for equal shapes."""
    shape = {
        name: [
            sorted((c.name, c.type, c.nullable) for c in table.columns),
            table.primary_key,
        ]
        for name, table in tables.items()
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def _by_table(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["table"], []).append(row)
    return found


def _table_facts(
    row: dict[str, Any],
    columns: list[dict[str, Any]],
    keys: list[dict[str, Any]],
    references: list[dict[str, Any]],
) -> TableFacts:
    described = tuple(_column_facts(column) for column in columns)
    primary = next((key for key in keys if key["primary"]), None)
    key = _replication_key(described, keys)
    return TableFacts(
        name=row["name"],
        columns=described,
        primary_key=tuple(primary["plain"]) if primary else (),
        unique_keys=tuple(_unique_key(found) for found in keys),
        foreign_keys=tuple(_foreign_key(found) for found in references),
        size_bytes=row["size_bytes"],
        denied=tuple(row["denied"]),
        schema=row["schema"],
        relname=row["relname"],
        key=tuple(key["plain"]) if key else (),
        key_operators=tuple(key["operators"]) if key else (),
        partitioned=row["partitioned"],
        policies=tuple(row["policies"] or ()),
        triggers=tuple(row["triggers"] or ()),
        partition_key=tuple(row["partition_key"] or ()),
    )


def _column_facts(row: dict[str, Any]) -> ColumnFacts:
    return ColumnFacts(
        row["name"],
        row["type"],
        row["nullable"],
        row["generated"],
        row["has_default"],
        (row["sequence_schema"], row["sequence_name"]) if row["sequence_name"] else None,
        row["always_identity"],
        (row["collation_schema"], row["collation_name"]) if row["collation_name"] else None,
        row["binary"],
        row["expression"] or "",
        tuple(row["computed_from"] or ()),
        row["text"],
        tuple(row["object_types"] or ()),
    )


def _replication_key(
    columns: tuple[ColumnFacts, ...], keys: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return a key that the application writes and that is never NULL; None if there is none.

    It is the primary key, or the unique key with the fewest columns.
    """
    usable = {c.name for c in columns if not c.generated and not c.nullable}
    candidates = [
        key
        for key in keys
        if key["plain"]
        and not key["exclusion"]
        and key["predicate"] is None
        and key["valid"]
        and key["by_equality"]
        and set(key["plain"]) <= usable
    ]
    candidates.sort(key=lambda key: (not key["primary"], len(key["plain"]), key["plain"]))
    return candidates[0] if candidates else None


def _unique_key(row: dict[str, Any]) -> UniqueKey:
    schema, relname, columns = row["whole_row"] or ("", "", ())
    return UniqueKey(
        row["name"],
        tuple(row["elements"]),
        tuple(row["operators"]),
        tuple(row["plain"] or ()),
        row["predicate"],
        tuple(row["uses"] or ()),
        row["nulls_distinct"],
        row["deferrable"],
        row["exclusion"],
        tuple(row["collations"]),
        row["primary"],
        row["valid"],
        tuple(row["collates"]),
        row["by_equality"],
        RowType(schema, relname, tuple(columns)) if columns else None,
    )


def _foreign_key(row: dict[str, Any]) -> ForeignKey:
    return ForeignKey(
        row["name"],
        row["table_name"],
        tuple(row["columns"]),
        row["referenced_table"],
        tuple(row["referenced_columns"]),
        tuple(row["operators"]),
        Action(row["on_delete"]),
        Action(row["on_update"]),
        row["deferrable"],
        row["match_full"],
        tuple(row["cleared"] or ()),
        row["validated"],
        row["period"],
        tuple(row["collates"]),
    )
