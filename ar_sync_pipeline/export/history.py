"""Check whether an earlier snapshot belongs to the current history of the database.

Transaction ids show what an earlier snapshot could not see, but only within one history. Another
cluster has another system identifier; a promoted standby or a point-in-time recovery has another
timeline. A cluster restored from a cold copy of its folder, or a machine reset to an older disk,
keeps both:

- it may have used fewer transaction ids, or written less WAL, than the snapshot had seen;
- if it has overtaken both, the *traces* tell: each dump uses sixteen transaction ids, of which a
  random half aborts. The commit log of another history has other outcomes for these ids.

All databases of a cluster share ids, WAL and commit log: `object_ids` tells them apart.

Not detected: a standby as the sender, which can use no ids, that was reset and has overtaken the
log's position; and another history whose sixteen ids have the same outcomes by chance (one in
10,000 if half of its transactions abort, far less otherwise). A crash right after a dump may lose
the outcomes of its traces: the next partial then counts as one of another history, and the next
complete repairs it.
"""

from __future__ import annotations

import random
from itertools import chain

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar

_HALF_OF_ALL_IDS = 2**31
_TRACES = 16


def comparable(since: Watermark | None, now: Watermark) -> Watermark | None:
    """Return the watermark unless it belongs to another history or is too old to compare.

    Transaction ids of another history mean nothing, and ids are compared modulo 2^32.
    """
    if since is None or not may_precede(since, now):
        return None
    return since if _ends(now)[1] - _ends(since)[0] < _HALF_OF_ALL_IDS else None


def may_precede(since: Watermark, now: Watermark) -> bool:
    """Return whether a watermark can be an earlier point of the same history.

    If a cluster has used fewer transaction ids, or written less WAL, than the watermark, it was
    reset to an earlier state. `has_traces` detects more.
    """
    if (since.system_identifier, since.timeline) != (now.system_identifier, now.timeline):
        return False
    if since.lsn is not None and now.lsn is not None and now.lsn < since.lsn:
        return False
    return _ends(since)[1] <= _ends(now)[1]


def leave_traces(connection: Connection) -> str | None:
    """Use some transaction ids, a random half of them aborted; call it outside a transaction.

    It writes no row, and needs no right.

    Returns:
        Value of `Watermark.traces`; None on a standby, which can use no ids.
    """
    if scalar(connection, "SELECT pg_is_in_recovery()"):
        return None
    outcomes = ["c"] * (_TRACES // 2) + ["a"] * (_TRACES // 2)
    random.SystemRandom().shuffle(outcomes)
    script = "; ".join(
        f"BEGIN; SELECT pg_current_xact_id()::text; {'COMMIT' if outcome == 'c' else 'ROLLBACK'}"
        for outcome in outcomes
    )
    used = list[str]()
    with connection.cursor() as cursor:
        cursor.execute(script.encode())
        while True:
            if cursor.description:
                used += [row[0] for row in cursor.fetchall()]
            if not cursor.nextset():
                break
    return ",".join(used_id + outcome for used_id, outcome in zip(used, outcomes, strict=True))


def has_traces(connection: Connection, *points: Watermark) -> bool:
    """Return whether the database's commit log agrees with the traces of watermarks.

    Ids so old that the log no longer has their outcome count as equal.
    """
    left = (point.traces.split(",") for point in points if point.traces is not None)
    traces = [(trace[:-1], trace[-1]) for trace in chain.from_iterable(left)]
    if not traces:
        return True
    ids, outcomes = [t[0] for t in traces], [t[1] for t in traces]
    row = connection.execute(_AGREES, {"ids": ids, "outcomes": outcomes}).fetchone()
    return row is None or bool(row[0])


def _ends(watermark: Watermark) -> tuple[int, int]:
    """Return the ``xmin`` and ``xmax`` of a snapshot."""
    oldest, newest, _ = watermark.snapshot.split(":")
    return int(oldest), int(newest)


# pg_xact_status() raises an error for an id that is not used yet.
_AGREES = """
SELECT bool_and(CASE
         WHEN t.id::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN false
         ELSE coalesce(pg_xact_status(t.id::xid8)
                       = CASE t.outcome WHEN 'c' THEN 'committed' ELSE 'aborted' END, true) END)
  FROM unnest(%(ids)s::text[], %(outcomes)s::text[]) AS t (id, outcome)
"""
