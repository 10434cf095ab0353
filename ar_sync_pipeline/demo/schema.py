"""Schemas of the two databases of the demo: 24 tables of the sender, 28 of the receiver."""

from __future__ import annotations

from importlib.resources import files

import psycopg
from psycopg.rows import TupleRow

_SENDER = "sender_schema.sql"
_RECEIVER = "receiver_schema.sql"


def create_sender_schema(connection: psycopg.Connection[TupleRow]) -> None:
    """Create the sender's tables in an empty database; the caller commits."""
    _run(connection, _SENDER)


def create_receiver_schema(connection: psycopg.Connection[TupleRow]) -> None:
    """Create the receiver's tables in an empty database; the caller commits.

    As on a real receiver, its migrations follow those of the sender.
    """
    _run(connection, _SENDER)
    _run(connection, _RECEIVER)


def _run(connection: psycopg.Connection[TupleRow], name: str) -> None:
    script = files("ar_sync_pipeline.demo").joinpath(name).read_bytes()
    # Bytes without parameters are sent as they are, also with several statements.
    connection.execute(script)
