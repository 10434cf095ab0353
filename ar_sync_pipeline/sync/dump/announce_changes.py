"""Announcement of a partial with changes, by a run that waits for the end of its window.

The receiver then starts the process of a load while the archive is on its way. For a window without
changes there is no announcement, since the receiver applies its archive without a run.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from uuid import uuid4

import psycopg

from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.errors import LONGEST_PROBLEM, ArSyncError
from ar_sync_pipeline.export.change_probe import any_row_changed
from ar_sync_pipeline.export.selection import Selection
from ar_sync_pipeline.postgres.server_message import shown
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.announce import replace_small_file
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.spool.announcement import ANNOUNCEMENT_FILE, LONGEST_SECONDS, Announcement
from ar_sync_pipeline.sync.dump.sender_endpoint import endpoint
from ar_sync_pipeline.sync.dump.table_dump import PartialRequest
from ar_sync_pipeline.sync.dump.window_end import wait_for_end
from ar_sync_pipeline.visible_text import visible

# The sensor of the receiver needs up to 20 s to see it, the process of a load 10 to start.
_BEFORE_END = timedelta(seconds=40)
_PROBE_EVERY = timedelta(seconds=5)
# Later it would save nothing, and could make the snapshot late.
_LATEST = timedelta(seconds=6)
_LIMITS = SessionLimits(
    resolve_seconds=3, connect_seconds=3, opening_seconds=5, silence_seconds=3, whole_seconds=5
)


def announce_when_changed(
    settings: SenderSettings, catalog: Catalog, clock: Clock, request: PartialRequest
) -> str | None:
    """Wait until shortly before the end of the window; announce its archive if a row has changed.

    Returns:
        Why nothing could be announced; None: nothing went wrong.

    Raises:
        WindowStillOpenError: As `wait_for_end`.
    """
    end = request.window.end
    selection = Selection(request.changed_at, request.since, request.look_back)
    wait_for_end(end, clock, before=_BEFORE_END)
    until = time.monotonic() + (_BEFORE_END - _LATEST).total_seconds()
    try:
        while clock() < end - _LATEST and time.monotonic() < until:
            next_probe = max(end - clock() - _PROBE_EVERY, _LATEST)
            if any_row_changed(settings.database_url, catalog, selection):
                _announce(settings, end, clock)
                return None
            wait_for_end(end, clock, before=next_probe)
    except ArSyncError as error:
        return visible(f"{error}", LONGEST_PROBLEM)
    except psycopg.Error as error:
        return shown(error)
    return None


def _announce(settings: SenderSettings, end: datetime, clock: Clock) -> None:
    keys = settings.signing_keys.accepted(clock())
    with open_session(endpoint(settings), _LIMITS) as session:
        # More only if the clock was set back while the run waited.
        left = min(max((end - clock()).total_seconds(), 0.0), LONGEST_SECONDS)
        announcement = Announcement(announcement_id=uuid4(), seconds=left).signed(keys)
        replace_small_file(
            session, settings.remote_bkp_fldr, ANNOUNCEMENT_FILE, announcement.to_bytes()
        )
