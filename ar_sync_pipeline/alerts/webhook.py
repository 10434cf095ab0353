"""Webhook channel: sends notices as JSON to a chat, a pager or a collector (docs/alerts.md)."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ar_sync_pipeline.alerts.http_call import call
from ar_sync_pipeline.alerts.outbox import Notice
from ar_sync_pipeline.alerts.wording import Place, write_message
from ar_sync_pipeline.visible_text import one_line

_TIMEOUT_SECONDS = 10
_FORMAT = 1
_LONGEST_TEXT = 2000


class WebhookChannel:
    """POSTs notices to a URL, which contains a token and is never shown."""

    name = "webhook"

    def __init__(self, url: str, place: Place) -> None:
        self._url = url
        self._place = place

    def send(self, notice: Notice) -> None:
        """POST a notice.

        Raises:
            DeliveryError: The webhook did not answer with status 2xx.
        """
        self._post(notice_as_dict(notice, self._place))

    def send_test(self, text: str) -> None:
        """POST a test message.

        Raises:
            DeliveryError: The webhook did not answer with status 2xx.
        """
        place = self._place
        self._post(
            {
                "format": _FORMAT,
                "event": "test",
                "side": place.side,
                "host": place.host,
                "text": text,
            }
        )

    def _post(self, content: dict[str, Any]) -> None:
        call(
            "the webhook",
            self._url,
            body=json.dumps(content).encode(),
            timeout_seconds=_TIMEOUT_SECONDS,
            variable="AR_SYNC_WEBHOOK_URL",
        )


def notice_as_dict(notice: Notice, place: Place) -> dict[str, Any]:
    """Return a notice in its documented, stable shape; chat programs show ``text``."""
    incident, latest = notice.incident, notice.incident.latest
    return {
        "format": _FORMAT,
        "event": str(notice.kind),
        "id": f"{notice.store}-{notice.number}",
        "incident": notice.number,
        "side": place.side,
        **({"pair": place.pair} if place.pair else {}),
        "host": place.host,
        "text": write_message(notice, place).subject,
        "cause": incident.cause,
        "title": one_line(latest.title, _LONGEST_TEXT),
        "what": [one_line(what, _LONGEST_TEXT) for what in sorted(incident.sources.values())],
        "problem": one_line(latest.sentence, _LONGEST_TEXT),
        "remedy": one_line(latest.remedy, _LONGEST_TEXT),
        "opened_at": incident.opened_at.isoformat(),
        "last_seen_at": incident.last_seen_at.isoformat(),
        "recovered_at": _iso_text(incident.recovered_at),
        "count": incident.count,
        "run_id": latest.run_id,
        "url": place.link(incident) or None,
    }


def _iso_text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
