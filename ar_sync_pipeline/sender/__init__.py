"""The code location of the production server."""

from ar_sync_pipeline.sender.definitions import defs

__all__ = ["defs"]
