"""Errors of a dump in addition to the errors of the database."""

from __future__ import annotations

from ar_sync_pipeline.errors import TransientError


class TablesChangingError(TransientError):
    """A migration changed the tables between two statements of a dump."""


def changing_meanwhile(what: str) -> TablesChangingError:
    """Return the error that parts of the tables were changed while their rows were read."""
    return TablesChangingError(
        f"{what} were changed while the dump read the rows",
        remedy="it is tried again; run dumps and migrations one after the other",
    )
