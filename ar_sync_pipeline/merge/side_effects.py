"""What writing rows sets off at the receiver: referential actions, triggers, rules.

Replicated rows arrive as they are at the sender, where triggers and referential actions have had
their effect. So the merge writes with ``session_replication_role = replica`` where its role may set
it (superusers, and since PostgreSQL 15 ``GRANT SET ON PARAMETER``): no trigger fires but those
that are ``ENABLE REPLICA`` or ``ENABLE ALWAYS``, no rule, no referential action, and no foreign key
is checked, so that the merge verifies them itself before it commits. It was chosen over switching
triggers off table by table, which needs ownership and locks, and over deferral, which ordinary
constraints do not allow.

A role that may not set it writes all the same, by statements in an order that constraints allow;
triggers then fire, and the load says which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from ar_sync_pipeline.merge.target_table import TargetTable
from ar_sync_pipeline.postgres.connect import Connection


@dataclass(frozen=True)
class SideEffects:
    """How a merge writes.

    Attributes:
        suppressed: in replica mode; otherwise everything fires and is checked.
    """

    connection: Connection
    suppressed: bool

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let triggers, rules, referential actions and checks have their effect in a block."""
        if self.suppressed:
            self.connection.execute("SET LOCAL session_replication_role = origin")
        yield
        if self.suppressed:
            self.connection.execute("SET LOCAL session_replication_role = replica")

    def fires(self, target: TargetTable) -> bool:
        """Whether the triggers of a table fire for its replicated rows."""
        return not self.suppressed or target.rules.triggers == "fire"

    def firing_triggers(self, targets: Iterable[TargetTable]) -> list[str]:
        """The triggers that the merge sets off, as ``table.trigger``."""
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
        return SideEffects(connection, suppressed=False)
    return SideEffects(connection, suppressed=True)
