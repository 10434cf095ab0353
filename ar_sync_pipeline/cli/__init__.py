"""The command line, ``ar-sync``. Each command imports what it needs when it runs."""

from ar_sync_pipeline.cli.main import main

__all__ = ["main"]
