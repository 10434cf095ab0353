"""Two receivers load from one spool: the one that comes second says so, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest

from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.sync.errors import SpoolOfAnotherError
from ar_sync_pipeline.sync.load.acknowledge import acknowledge_by_hand
from ar_sync_pipeline.sync.load.load_archives import load_archives
from ar_sync_pipeline.sync.watch.preflight import preflight
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    SMALL_RECEIVER,
    TwoSites,
    equal,
    execute,
    recent_window,
    rows,
)

MARK = "receipts/receiver.json"


@pytest.fixture
def second(filled: TwoSites, database_factory: DatabaseFactory) -> TwoSites:
    """A copy of the receiver without its ledger, after a load of the first, with its settings."""
    filled.complete()
    filled.load()
    copy = database_factory()
    execute(copy, *SMALL_RECEIVER)
    return replace(filled, receiver=copy)


def files(sites: TwoSites) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sites.spool.rglob("*") if path.is_file()}


def test_second_one_moves_and_writes_nothing(filled: TwoSites, second: TwoSites) -> None:
    filled.partial(recent_window())
    before = files(second)
    calls: list[Callable[[], object]] = [
        second.admit,
        lambda: load_archives(second.settings, second.catalog, None, second.clock),
        lambda: acknowledge_by_hand(second.settings, second.clock),
    ]
    (name,) = rows(filled.receiver, "SELECT current_database()")[0]
    for call in calls:
        with pytest.raises(SpoolOfAnotherError, match=f"database {name} ") as caught:
            call()
        assert f"delete {second.spool / MARK}" in caught.value.remedy
    assert files(second) == before
    assert rows(second.receiver, "SELECT to_regnamespace('ar_sync')") == [(None,)]
    assert len(filled.load().loaded) == 1
    assert equal(filled)


def test_check_of_the_second_one_names_the_first(filled: TwoSites, second: TwoSites) -> None:
    def found(sites: TwoSites) -> list[str]:
        told = preflight(sites.settings, sites.catalog, sites.clock).findings
        return [f"{one.level}" for one in told if "another receiver" in one.problem]

    assert found(second) == ["error"]
    assert found(filled) == []


def test_keys_of_the_second_one_do_not_matter(second: TwoSites) -> None:
    second.environ["AR_SYNC_SIGNING_KEY"] = token_hex(32)
    with pytest.raises(SpoolOfAnotherError):
        second.admit()


@pytest.mark.parametrize("by_hand", [True, False])
def test_database_that_took_the_place_of_a_lost_one_is_let_in(
    filled: TwoSites, second: TwoSites, by_hand: bool
) -> None:
    if by_hand:
        (second.spool / MARK).unlink()
    else:
        limit = timedelta(minutes=second.settings.max_lag, seconds=1)
        now = filled.clock()
        second = replace(second, clock=lambda: now + limit)
    second.load()
    written = Checkpoint.read(second.spool, signing_keys=())
    assert written is not None
    assert written.watermark is not None
    with pytest.raises(SpoolOfAnotherError):
        replace(filled, clock=second.clock).admit()


def test_damaged_mark_holds_up_nothing(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    (filled.spool / MARK).write_bytes(b"{")
    filled.partial(recent_window())
    assert len(filled.load().loaded) == 1
