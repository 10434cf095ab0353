"""Two databases publish into one spool: the receiver has the state of one, never rows of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.converted import OLD_SYSTEM
from ar_sync_pipeline.archive.manifest import SenderIdentity
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.states import list_parked, list_waiting
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.fix_sites import (
    CHILDREN,
    PARENTS,
    SMALL_SENDER,
    TwoSites,
    equal,
    execute,
    recent_window,
    remake,
    rows,
)
from ar_sync_pipeline_tests.sync.load.test_order_and_gaps import deliver, withhold

CHANGE = "UPDATE app_child SET amount = amount + 1, changed = clock_timestamp() WHERE id < 50"


@dataclass
class Pair:
    """Production and a copy of it, which was started with production's settings."""

    production: TwoSites
    copy: TwoSites

    def __post_init__(self) -> None:
        for sites in (self.production, self.copy):
            sites.sender_name = "production"
            sites.environ["AR_SYNC_SENDER_NAME"] = "production"

    def change(self) -> None:
        self.production.at_sender(CHANGE)
        self.copy.at_sender(CHANGE, "UPDATE app_child SET amount = -7 WHERE id < 50")

    def load(self) -> list[Path]:
        """Load; return the parked files."""
        self.production.load()
        return [archive.path for archive in list_parked(self.production.spool)]

    def has_production(self) -> bool:
        return all(equal(self.production, query) for query in (PARENTS, CHILDREN))

    def has_copy(self) -> bool:
        return all(equal(self.copy, query) for query in (PARENTS, CHILDREN))


def filled_copy(of: TwoSites, url: str) -> TwoSites:
    execute(url, *SMALL_SENDER)
    copy = replace(of, sender=url)
    copy.at_sender(
        "INSERT INTO app_parent (code, label) SELECT 'c' || n, 'copy ' || n"
        " FROM generate_series(1, 50) n",
        "INSERT INTO app_child (parent_id, amount, changed)"
        " SELECT 1 + n % 50, -1, now() - interval '1 day' FROM generate_series(1, 2000) n",
    )
    return copy


@pytest.fixture
def pair(filled: TwoSites, database_factory: DatabaseFactory) -> Pair:
    """Two databases of one cluster."""
    return Pair(filled, filled_copy(filled, database_factory()))


@pytest.fixture
def two_clusters(filled: TwoSites, tmp_path: Path) -> Iterator[Pair]:
    server = EmbeddedPostgres(tmp_path / "cluster")
    try:
        with server:
            # The name of the database is the same, as in a copy of production.
            name = filled.sender.rpartition("/")[2].partition("?")[0]
            yield Pair(filled, filled_copy(filled, server.create_database(name)))
    finally:
        server.destroy()


def assert_told(path: Path, pair: Pair) -> None:
    reason = read_reason(path)
    assert reason is not None
    for sites in (pair.production, pair.copy):
        cluster, database = rows(
            sites.sender,
            "SELECT system_identifier::text, current_database() FROM pg_control_system()",
        )[0]
        assert f"database {database} of cluster {cluster}" in reason.reason
    assert "complete_dump" in reason.remedy


@pytest.mark.long
def test_partial_of_another_cluster_is_not_applied(two_clusters: Pair) -> None:
    pair = two_clusters
    pair.production.complete()
    pair.load()
    pair.change()
    pair.production.partial(recent_window())
    foreign = pair.copy.partial(recent_window())
    (parked,) = pair.load()
    assert parked.name == foreign.name
    assert_told(parked, pair)
    assert pair.has_production()


def test_partial_of_another_database_of_the_cluster_is_not_applied(pair: Pair) -> None:
    pair.production.complete()
    pair.load()
    pair.change()
    foreign = pair.copy.partial(recent_window())
    pair.production.partial(recent_window())
    (parked,) = pair.load()
    assert parked.name == foreign.name
    assert_told(parked, pair)
    assert pair.has_production()
    # The copy is stopped, and a complete of production is made.
    pair.production.complete()
    pair.load()
    assert pair.load() == []
    assert pair.has_production()


def test_sender_that_moved_needs_a_complete(pair: Pair) -> None:
    """Its partials wait for it, and are applied after it or superseded by it."""
    pair.production.complete()
    pair.load()
    early = pair.copy.partial(recent_window())
    assert [path.name for path in pair.load()] == [early.name]
    complete = withhold(pair.copy.complete())
    pair.change()
    late = pair.copy.partial(recent_window())
    assert [path.name for path in pair.load()] == [early.name, late.name]
    deliver(complete)
    pair.load()
    assert pair.load() == []
    assert pair.has_copy()


@pytest.mark.long
def test_complete_that_comes_late_is_not_mixed_with_the_other_databases_partials(
    pair: Pair,
) -> None:
    """Its upload took hours; production's partials of that time were applied, or wait."""
    pair.production.complete()
    pair.load()
    complete = withhold(pair.copy.complete())
    pair.production.at_sender(CHANGE)
    pair.production.partial(recent_window())
    assert pair.load() == []
    assert pair.has_production()
    waiting = pair.production.partial(recent_window())
    deliver(complete)
    (parked,) = pair.load()
    assert pair.has_copy()
    assert parked.name == waiting.name
    assert_told(parked, pair)
    pair.production.complete()
    pair.load()
    assert pair.load() == []
    assert pair.has_production()


def test_partial_that_came_before_any_complete_is_not_applied_after_the_other_databases(
    pair: Pair,
) -> None:
    complete = withhold(pair.production.complete())
    pair.change()
    pair.copy.partial(recent_window())
    assert pair.load() == []
    own = pair.production.partial(recent_window())
    assert [path.name for path in pair.load()] == [own.name]
    deliver(complete)
    pair.load()
    assert pair.load() == []
    assert pair.has_production()


def test_partials_of_two_databases_in_the_first_load(pair: Pair) -> None:
    pair.production.complete()
    pair.change()
    foreign = pair.copy.partial(recent_window())
    pair.production.partial(recent_window())
    (parked,) = pair.load()
    assert parked.name == foreign.name
    assert pair.has_production()


def test_partials_of_two_databases_in_a_first_load_with_the_old_systems_complete(
    pair: Pair, tmp_path: Path
) -> None:
    pair.production.environ["AR_SYNC_OLD_ARCHIVES"] = "accept"
    remake(pair.production.complete(), tmp_path / "old", sender=OLD_SYSTEM)
    pair.change()
    pair.production.partial(recent_window())
    foreign = pair.copy.partial(recent_window())
    (parked,) = pair.load()
    assert parked.name == foreign.name
    assert pair.has_production()


def test_archive_that_was_applied_is_not_parked_when_it_arrives_again(pair: Pair) -> None:
    pair.production.complete()
    pair.load()
    pair.change()
    partial = pair.production.partial(recent_window())
    content = partial.read_bytes()
    pair.load()
    pair.copy.complete()
    pair.load()
    partial.write_bytes(content)
    assert pair.load() == []
    assert list_waiting(pair.production.spool) == []
    assert pair.has_copy()


def test_promoted_standby_is_the_same_database(filled: TwoSites, tmp_path: Path) -> None:
    filled.complete()
    filled.load()
    filled.at_sender(CHANGE)
    path = filled.partial(recent_window())
    mark = verify_archive(path, signing_keys=()).watermark.model_copy(update={"timeline": 2})
    remake(path, tmp_path / "promoted", watermark=mark, new_history=True)
    filled.load()
    assert list_parked(filled.spool) == []
    assert equal(filled)


def test_first_partial_after_the_old_system_is_applied(filled: TwoSites, tmp_path: Path) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver(
        "UPDATE ar_sync.applied_archive SET sender ="
        """ '{"system_identifier": "old-system", "database": "", "name": ""}'"""
    )
    filled.at_sender(CHANGE)
    sender = SenderIdentity(system_identifier="8", database="new", name="")
    remake(filled.partial(recent_window()), tmp_path / "new", sender=sender)
    filled.load()
    assert list_parked(filled.spool) == []
    assert equal(filled)
