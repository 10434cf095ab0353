"""Sends due messages through every channel within a bounded time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ar_sync_pipeline.alerts.errors import DeliveryError
from ar_sync_pipeline.alerts.outbox import Notice, Outbox
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import ArSyncError


class Channel(Protocol):
    """A channel that delivers messages, such as mail."""

    @property
    def name(self) -> str:
        """Name of the channel in the outbox."""

    def send(self, notice: Notice) -> None:
        """Send one notice.

        Raises:
            DeliveryError: The notice was not delivered, or not to every recipient.
        """


@dataclass
class Delivery:
    """Result of one delivery.

    Attributes:
        sent: Number of delivered messages.
        problems: Reasons why others, or some recipients, were not reached, one sentence each.
    """

    sent: int = 0
    problems: list[str] = field(default_factory=list)


def deliver(
    outbox: Outbox, channels: Sequence[Channel], clock: Clock, *, seconds: float
) -> Delivery:
    """Send due messages; a channel that fails is not used until its next attempt is due.

    It never raises, and never waits longer than ``seconds``. The timeouts of SMTP and HTTP apply to
    each step, and a name lookup has none, so a slow server could block a run or a sensor tick. A
    message that is still being sent continues in its thread; if the process ends, the message is
    sent again when its lease has expired.
    """
    done = Delivery()
    until = time.monotonic() + seconds
    thread = threading.Thread(
        target=_deliver, args=(outbox, channels, clock, until, done), daemon=True, name="alerts"
    )
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        done.problems.append(f"A message is still being sent after {seconds:.0f} seconds.")
    return done


def _deliver(
    outbox: Outbox, channels: Sequence[Channel], clock: Clock, until: float, done: Delivery
) -> None:
    working = {channel.name: channel for channel in channels}
    try:
        while working and time.monotonic() < until:
            message = outbox.take(clock(), list(working))
            if message is None:
                return
            failure = _attempt(working[message.channel], message.notice)
            if failure is not None:
                done.problems.append(failure.problem)
            if failure is None or failure.retry_to == ():
                outbox.sent(message)
                done.sent += 1
                continue
            lacking = failure.retry_to or message.notice.recipients
            outbox.put_back(message, clock(), failure.problem, lacking)
            if failure.retry_to is None:
                del working[message.channel]
    except ArSyncError as error:
        done.problems.append(str(error))


@dataclass(frozen=True)
class _Failure:
    """Why a message was not delivered, and as in `DeliveryError`, to whom it is due again."""

    problem: str
    retry_to: tuple[str, ...] | None = None


def _attempt(channel: Channel, notice: Notice) -> _Failure | None:
    try:
        channel.send(notice)
    except DeliveryError as error:
        return _Failure(str(error), error.retry_to)
    except ArSyncError as error:
        return _Failure(str(error))
    except Exception as error:  # noqa: BLE001  an alert must not take a run along
        kind = type(error).__name__
        return _Failure(f"a message of channel {channel.name} cannot be sent ({kind}).")
    return None
