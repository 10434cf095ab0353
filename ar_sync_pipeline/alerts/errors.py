"""Errors of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from ar_sync_pipeline.errors import ParkedError, TransientError


class AlertStoreError(ParkedError):
    """The file of incidents cannot be read or written."""


class DeliveryError(TransientError):
    """A message was not delivered; it stays due and is tried again.

    Attributes:
        retry_to: Recipients to try again, after the message reached others; None: it reached
            nobody, so all of them.
    """

    def __init__(self, problem: str, *, remedy: str, retry_to: Sequence[str] | None = None) -> None:
        super().__init__(problem, remedy=remedy)
        self.retry_to = None if retry_to is None else tuple(retry_to)
