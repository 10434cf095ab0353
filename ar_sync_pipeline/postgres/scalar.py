"""The single value of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql


def scalar(
    connection: psycopg.Connection[tuple[Any, ...]],
    query: LiteralString | bytes | sql.SQL | sql.Composed,
    arguments: Sequence[object] | Mapping[str, object] | None = None,
) -> Any:  # noqa: ANN401  the query decides
    """Return the first column of a query's first row; None if it has no row."""
    row = connection.execute(query, arguments).fetchone()
    return row[0] if row else None
