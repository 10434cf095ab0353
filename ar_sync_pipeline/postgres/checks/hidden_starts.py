"""Sessions of which nobody sees when their transactions began, so that dumps cannot know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.visible_text import visible_name

_SEES_OTHERS = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"
# What a role has of its own says nothing about other roles.
_OFF_FOR_ALL = """
SELECT setting = 'off' AND source NOT IN ('user', 'database user', 'client', 'session')
  FROM pg_settings WHERE name = 'track_activities'
"""
# The setting of a role in one database precedes that in all of them. Dumps do not wait for sessions
# of their own: if the application has the same role, its open sessions show it.
_OFF_FOR_ROLES = """
WITH given AS (
  SELECT DISTINCT ON (s.setrole) s.setrole, split_part(c, '=', 2) AS value
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c
   WHERE starts_with(c, 'track_activities=')
     AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   ORDER BY s.setrole, s.setdatabase DESC)
SELECT r.rolname FROM pg_roles r
 WHERE r.oid IN (SELECT setrole FROM given WHERE NOT value::boolean)
       AND r.rolname <> current_user AND r.rolcanlogin
       AND has_database_privilege(r.oid, current_database(), 'CONNECT')
    OR r.oid IN (SELECT usesysid FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()
                    AND state = 'disabled'
                    AND NOT (usename = current_user AND starts_with(application_name, 'ar_sync ')))
 ORDER BY r.rolname
"""


def hidden_start_findings(connection: Connection, tables: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding if sessions of the application run with ``track_activities = off``.

    Args:
        tables: Tables of which a partial takes the rows stamped since the oldest transaction began.
    """
    if not tables or not scalar(connection, _SEES_OTHERS):
        return
    if scalar(connection, _OFF_FOR_ALL):
        whose, statements = "this database", [_showing(connection, None)]
    else:
        roles = [name for (name,) in connection.execute(_OFF_FOR_ROLES)]
        whose = ", ".join(map(visible_name, roles))
        statements = [_showing(connection, name) for name in roles]
    if statements:
        yield Finding(
            Level.WARNING,
            f"sessions of {whose} do not show when their transactions began (track_activities ="
            f" off), so changes in {', '.join(map(visible_name, tables))} may wait for the next"
            " complete",
            f"{'; '.join(statements)}; then let these sessions connect again, without"
            " track_activities in their connections' options",
            sql="".join(f"{statement};" for statement in statements),
        )


def _showing(connection: Connection, role: str | None) -> str:
    """Return the statement that lets a role, or everyone, show what its sessions do."""
    database = sql.SQL("DATABASE {}").format(sql.Identifier(connection.info.dbname))
    whose = sql.SQL("ROLE {} IN {}").format(sql.Identifier(role), database) if role else database
    return sql.SQL("ALTER {} SET track_activities = on").format(whose).as_string(connection)
