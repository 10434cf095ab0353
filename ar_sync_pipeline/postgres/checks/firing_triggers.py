"""Triggers and rules of the receiver that loads fire, and whether its role can suppress them."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.postgres.acting_role import acting_role
from ar_sync_pipeline.postgres.checks.findings import Finding, Level
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.schema_queries import FIRES_IN_PARTITION
from ar_sync_pipeline.postgres.table_facts import TableFacts

_PARAMETERS_CAN_BE_GRANTED = 150000
_IN_REPLICA_MODE = "SELECT current_setting('session_replication_role') = 'replica'"
_MAY_SUPPRESS = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
_MAY_SUPPRESS_BEFORE_15 = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
# tgenabled and ev_enabled: O fires in ordinary sessions, R in replica mode, A in both. A trigger of
# the partitioned table is named in its partitions only where one of them enables it otherwise.
_FIRING = sql.SQL("""
WITH RECURSIVE root AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE (n.nspname, c.relname) = (%(schema)s, %(relname)s)),
written AS (
  SELECT oid FROM root
  UNION ALL
  SELECT i.inhrelid FROM written w JOIN pg_inherits i ON i.inhparent = w.oid
   WHERE NOT coalesce((to_jsonb(i) ->> 'inhdetachpending')::boolean, false)),
firing AS (
  SELECT 'TRIGGER' AS kind, t.tgrelid AS relation, t.tgname AS name, t.tgenabled AS enabled
    FROM pg_trigger t
    JOIN pg_class l ON l.oid = t.tgrelid
    LEFT JOIN pg_trigger p ON p.oid = t.tgparentid
   WHERE NOT t.tgisinternal AND l.oid IN (SELECT oid FROM written)
     AND (l.oid IN (SELECT oid FROM root)
          OR {fires} AND p.tgenabled IS DISTINCT FROM t.tgenabled)
  UNION ALL
  SELECT 'RULE', ev_class, rulename, ev_enabled FROM pg_rewrite
   WHERE ev_class IN (SELECT oid FROM root) AND ev_type <> '1')
SELECT f.kind, n.nspname, c.relname, f.name
  FROM firing f JOIN pg_class c ON c.oid = f.relation JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE f.enabled::text = ANY (%(modes)s)
 ORDER BY f.kind DESC, c.relispartition, f.name, n.nspname, c.relname
""").format(fires=sql.SQL(FIRES_IN_PARTITION))


def suppresses_side_effects(connection: Connection) -> bool:
    """Return whether loads write with ``session_replication_role = replica``."""
    newer = connection.info.server_version >= _PARAMETERS_CAN_BE_GRANTED
    query = _MAY_SUPPRESS if newer else _MAY_SUPPRESS_BEFORE_15
    return bool(scalar(connection, query.encode()) or scalar(connection, _IN_REPLICA_MODE))


def replica_mode_findings(connection: Connection) -> Iterator[Finding]:
    """Yield a finding if this role has replica mode by a default that it may not change."""
    if not scalar(connection, _IN_REPLICA_MODE):
        return
    statement = sql.SQL("ALTER ROLE {} IN DATABASE {} SET session_replication_role = origin")
    names = map(sql.Identifier, (connection.info.user, connection.info.dbname))
    remedy = statement.format(*names).as_string(connection)
    if connection.info.server_version >= _PARAMETERS_CAN_BE_GRANTED:
        remedy = _suppressing(connection)
    yield Finding(
        Level.WARNING,
        "this role has session_replication_role = replica and may not change it, so loads in which"
        " triggers or foreign keys have to act are refused, and the foreign keys of what a built-in"
        " transform writes are not checked",
        remedy,
        sql=f"{remedy};",
        of_role=True,
    )


def trigger_findings(
    connection: Connection, catalog: Catalog, table: TableFacts, *, may_suppress: bool
) -> Iterator[Finding]:
    """Yield findings on triggers and rules that loads fire without a rule of the catalog."""
    if catalog.rules(table.name).triggers == "fire":
        return
    schema, relname = catalog.locate(table.name)
    modes = ["R", "A"] if may_suppress else ["O", "A"]
    given = {"schema": schema, "relname": relname, "modes": modes}
    found = connection.execute(_FIRING, given).fetchall()
    if not found:
        return
    kinds = " and ".join(f"{kind.lower()}s" for kind in dict.fromkeys(kind for kind, *_ in found))
    problem, remedy = f"fires its {kinds} for replicated rows", _suppressing(connection)
    if may_suppress:
        problem = f"fires {kinds} that are ENABLE ALWAYS or REPLICA for replicated rows"
        remedy = "; ".join(
            sql.SQL("ALTER TABLE {} ENABLE {} {}")
            .format(sql.Identifier(*place), sql.SQL(kind), sql.Identifier(name))
            .as_string(connection)
            for kind, *place, name in found
        )
    names = (
        name if place == [schema, relname] else f"{name} of {place[1]}" for _, *place, name in found
    )
    yield Finding(
        Level.WARNING,
        f"table {table.name} {problem} ({', '.join(names)})",
        remedy,
        sql=f"{remedy};" if remedy.startswith(("ALTER", "GRANT")) else "",
        of_role=not may_suppress,
    )


def _suppressing(connection: Connection) -> str:
    """Return how the role can write rows without firing triggers."""
    if connection.info.server_version < _PARAMETERS_CAN_BE_GRANTED:
        return (
            "disable them, or set `triggers` in the catalog if they are wanted; before PostgreSQL"
            " 15 only a superuser's loads fire none"
        )
    role = acting_role(connection).as_string(connection)
    return f"GRANT SET ON PARAMETER session_replication_role TO {role}"
