"""Heartbeat for an external monitor: without a call, no load has been applied."""

from __future__ import annotations

from ar_sync_pipeline.alerts.http_call import call

_TIMEOUT_SECONDS = 5


def beat(url: str) -> None:
    """Call the URL of a dead man's switch.

    Raises:
        DeliveryError: The monitor did not answer with status 2xx; a load is not affected.
    """
    call(
        "the heartbeat URL",
        url,
        timeout_seconds=_TIMEOUT_SECONDS,
        variable="AR_SYNC_HEARTBEAT_URL",
    )
