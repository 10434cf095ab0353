"""The code location of the visualization server."""

from ar_sync_pipeline.receiver.definitions import defs

__all__ = ["defs"]
