"""The lag of the receiver, as the sender sees it over SFTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sync.dump.receiver_view import observe_receiver
from ar_sync_pipeline.sync.dump.sent_archives import read_sent
from ar_sync_pipeline.sync.dump.watermark import unacknowledged
from ar_sync_pipeline.sync.watch.lag import Backlog, explain_lag
from ar_sync_pipeline.sync.watch.status import StateCount, Status, count


def sender_status(settings: SenderSettings, now: datetime) -> Status:
    """Read the sender's journal, and over SFTP the receiver's checkpoint and spool.

    Raises:
        TerminalError: The host key, the login or the spool is wrong.
    """
    view, sent = observe_receiver(settings, lambda: now), read_sent(settings.tmp_bkp_fldr)
    position = view.position
    lag = explain_lag(
        position.watermark.snapshot_at if position and position.watermark else None,
        now,
        timedelta(minutes=settings.partial_interval),
        Backlog(
            gaps=position.gaps if position else 0,
            waiting=len(view.waiting or ()),
            parked=[parked.reason for parked in position.parked] if position else [],
            quarantined=position.quarantined if position else 0,
            unverified=position.unverified if position else (),
        ),
    )
    late = unacknowledged(view, sent, now, timedelta(minutes=settings.acknowledge_within))
    return Status(
        "sender",
        lag,
        (
            count("sent", [a.name for a in sent], "those of the last days"),
            count("not acknowledged", [a.name for a in late]),
            *([_not_believed(view.problems)] if view.problems else []),
            count("waiting", sorted(view.waiting or ())),
            count(
                "parked",
                [parked.archive for parked in position.parked] if position else [],
                "; ".join(parked.reason for parked in position.parked) if position else "",
            ),
            StateCount(
                "quarantined",
                position.quarantined if position else 0,
                note="`ar-sync status` at the receiver says which and why"
                if position and position.quarantined
                else "",
            ),
        ),
        link_is_up=view.waiting is not None,
        gaps=position.gaps if position else 0,
        unverified=position.unverified if position else (),
        known_at=position.at if position else None,
    )


def _not_believed(problems: Sequence[str]) -> StateCount:
    return StateCount("not believed", len(problems), note="; ".join(problems))
