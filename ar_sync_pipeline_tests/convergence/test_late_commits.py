"""A transaction that stays open for ten minutes is received by the partial behind its commit.

Its rows are stamped with the time at which it began, which no window of that partial holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.application import CATALOG
from ar_sync_pipeline_tests.convergence.fix_convergence import Servers
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.row_images import Connection
from ar_sync_pipeline_tests.convergence.sender_side import (
    LOOK_BACK,
    SenderSide,
    VirtualClock,
)
from ar_sync_pipeline_tests.convergence.traffic import BEGINNING

INSERT = b"SAVEPOINT a; INSERT INTO app_child VALUES (6, 0, 1, now(), 1); RELEASE a"
UPDATE = b"UPDATE app_child SET amount = 9, changed = now() WHERE id = 2"
TEN_MINUTES = timedelta(minutes=10)


class Sites:
    """Both servers, equal, and a session that has just begun a transaction at the sender."""

    def __init__(self, servers: Servers, folder: Path, session: Connection, limit_mb: int) -> None:
        self.session = session
        self.clock = VirtualClock(datetime.now(UTC))
        catalog = CATALOG.model_copy(update={"watermark_limit_mb": limit_mb})
        self.sender = SenderSide(
            servers.sender_url, servers.sender, folder, self.clock, catalog=catalog
        )
        self.receiver = ReceiverSide(servers.receiver_url, servers.receiver, folder, self.clock)
        self.sender.run(BEGINNING)
        self.receiver.deliver(self.sender.complete(None))
        self.receiver.load()
        session.execute(b"SELECT 1")

    def partial(self) -> None:
        """One dump and one load, as every few minutes."""
        dumped = self.sender.partial(self.receiver.seen_from_sender())
        self.receiver.deliver(dumped)
        self.receiver.load()


@pytest.fixture(params=[2048, 0], ids=["small table", "table above the limit of the watermark"])
def sites(servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Sites]:
    with psycopg.connect(servers.sender_url) as session:
        yield Sites(servers, tmp_path, session, request.param)


@pytest.mark.parametrize("writes_at_once", [True, False], ids=["writes at once", "writes at last"])
def test_transaction_that_was_open_for_ten_minutes_comes_with_the_next_partial(
    sites: Sites, writes_at_once: bool
) -> None:
    if writes_at_once:
        sites.session.execute(INSERT)
        sites.session.execute(UPDATE)
    sites.partial()
    sites.clock.pass_time(TEN_MINUTES)
    sites.partial()
    if not writes_at_once:
        sites.session.execute(INSERT)
        sites.session.execute(UPDATE)
    stamped = sites.session.execute(b"SELECT now()").fetchall()[0][0]
    sites.session.commit()
    assert isinstance(stamped, datetime)
    assert sites.clock.now - LOOK_BACK > stamped
    sites.partial()
    invariants.assert_same(sites.receiver.state(), sites.sender.state())


def test_transaction_that_is_taken_back_brings_nothing(sites: Sites) -> None:
    sites.session.execute(INSERT)
    sites.partial()
    sites.clock.pass_time(TEN_MINUTES)
    sites.session.rollback()
    sites.partial()
    invariants.assert_same(sites.receiver.state(), sites.sender.state())
