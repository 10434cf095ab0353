"""Archives of the old system that come after the new sender's: nothing of them is wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline.sync.watch.status import Status
from ar_sync_pipeline.sync.watch.unapplied import view_ledger
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases
from ar_sync_pipeline_tests.legacy.building import complete, partial
from ar_sync_pipeline_tests.legacy.conftest import OldReceiver

# Later than any archive of the new sender, and an hour before the receiver's clock.
NOW = datetime.now(UTC) + timedelta(hours=2)
KEY = "3f9c1e7ab05d48826d2eb7f4910c5a83"


@pytest.fixture
def switched(filled_receiver: OldReceiver, shared_databases: SharedDatabases) -> OldReceiver:
    """A receiver that has loaded an archive of the old sender; the new one has a database."""
    filled_receiver.sender = shared_databases.clean("sender")
    return filled_receiver


def switch(receiver: OldReceiver) -> None:
    receiver.clock = lambda: datetime.now(UTC)
    receiver.complete()
    assert len(receiver.load().loaded) == 1
    receiver.clock = lambda: NOW


def offer_late(receiver: OldReceiver, kind: str) -> None:
    zone = ZoneInfo(receiver.settings.timezone)
    stamp = (NOW - timedelta(hours=1)).astimezone(zone).strftime("%Y-%m-%d__%H_%M_%S")
    receiver.offer(complete() if kind == "complete" else partial({}), kind, stamp)


def status(receiver: OldReceiver) -> Status:
    return receiver_status(receiver.settings, receiver.catalog, receiver.clock())


def assert_nothing_is_lost(receiver: OldReceiver) -> None:
    assert receiver.load().lost == ()
    checkpoint = Checkpoint.read(
        receiver.spool, signing_keys=receiver.settings.signing_keys.accepted(NOW)
    )
    assert checkpoint is not None
    assert checkpoint.quarantined == 0
    assert status(receiver).count("quarantined") == 0
    (shown,) = view_ledger(receiver.settings).unapplied
    assert shown.state == "quarantined, replaced"


@pytest.mark.parametrize("kind", ["complete", "partial"])
@pytest.mark.parametrize("key", ["", KEY])
def test_one_that_the_old_hosts_cron_still_uploads_is_refused_once(
    switched: OldReceiver, kind: str, key: str
) -> None:
    switch(switched)
    if key:
        switched.environ["AR_SYNC_SIGNING_KEY"] = key
    offer_late(switched, kind)
    (refused,) = switched.admit().quarantined
    assert "stop the old sender's jobs" in str(refused)
    assert_nothing_is_lost(switched)


def test_one_that_was_converted_before_the_switch_is_refused_once(switched: OldReceiver) -> None:
    switched.clock = lambda: NOW
    offer_late(switched, "complete")
    switched.admit()
    switched.environ["AR_SYNC_OLD_ARCHIVES"] = "refuse"
    assert len(switched.admit().parked) == 1
    switch(switched)
    (refused,) = switched.admit().quarantined
    assert "stop the old sender's jobs" in str(refused)
    assert_nothing_is_lost(switched)


def test_it_counts_again_when_the_receiver_goes_back_to_the_old_sender(
    switched: OldReceiver,
) -> None:
    """The page has the ledger dropped for that."""
    switch(switched)
    offer_late(switched, "complete")
    switched.admit()
    switched.at_receiver("DROP SCHEMA ar_sync CASCADE")
    assert status(switched).count("quarantined") == 1
