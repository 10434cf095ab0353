"""Sends one HTTP request with a timeout to a URL that may be a secret."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO

from ar_sync_pipeline.alerts.errors import DeliveryError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def call(
    what: str, url: str, *, body: bytes | None = None, timeout_seconds: float, variable: str
) -> None:
    """GET a URL, or POST JSON to it.

    Args:
        what: Name of the URL for messages, which never contain the URL itself.
        variable: Setting that contains the URL.

    Raises:
        DeliveryError: The server did not answer with status 2xx, or redirected a POST.
    """
    headers = {"User-Agent": "ar_sync_pipeline"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    # The settings accept only the schemes http and https.
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
    try:
        with urllib.request.build_opener(_RedirectOfGet).open(request, timeout=timeout_seconds):
            return
    except (OSError, HTTPException, ValueError) as error:
        raise DeliveryError(
            f"{what} {_reason(error)}",
            remedy=f"set {variable} to the address that it redirects to"
            if _is_redirect(error)
            else f"check that its server answers, or correct {variable}",
        ) from None


class _RedirectOfGet(urllib.request.HTTPRedirectHandler):
    """Follows the redirect of a GET only: that of a POST would become a GET without the body."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request; None makes the redirect an error of its status."""
        if req.data is not None:
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_redirect(error: Exception) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code in _REDIRECTS


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"answered {error.code}" + (", a redirect" if _is_redirect(error) else "")
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "does not answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached ({cause.strerror})"
    return f"cannot be called ({type(cause).__name__})"
