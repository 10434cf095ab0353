"""What can be wrong with a catalog."""

from __future__ import annotations

from ar_sync_pipeline.errors import TerminalError


class CatalogError(TerminalError):
    """The catalog file, or what it says about the database, is wrong."""
