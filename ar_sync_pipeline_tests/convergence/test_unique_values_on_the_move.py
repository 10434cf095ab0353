"""A unique value that moves from row to row while archives are lost or late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline_tests.convergence import invariants
from ar_sync_pipeline_tests.convergence.fix_convergence import Servers
from ar_sync_pipeline_tests.convergence.receiver_side import ReceiverSide
from ar_sync_pipeline_tests.convergence.sender_side import Dumped, SenderSide, VirtualClock


class Sites:
    """A sender and a receiver that holds its state and has data of its own in every row."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.clock = VirtualClock(datetime.now(UTC))
        self.sender = SenderSide(servers.sender_url, servers.sender, folder, self.clock)
        self.receiver = ReceiverSide(servers.receiver_url, servers.receiver, folder, self.clock)

    def partial(self, *statements: str) -> Dumped:
        """What some statements change, on its way to the receiver."""
        self.sender.run(*statements)
        self.clock.pass_time(timedelta(minutes=10))
        dumped = self.sender.partial(self.receiver.seen_from_sender())
        self.receiver.deliver(dumped)
        return dumped

    def load(self) -> None:
        self.receiver.load()
        invariants.every_promise_of_a_running_sync(self.receiver, self.sender)

    def lose(self, dumped: Dumped) -> None:
        self.receiver.file_of(dumped).unlink()


@pytest.fixture
def sites(servers: Servers, tmp_path: Path) -> Sites:
    made = Sites(servers, tmp_path)
    made.sender.run(
        "INSERT INTO app_parent VALUES (1, 0, 'a', 'l', NULL), (2, 0, 'b', 'l', 1),"
        " (3, 0, 'c', 'l', NULL)",
        "INSERT INTO app_child VALUES (1, 0, 1, now()), (2, 0, 2, now()), (3, 0, 3, now())",
        "INSERT INTO app_tag VALUES ('t', 't', 0, 1, 1)",
    )
    made.receiver.deliver(made.sender.complete(None))
    made.load()
    made.receiver.rate_everything(7)
    for number in (1, 2, 3):
        made.receiver.take_note(number, number)
    return made


@pytest.mark.long
def test_row_whose_unique_value_was_taken_over_behind_a_hole_keeps_own_data(sites: Sites) -> None:
    lost = sites.partial("UPDATE app_parent SET code = 'x' WHERE id = 1")
    sites.partial("INSERT INTO app_parent VALUES (4, 0, 'a', 'l')")
    sites.lose(lost)
    sites.load()
    sites.partial()
    sites.load()
    invariants.assert_same(sites.receiver.state(), sites.sender.state())


@pytest.mark.long
def test_children_of_a_row_that_a_late_archive_displaces_stay(sites: Sites) -> None:
    late = sites.partial("UPDATE app_parent SET code = 'x' WHERE id = 1")
    sites.partial("UPDATE app_parent SET code = 'a' WHERE id = 3")
    content = late.file.read_bytes()
    sites.lose(late)
    sites.load()
    sites.receiver.deliver(late, content)
    sites.load()
    invariants.assert_same(sites.receiver.state(), sites.sender.state())


@pytest.mark.long
def test_children_of_a_row_that_a_late_archive_displaces_for_a_moment_stay(sites: Sites) -> None:
    late = sites.partial("INSERT INTO app_parent VALUES (5, 0, 'q', 'l')")
    second = sites.partial(
        "DELETE FROM app_parent WHERE id = 5", "UPDATE app_parent SET code = 'q' WHERE id = 1"
    )
    sites.lose(late)
    sites.load()
    sites.receiver.deliver(late)
    sites.load()
    sites.receiver.deliver(sites.sender.complete(sites.receiver.checkpoint()))
    report = sites.receiver.load()
    assert {plan.drift for plan in report.loaded[0].tables} == {0}
    assert second.since == late.name.snapshot_at
    invariants.assert_same(sites.receiver.state(), sites.sender.state())
