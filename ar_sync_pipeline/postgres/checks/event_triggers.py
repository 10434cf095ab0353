"""Event triggers that fire for the temporary tables of dumps and loads."""

from __future__ import annotations

from collections.abc import Iterator

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.visible_text import visible_name

EXEMPT = "let the trigger's function return at once if session_user is {}"
"""What keeps an event trigger away from the temporary tables of a role."""

# evtenabled: as tgenabled of triggers. A role with SELECT only creates no other object.
_FIRING = """
SELECT e.evtname, p.oid::regprocedure::text
  FROM pg_event_trigger e
  JOIN pg_proc p ON p.oid = e.evtfoid
 WHERE e.evtevent IN ('ddl_command_start', 'ddl_command_end') AND e.evtenabled::text = ANY (%s)
   AND (e.evttags IS NULL OR e.evttags && ARRAY['CREATE TABLE', 'CREATE TABLE AS', 'ALTER TABLE'])
 ORDER BY e.evtname
"""


def event_trigger_findings(
    connection: Connection, operation: str, *, replica: bool = False
) -> Iterator[Finding]:
    """Yield the event triggers that fire for each of the temporary tables of dumps or loads.

    Args:
        operation: What creates the tables, such as ``partial``.
        replica: Whether it does so with ``session_replication_role = replica``.
    """
    firing = ["A", "R"] if replica else ["A", "O"]
    for name, function in connection.execute(_FIRING, [firing]):
        yield Finding(
            Level.NOTE,
            f"event trigger {visible_name(name)} ({visible_name(function)}) fires for the temporary"
            f" tables of each {operation}, which fails if the function does",
            EXEMPT.format(connection.info.user),
        )
