"""Access to a database for a check: waits are limited, and failures are findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error
from ar_sync_pipeline.postgres.connect import NAME_THE_PRIMARY, Connection, database_label
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.server_message import shown

_LONGEST_STATEMENT, _LONGEST_LOCK_WAIT = "20s", "5s"
_NO_CONNECT = "permission denied for database"


def limit_waits(connection: Connection) -> None:
    """Set timeouts that cancel a statement that waits for a lock or runs for too long."""
    for name, limit in (
        ("statement_timeout", _LONGEST_STATEMENT),
        ("lock_timeout", _LONGEST_LOCK_WAIT),
    ):
        connection.execute("SELECT set_config(%s, %s, false)", [name, limit])


def standby_findings(connection: Connection, label: str) -> Iterator[Finding]:
    """Yield a finding on a standby: partials and loads write, at least temporary tables."""
    if scalar(connection, "SELECT pg_is_in_recovery()"):
        problem = f"the database {label} is a standby, which takes no writes"
        yield Finding(Level.ERROR, problem, NAME_THE_PRIMARY)


@contextmanager
def as_findings(url: str, findings: list[Finding]) -> Iterator[None]:
    """Convert any error in the block to a finding about the database."""
    try:
        yield
    except DatabaseUnreachableError as error:
        findings.append(replace(as_error(error), unexamined=True))
    except TransientError as error:
        # A run would be retried; a check is not. A lock that is held says nothing about settings.
        locked = isinstance(error.__cause__, psycopg.errors.LockNotAvailable)
        remedy = "run the check again; if it repeats, read the server's log"
        level = Level.WARNING if locked else Level.ERROR
        findings.append(Finding(level, error.problem, remedy, unexamined=True))
    except ArSyncError as error:
        findings.append(_refusal(url, error))
    except psycopg.Error as error:
        findings.append(
            Finding(
                Level.ERROR,
                f"the database {database_label(url)} answered a query of the check with an error"
                f" ({shown(error)})",
                "run the check again; if it repeats, read the server's log",
                unexamined=True,
            )
        )


def _refusal(url: str, error: ArSyncError) -> Finding:
    """Return the finding, with the GRANT statement if the role may not connect."""
    if _NO_CONNECT not in error.problem:
        return as_error(error)
    parts = conninfo_to_dict(url)
    role, name = str(parts.get("user") or ""), str(parts.get("dbname") or parts.get("user") or "")
    if not role:
        return as_error(error)
    grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {};").format(
        sql.Identifier(name), sql.Identifier(role)
    )
    statement = grant.as_string(None)
    remedy = statement.rstrip(";")
    return Finding(Level.ERROR, error.problem, remedy, sql=statement, code=error.code)
