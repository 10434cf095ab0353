"""Side effects of writing rows at the receiver: referential actions, triggers, rules.

Replicated rows are already in the state after the sender's triggers and referential actions. So the
merge writes with ``session_replication_role = replica`` if its role may set it (superusers, and
since PostgreSQL 15 ``GRANT SET ON PARAMETER``). Then only triggers that are ``ENABLE REPLICA`` or
``ENABLE ALWAYS`` fire, no rule and no referential action takes effect, and no foreign key is
checked; the merge verifies the keys itself before it commits. The alternatives were rejected:
disabling triggers table by table needs ownership and locks, and ordinary constraints cannot be
deferred.

A role that may not set it writes by statements in an order that constraints allow. Triggers then
fire, and the load reports them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from ar_sync_pipeline.merge.errors import GRANT
from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.errors import LoadRefusedError
from ar_sync_pipeline.postgres.scalar import scalar


@dataclass(frozen=True)
class SideEffects:
    """Whether a merge has side effects.

    Attributes:
        suppressed: Whether the merge writes in replica mode; otherwise everything fires and is
            checked.
    """

    connection: Connection
    suppressed: bool

    @contextmanager
    def allowed(self, *, only_if: bool = True) -> Iterator[None]:
        """Let triggers, rules, referential actions and checks take effect in a block.

        Args:
            only_if: Whether to do so; otherwise nothing changes.

        Raises:
            LoadRefusedError: The session is in replica mode and may not leave it.
        """
        changes = self.suppressed and only_if
        if changes:
            self._leave_replica_mode()
        yield
        if changes:
            self.connection.execute("SET LOCAL session_replication_role = replica")

    def _leave_replica_mode(self) -> None:
        try:
            self.connection.execute("SET LOCAL session_replication_role = origin")
        except psycopg.errors.InsufficientPrivilege as error:
            raise LoadRefusedError(
                "the receiver's role has session_replication_role = replica and may not change it,"
                " but triggers and foreign keys have to act in this load",
                remedy=f"{GRANT}, or ALTER ROLE ... SET session_replication_role = origin; the"
                " archive is tried again by itself",
            ) from error

    def fires(self, target: TargetTable) -> bool:
        """Return whether the triggers of a table fire for its replicated rows."""
        return not self.suppressed or target.rules.triggers == "fire"

    def firing_triggers(self, targets: Iterable[TargetTable]) -> list[str]:
        """Return the triggers that the merge fires, as ``table.trigger``."""
        return [
            f"{target.name}.{trigger}"
            for target in targets
            if self.fires(target)
            for trigger in target.facts.triggers
        ]


def suppress_side_effects(connection: Connection) -> SideEffects:
    """Suppress side effects for the rest of the transaction, if the role may."""
    try:
        with connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        # ALTER ROLE or ALTER DATABASE may have set it; the server then checks no foreign key.
        mode = scalar(connection, "SHOW session_replication_role")
        return SideEffects(connection, suppressed=mode == "replica")
    return SideEffects(connection, suppressed=True)


@contextmanager
def without_event_triggers(connection: Connection) -> Iterator[None]:
    """Create temporary tables in a block outside a transaction; no event trigger fires for them.

    They fire if the role may not set ``session_replication_role``, or if they fire always.
    """
    try:
        connection.execute("SET session_replication_role = replica")
    except psycopg.errors.InsufficientPrivilege:
        suppressed = False
    else:
        suppressed = True
    try:
        yield
    finally:
        if suppressed and not connection.closed:
            connection.execute("SET session_replication_role = origin")
