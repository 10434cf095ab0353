"""What can keep a dump from starting, beyond the errors of the database itself."""

from __future__ import annotations

from ar_sync_pipeline.errors import TransientError


class TablesChangingError(TransientError):
    """A migration changed the tables between two statements of a dump's start."""
