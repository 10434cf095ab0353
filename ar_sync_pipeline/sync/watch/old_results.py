"""Results that the old system's transform left at the receiver: no load replaces them."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.ledger_tables import nothing_applied
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.transform.transapp.receiver_tables import BUS_EVENT, REPORT, STOP_EVENT
from ar_sync_pipeline.visible_text import names_in_words

_HAS_MARK = """
SELECT EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = to_regclass(format('%%I.%%I', %s::text, %s::text))
                 AND attname = 'transformed' AND NOT attisdropped)
"""


def old_results(connection: Connection, catalog: Catalog) -> Iterator[Finding]:
    """Yield a warning about rows that are marked as transformed before any load.

    A load unmarks the rows that it changes only, so the others keep wrong results (old system, D23
    to D26). After the first load nothing tells whose results they are.
    """
    if not nothing_applied(connection):
        return
    labels = [label for label in (BUS_EVENT, REPORT, STOP_EVENT) if catalog.replicates(label)]
    tables = [label for label in labels if _has_results(connection, catalog.locate(label))]
    if tables:
        yield Finding(
            Level.WARNING,
            f"rows of {names_in_words(tables)} are marked as transformed, and no archive was"
            " applied yet: the results of the old transform stay, with time periods by UTC, wrong"
            " positions and repeated rows of reportinfo",
            "after the first complete unmark them as in docs/migration.md, `Results of the old"
            " transform`",
        )


def _has_results(connection: Connection, place: tuple[str, str]) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE transformed)")
    return bool(
        scalar(connection, _HAS_MARK, place)
        and scalar(connection, query.format(sql.Identifier(*place)))
    )
