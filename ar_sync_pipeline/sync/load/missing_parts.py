"""Tables and columns that the sender sends and the receiver lacks.

An archive with rows of them is parked, or leaves them out with ``AR_SYNC_SCHEMA_DRIFT=ignore``. An
archive without rows of them, such as a partial after a table was dropped here, is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger import read_tables_still_sent
from ar_sync_pipeline.postgres.table_definitions import read_recorded
from ar_sync_pipeline.visible_text import names_in_words

_COLUMNS = """
SELECT n.nspname, c.relname,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
  FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
"""


def missing_parts(connection: Connection, catalog: Catalog) -> tuple[str, ...]:
    """Return the replicated tables, and ``table.column``, that applied archives had and this lacks.

    What the sender no longer sends is none, nor a table of which that is not known until its next
    complete.
    """
    here = {
        label_of(schema, name, catalog.schema_name): columns
        for schema, name, columns in connection.execute(_COLUMNS).fetchall()
    }
    left_out = {
        name: table.definition.left_out
        for name, table in read_recorded(connection).items()
        if table.definition.left_out
    }
    sent = read_tables_still_sent(connection) | left_out.keys()
    return tuple(
        part
        for name in sorted(sent)
        if catalog.replicates(name)
        for part in _missing(name, here.get(name), left_out.get(name, ()))
    )


def _missing(name: str, columns: Sequence[str] | None, left_out: Sequence[str]) -> list[str]:
    if columns is None:
        return [name]
    return [f"{name}.{column}" for column in left_out if column not in columns]


def missing_in_words(parts: Sequence[str]) -> str:
    """Return what an operator should know of such parts, as a clause; empty without any."""
    if not parts:
        return ""
    return (
        f"the receiver lacks {names_in_words(parts)}, which the sender sends: migrate the receiver"
        " as the sender was, and what it lacks comes with the sender's next complete; or drop it at"
        " the sender, whose next archive says so, or leave it out of both catalogs"
    )
