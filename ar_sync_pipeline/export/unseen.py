"""Condition for rows that an earlier snapshot could not see."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark


def unseen_by(since: Watermark, alias: str = "t") -> sql.Composed:
    """Return the condition for rows of ``alias`` that the earlier snapshot could not see.

    They were written by transactions from that snapshot's ``xmin`` on, compared modulo 2^32. The
    low end is used instead of membership in the snapshot: rows written in savepoints have ids of
    subtransactions, which a snapshot does not list. Frozen rows keep their old ``xmin``, whose
    distance is large, and so do the permanent ids below 3.
    """
    lowest = int(since.snapshot.split(":")[0])
    return sql.SQL(
        "((pg_snapshot_xmax(pg_current_snapshot())::text::bigint - {xmin}::text::bigint)"
        " & 4294967295) <= pg_snapshot_xmax(pg_current_snapshot())::text::bigint - {lowest}"
    ).format(xmin=sql.Identifier(alias, "xmin"), lowest=sql.Literal(lowest))
