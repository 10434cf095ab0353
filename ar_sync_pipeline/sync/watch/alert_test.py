"""A test message through every channel of a side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings
from ar_sync_pipeline.sync.watch.alerting import open_alerts


@dataclass(frozen=True)
class TriedChannel:
    """Result of a test message.

    Attributes:
        channel: Name of the channel.
        target: Recipient, for display; for an address that may be secret, only that it is set.
        sent: Whether it was delivered.
        problem: Why it was not delivered.
    """

    channel: str
    target: str
    sent: bool
    problem: str | None = None

    @property
    def in_words(self) -> str:
        """The result in one line."""
        if self.sent:
            return f"sent to {self.target}"
        return self.problem or self.target


def send_tests(settings: SenderSettings | ReceiverSettings, clock: Clock) -> list[TriedChannel]:
    """Try every channel; a failure does not stop the others."""
    alerts = open_alerts(settings, clock)
    text = f"A test of the alerts of the {alerts.side}. If you read this, they get through."
    tried = []
    if mail := alerts.mail:
        target = f"{', '.join(settings.admins)} by {settings.email_host}:{settings.email_port}"
        tried.append(_try("mail", target, lambda: mail.send_test(text)))
    else:
        tried.append(TriedChannel("mail", "not configured (AR_SYNC_ADMINS)", sent=False))
    if webhook := alerts.webhook:
        tried.append(_try("webhook", "the webhook", lambda: webhook.send_test(text)))
    else:
        tried.append(TriedChannel("webhook", "not configured (AR_SYNC_WEBHOOK_URL)", sent=False))
    return tried


def _try(channel: str, target: str, send: Callable[[], None]) -> TriedChannel:
    try:
        send()
    except DeliveryError as error:
        return TriedChannel(channel, target, sent=False, problem=str(error))
    return TriedChannel(channel, target, sent=True)
