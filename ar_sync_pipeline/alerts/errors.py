"""Errors of alerts."""

from __future__ import annotations

from ar_sync_pipeline.errors import ParkedError, TransientError


class AlertStoreError(ParkedError):
    """The file of incidents cannot be read or written."""


class DeliveryError(TransientError):
    """A message was not delivered; it stays due and is tried again."""
