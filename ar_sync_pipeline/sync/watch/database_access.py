"""Access to a database for a check: waits are limited, and failures are findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.catalog.labels import label_of
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.postgres.checks.findings import Finding, Level, as_error
from ar_sync_pipeline.postgres.connect import NAME_THE_PRIMARY, Connection, connect, database_label
from ar_sync_pipeline.postgres.errors import DatabaseUnreachableError
from ar_sync_pipeline.postgres.ledger_tables import LEDGER_SCHEMA
from ar_sync_pipeline.postgres.other_sessions import LockedTables, OtherSession, locked_tables
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.visible_text import names_in_words

_LONGEST_STATEMENT, _LONGEST_LOCK_WAIT = "20s", "5s"
_AGAIN = "run the check again; if it repeats, read the server's log"
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
def as_findings(
    url: str, findings: list[Finding], catalog: Catalog | None = None
) -> Iterator[None]:
    """Convert any error in the block to a finding about the database.

    Args:
        url: URL of the database.
        findings: List to which findings are added.
        catalog: Catalog whose tables the block reads; None: only those of the ledger.
    """
    try:
        yield
    except DatabaseUnreachableError as error:
        findings.append(replace(as_error(error), unexamined=True))
    except TransientError as error:
        # A run would be retried; a check is not. A lock that is held says nothing about settings.
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            findings.append(_locked(url, error.problem, catalog))
        else:
            findings.append(Finding(Level.ERROR, error.problem, _AGAIN, unexamined=True))
    except ArSyncError as error:
        findings.append(_refusal(url, error))
    except psycopg.Error as error:
        findings.append(
            Finding(
                Level.ERROR,
                f"the database {database_label(url)} answered a query of the check with an error"
                f" ({shown(error)})",
                _AGAIN,
                unexamined=True,
            )
        )


def _locked(url: str, problem: str, catalog: Catalog | None) -> Finding:
    """Return the finding that a lock ended the check, with its session if it is on a known table.

    No duration is shown: each area that the lock ends has the same finding.
    """

    def is_wanted(schema: str, name: str) -> bool:
        if schema == LEDGER_SCHEMA:
            return True
        return catalog is not None and catalog.replicates(
            label_of(schema, name, catalog.schema_name)
        )

    found = None
    with suppress(ArSyncError, psycopg.Error), connect(url, application="check") as connection:
        limit_waits(connection)
        found = locked_tables(connection, is_wanted)
    if found is None:
        return Finding(Level.WARNING, problem, _AGAIN, unexamined=True)
    pid = found.session.pid
    end = f" (SELECT pg_terminate_backend({pid}))" if pid else ""
    return Finding(
        Level.WARNING,
        f"{problem}: {_in_words(found)}; what follows was not examined, and runs wait for this"
        " lock, too",
        f"run the check again when it has ended; end it if it was forgotten{end}",
        unexamined=True,
    )


def _in_words(found: LockedTables) -> str:
    who, tables = _who(found.session), names_in_words(found.tables)
    since = (
        f", in a transaction since {found.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        if found.since
        else ""
    )
    if found.awaited_by is None:
        return f"{who} locks {tables}{since}"
    waiting = _who(found.awaited_by)
    return f"{waiting} waits for its lock on {tables}, kept waiting by {who}{since}"


def _who(session: OtherSession) -> str:
    known = [session.application, session.statement, session.state]
    who = f"process {session.pid}" if session.pid else "a prepared transaction"
    return who + (f" ({', '.join(filter(None, known))})" if any(known) else "")


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
