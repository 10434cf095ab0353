"""Lock of the receiver's database that lets one transform at a time work on its rows."""

from __future__ import annotations

from typing import Final

import psycopg

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.other_sessions import advisory_lock_holder
from ar_sync_pipeline.postgres.scalar import scalar
from ar_sync_pipeline.postgres.session_settings import end_with_the_host
from ar_sync_pipeline.transform.errors import TransformRunningError

_KEY: Final = "SELECT hashtextextended('ar_sync.transform', 0)"
# Longer than a command whose step was killed may take to end.
_LOCK_WAIT: Final = "20s"


def lock_out_other_transforms(connection: Connection) -> None:
    """Exclude every other transform until the end of the session.

    It waits some seconds, since a killed transform may still be ending.

    Raises:
        TransformRunningError: Another transform holds the lock.
    """
    end_with_the_host(connection)
    key = scalar(connection, _KEY)
    try:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", [_LOCK_WAIT])
            connection.execute("SELECT pg_advisory_lock(%s)", [key])
    except psycopg.errors.LockNotAvailable as error:
        holder = advisory_lock_holder(connection, key)
        raise TransformRunningError(
            "another transform runs on the receiver's database" + (f": {holder}" if holder else ""),
            remedy="wait for it to end; this one is tried again",
        ) from error
