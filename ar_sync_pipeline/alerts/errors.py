"""What can go wrong with telling people."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TransientError


class AlertStoreError(ParkedError):
    """The file of incidents cannot be read or written."""


class DeliveryError(TransientError):
    """A message did not get through; it stays due and is tried again."""
