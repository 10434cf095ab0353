"""Publishes an archive with new sessions until it succeeds or the retry budget is used up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.publish import (
    PartState,
    Publication,
    SpoolPlace,
    TransferLimits,
    ignore,
    publish,
)
from ar_sync_pipeline.sftp.retry_budget import RetryBudget, RetryPlan
from ar_sync_pipeline.sftp.upload import Publishable


def publish_with_retries(
    endpoint: SftpEndpoint,
    source: Publishable,
    place: SpoolPlace,
    *,
    progress: Callable[[int, int], None] | None = None,
    plan: RetryPlan | None = None,
    transfer: TransferLimits | None = None,
    on_retry: Callable[[ArSyncError], None] | None = None,
) -> Publication:
    """Run `publish` with new sessions until it succeeds; only errors of the connection are retried.

    Attempts continue as long as new bytes arrive; without any they end within the time of the
    plan. A damaged upload is retried once.

    Args:
        on_retry: Function that gets each error of the connection.

    Raises:
        ArSyncError: An error of `publish` or `open_session`; the last one if the retries end.
    """
    budget, state = RetryBudget(plan or RetryPlan(), on_retry), PartState()
    started, tally = time.monotonic(), _Tally(progress or ignore, budget)
    while True:
        tally.start_attempt()
        try:
            with open_session(endpoint, budget.limits()) as session:
                result = publish(
                    session, source, place, progress=tally, transfer=transfer, state=state
                )
        except ArSyncError as error:
            wait_seconds = budget.seconds_to_next_attempt(error)
            if wait_seconds is None:
                raise
            time.sleep(wait_seconds)
        else:
            return replace(
                result,
                sent_bytes=tally.sent_bytes,
                already_there=result.already_there and not tally.sent_bytes,
                attempts=tally.attempts,
                seconds=time.monotonic() - started,
            )


class _Tally:
    """Counts the attempts and adds up the bytes that they sent, from their reported progress."""

    def __init__(self, forward: Callable[[int, int], None], budget: RetryBudget) -> None:
        self._forward = forward
        self._retry_budget = budget
        self._last: int | None = None
        self.attempts = 0
        self.sent_bytes = 0

    def start_attempt(self) -> None:
        self.attempts += 1
        self._last = None

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.sent_bytes += 0 if self._last is None else done_bytes - self._last
        self._last = done_bytes
        self._retry_budget.arrived(done_bytes)
        self._forward(done_bytes, total_bytes)
