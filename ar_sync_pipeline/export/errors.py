"""Errors of a dump's start, in addition to the errors of the database."""

from __future__ import annotations

from ar_sync_pipeline.errors import TransientError


class TablesChangingError(TransientError):
    """A migration changed the tables between two statements of a dump's start."""
