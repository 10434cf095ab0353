"""The alerts of one side by its settings: the store of incidents and the channels."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from ar_sync_pipeline.alerts.delivery import Channel, Delivery, deliver
from ar_sync_pipeline.alerts.incidents import Problem, Success
from ar_sync_pipeline.alerts.mail import MailChannel, MailServer
from ar_sync_pipeline.alerts.outbox import Outbox
from ar_sync_pipeline.alerts.store import IncidentStore
from ar_sync_pipeline.alerts.webhook import WebhookChannel
from ar_sync_pipeline.alerts.wording import Place
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.redact import MASK, without_passwords
from ar_sync_pipeline.settings.model import ReceiverSettings, SenderSettings, side_of
from ar_sync_pipeline.visible_text import one_line

_FILE = "incidents.sqlite"
_LONGEST_MESSAGE = 600
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Alerts:
    """Incidents of one side, and the channels that report them.

    Attributes:
        side: ``sender`` or ``receiver``.
        store: Store of incidents.
        outbox: Unsent messages.
        clock: Returns the current time.
        mail, webhook: Channels; None if they are not configured.
        secrets: Values that no message may show.
    """

    side: str
    store: IncidentStore
    outbox: Outbox
    clock: Clock
    mail: MailChannel | None
    webhook: WebhookChannel | None
    secrets: tuple[str, ...]

    @property
    def channels(self) -> Sequence[Channel]:
        """Configured channels."""
        return [channel for channel in (self.mail, self.webhook) if channel is not None]

    def record(self, finding: Problem | Success) -> None:
        """Record a failure or a success; it may make messages due.

        Raises:
            AlertStoreError: The file of incidents cannot be used.
        """
        if isinstance(finding, Success):
            self.store.succeeded(finding, self.clock())
        else:
            self.store.failed(self._fit_to_be_shown(finding), self.clock())

    def send(self, *, seconds: float) -> Delivery:
        """Send the messages that are due, for at most some seconds; it never raises."""
        return deliver(self.outbox, self.channels, self.clock, seconds=seconds)

    def _fit_to_be_shown(self, problem: Problem) -> Problem:
        return replace(
            problem,
            title=self._clean(problem.title),
            what=self._clean(problem.what),
            sentence=self._clean(problem.sentence),
            remedy=self._clean(problem.remedy),
        )

    def _clean(self, text: str) -> str:
        """Return one line of bounded length without secrets, from the text of any exception."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return one_line(without_passwords(text), _LONGEST_MESSAGE)


def open_alerts(settings: SenderSettings | ReceiverSettings, clock: Clock) -> Alerts:
    """Return the alerts of the side of these settings; no file is opened or made yet."""
    place = Place(
        side_of(settings),
        socket.gethostname(),
        settings.timezone,
        settings.dagster_url or "",
        settings.pair,
    )
    path = incidents_file(settings)
    mail = _mail(settings, place) if settings.admins else None
    hook = settings.webhook_url
    webhook = WebhookChannel(hook.get_secret_value(), place) if hook else None
    names = [channel.name for channel in (mail, webhook) if channel is not None]
    return Alerts(
        side_of(settings),
        IncidentStore(path, names),
        Outbox(path),
        clock,
        mail,
        webhook,
        _secrets(settings),
    )


def incidents_file(settings: SenderSettings | ReceiverSettings) -> Path:
    """Return the file of incidents: each side of each pair has its own, even in the same folder."""
    return settings.state_fldr.expanduser() / settings.pair / side_of(settings) / _FILE


def _mail(settings: SenderSettings | ReceiverSettings, place: Place) -> MailChannel:
    server = MailServer(
        settings.email_host,
        settings.email_port,
        settings.email_host_user,
        settings.email_host_password.get_secret_value(),
        starttls=settings.email_use_tls,
    )
    return MailChannel(server, settings.server_email, settings.admins, place)


def _secrets(settings: SenderSettings | ReceiverSettings) -> tuple[str, ...]:
    """Return every secret value and the password of a connection string, longest first."""
    found = set()
    # Not getattr: a setting that cannot be used refuses it (`settings.usable`), and has no secret.
    for name, value in settings:
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
            found.add(text)
            if name.endswith("database_url"):
                found.add(str(conninfo_to_dict(text).get("password") or ""))
    return tuple(sorted((s for s in found if len(s) >= _SHORTEST_SECRET), key=len, reverse=True))
