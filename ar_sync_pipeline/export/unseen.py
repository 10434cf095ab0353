"""Condition for rows that an earlier snapshot could not see."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.archive.manifest import Watermark


def unseen_by(since: Watermark, alias: str = "t") -> sql.Composed:
    """Return the condition for rows of ``alias`` that the earlier snapshot could not see.

    They were written by transactions from that snapshot's ``xmin`` on, compared modulo 2^32. The
    low end is used instead of membership in the snapshot: rows written in savepoints have ids of
    subtransactions, which a snapshot does not list. Frozen rows keep their ``xmin``. Their age is
    larger than that of ``lowest``, or negative after 2^31 ids. Ids below 3 have the largest age.
    """
    lowest = int(since.snapshot.split(":")[0]) % 2**32
    # The subquery is computed once, and the comparison that fails for most rows comes first.
    return sql.SQL("(age({xmin}) <= (SELECT age({lowest}::xid)) AND age({xmin}) >= 0)").format(
        xmin=sql.Identifier(alias, "xmin"), lowest=sql.Literal(str(lowest))
    )
