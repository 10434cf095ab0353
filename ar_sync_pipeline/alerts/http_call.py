"""Sends one HTTP request with a timeout to a URL that may be a secret."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException

from ar_sync_pipeline.alerts.errors import DeliveryError


def call(
    what: str, url: str, *, body: bytes | None = None, timeout_seconds: float, variable: str
) -> None:
    """GET a URL, or POST JSON to it.

    Args:
        what: Name of the URL for messages, which never contain the URL itself.
        variable: Setting that contains the URL.

    Raises:
        DeliveryError: The server did not answer with status 2xx.
    """
    headers = {"User-Agent": "ar_sync_pipeline"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    # The settings accept only the schemes http and https.
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds):  # noqa: S310
            return
    except (OSError, HTTPException, ValueError) as error:
        raise DeliveryError(
            f"{what} {_reason(error)}",
            remedy=f"check that its server answers, or correct {variable}",
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"answered {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "does not answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached ({cause.strerror})"
    return f"cannot be called ({type(cause).__name__})"
