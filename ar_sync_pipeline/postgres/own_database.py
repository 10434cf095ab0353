"""Identity of a connection's database, and whether an archive comes from that database."""

from __future__ import annotations

from dataclasses import dataclass

from ar_sync_pipeline.archive.manifest import SenderIdentity
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar

REMEDY = (
    "correct AR_SYNC_RECEIVER_DATABASE_URL; only if this server is a copy of the sender's files,"
    " give this database another name than the sender's"
)

_MAY_ASK = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
# The timeline of the WAL being written: a promoted copy of a cluster has another one.
_SELF = """
SELECT (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END,
       current_database()
"""


@dataclass(frozen=True)
class OwnDatabase:
    """The database of a connection.

    Attributes:
        system_identifier: System identifier of its cluster.
        timeline: Timeline of its cluster; None on a standby.
        database: Name of the database.
    """

    system_identifier: str
    timeline: int | None
    database: str

    def __str__(self) -> str:
        """Return what identifies the database, as a clause; a promoted copy is another one."""
        return f"{self.database} of cluster {self.system_identifier}, timeline {self.timeline}"

    def is_of(self, sender: SenderIdentity, timeline: int) -> bool:
        """Return whether an archive of this sender was made from this database.

        Args:
            timeline: Timeline of the sender's cluster when the archive was made.
        """
        if (sender.system_identifier, sender.database) != (self.system_identifier, self.database):
            return False
        return self.timeline in (None, timeline)

    @property
    def problem(self) -> str:
        """Problem of loading archives into the database that they come from."""
        return (
            f"the receiver's database {self.database} is the sender's own database"
            f" (cluster {self.system_identifier})"
        )


def read_own_database(connection: Connection) -> OwnDatabase | None:
    """Return the database of a connection; None if the role may not read its cluster's identity."""
    if not scalar(connection, _MAY_ASK):
        return None
    row = connection.execute(_SELF).fetchone()
    return OwnDatabase(*row) if row else None
