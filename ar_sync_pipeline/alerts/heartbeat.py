"""A sign of life for a monitor outside: silence there means that no load has been applied."""

from __future__ import annotations

from ar_sync_pipeline.alerts.http_call import call

_TIMEOUT_SECONDS = 5


def beat(url: str) -> None:
    """Call the address of a dead man's switch.

    Raises:
        DeliveryError: it did not answer 2xx; a load is never the worse for it.
    """
    call(
        "the heartbeat's address",
        url,
        timeout_seconds=_TIMEOUT_SECONDS,
        variable="AR_SYNC_HEARTBEAT_URL",
    )
