"""The role whose rights count: a role may act as another one (``ALTER ROLE ... SET role``)."""

from __future__ import annotations

from psycopg import sql

from ar_sync_pipeline.postgres.connect import Connection
from ar_sync_pipeline.postgres.scalar import scalar


def acting_role(connection: Connection) -> sql.Identifier:
    """Return the role to which a right must be granted so that this session has it."""
    return sql.Identifier(scalar(connection, "SELECT current_user::text"))


def acts_as_itself(connection: Connection) -> bool:
    """Return whether the session has the rights of the role in the URL."""
    return bool(scalar(connection, "SELECT current_user = session_user"))
