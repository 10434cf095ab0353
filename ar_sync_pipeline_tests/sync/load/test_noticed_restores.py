"""A sender that was restored and knows it: what follows its first archive is as good as that."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.errors import SetBackError
from ar_sync_pipeline.sync.rejection import Rejection
from ar_sync_pipeline_tests.sync.dump.test_lost_history import (
    equal,
    go_back,
    hour_ago,
    lose_history,
    said,
    save,
    set_back_spool,
)
from ar_sync_pipeline_tests.sync.dump.test_restored_scratch import Machine
from ar_sync_pipeline_tests.sync.dump.test_restored_sender import restored
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

__all__ = ["hour_ago", "restored"]

pytestmark = pytest.mark.long


@pytest.fixture
def noticed(hour_ago: Machine) -> Machine:
    """Return a sender whose database was restored from a copy, and whose scratch folder was not."""
    hour_ago.cluster.copy()
    lose_history(hour_ago, MediaSender.complete)
    hour_ago.cluster.restore()
    hour_ago.cluster.transactions(first=90, count=3, value=7)
    return hour_ago


def _parked(machine: Machine) -> list[tuple[str, str]]:
    return [(one.name, one.code) for one in map(Rejection.read, list_parked(machine.sites.spool))]


@pytest.mark.parametrize("kinds", [tuple(ArchiveKind), (ArchiveKind.PARTIAL,)])
def test_complete_and_its_partial_wait_together(
    noticed: Machine, kinds: tuple[ArchiveKind, ...]
) -> None:
    first = noticed.sender.complete()
    noticed.cluster.transactions(first=90, count=2, value=8)
    second = noticed.sender.partial()
    assert first.new_history
    assert not second.new_history
    assert len(noticed.sites.load(kinds).loaded) == len(kinds)
    assert _parked(noticed) == []
    noticed.sites.load()
    assert equal(noticed)
    assert "all is well" in said(noticed)


def test_first_archive_is_lost_on_the_way(noticed: Machine) -> None:
    """Nobody knows then whether the sender was set back; its next partial says what happened."""
    first = noticed.sender.complete()
    noticed.sender.partial()
    noticed.sender.waiting(first).unlink()
    noticed.sites.load()
    assert _parked(noticed) == []
    assert "all is well" not in said(noticed)
    assert noticed.sender.partial().new_history
    noticed.sites.load()
    assert "the sender's database was restored" in said(noticed)
    noticed.sender.complete()
    noticed.sites.load()
    assert equal(noticed)


def test_all_archives_of_a_sender_that_was_set_back_are_parked_until_its_complete(
    hour_ago: Machine,
) -> None:
    save(hour_ago)
    lose_history(hour_ago, MediaSender.complete)
    go_back(hour_ago)
    set_back_spool(hour_ago)
    sent = [hour_ago.sender.partial() for _ in range(3)]
    hour_ago.sites.load()
    expected = [(one.name.applied, SetBackError.code) for one in sent]
    assert _parked(hour_ago) == expected
    assert hour_ago.sender.partial().new_history
    assert len(hour_ago.sites.load().loaded) == 1
    hour_ago.sites.load()
    assert _parked(hour_ago) == expected
    hour_ago.sender.complete()
    hour_ago.sites.load()
    assert equal(hour_ago)
