"""Contract of every postprocessor, tested with the built-in rules and with a command."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import pytest

from ar_sync_pipeline_tests.fix_sites import execute, rows
from ar_sync_pipeline_tests.receiver.sites import (
    COMMAND,
    SLOW_COMMAND,
    Materialized,
    PostprocessedSites,
)
from ar_sync_pipeline_tests.running_processes import is_running

_SLEEP = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON "AndroidRequests_busv2"
FOR EACH ROW EXECUTE FUNCTION slow();
"""


class Kind(ABC):
    """One implementation of the contract: how it succeeds, how it fails, how it hangs."""

    remedy: str

    def __init__(self, sites: PostprocessedSites) -> None:
        self.sites = sites

    @abstractmethod
    def run(self) -> Materialized: ...

    @abstractmethod
    def run_broken(self) -> Materialized: ...

    @abstractmethod
    def run_hanging(self, timeout_seconds: float) -> Materialized: ...

    @abstractmethod
    def is_still_at_work(self) -> bool: ...


class Builtin(Kind):
    remedy = "apply TranSappViz's migrations"

    def run(self) -> Materialized:
        return self.sites.builtin()

    def run_broken(self) -> Materialized:
        rename = 'ALTER TABLE "AndroidRequests_{}" RENAME TO "AndroidRequests_{}"'
        execute(self.sites.two.receiver, rename.format("timeperiod", "gone"))
        try:
            return self.sites.builtin()
        finally:
            execute(self.sites.two.receiver, rename.format("gone", "timeperiod"))

    def run_hanging(self, timeout_seconds: float) -> Materialized:
        execute(self.sites.two.receiver, _SLEEP)
        return self.sites.builtin(timeout_seconds)

    def is_still_at_work(self) -> bool:
        query = "SELECT FROM pg_stat_activity WHERE application_name = 'ar_sync transform'"
        return bool(rows(self.sites.two.receiver, query))


class Command(Kind):
    remedy = "read its output in this run's logs"

    def run(self) -> Materialized:
        return self.sites.command(COMMAND)

    def run_broken(self) -> Materialized:
        return self.sites.command("import sys; sys.exit(3)")

    def run_hanging(self, timeout_seconds: float) -> Materialized:
        return self.sites.command(SLOW_COMMAND, timeout_seconds)

    def is_still_at_work(self) -> bool:
        child = int((self.sites.two.folder / "child").read_text())
        return is_running(child)


@pytest.fixture(params=[Builtin, Command])
def kind(request: pytest.FixtureRequest, sites: PostprocessedSites) -> Kind:
    made: Kind = request.param(sites)
    return made


@pytest.mark.long
def test_all_waiting_rows_are_transformed_and_a_second_run_finds_nothing(kind: Kind) -> None:
    kind.sites.load_some_rows()
    assert kind.sites.waiting() == 10
    before = kind.sites.shared_rows()
    for _ in range(2):
        done = kind.run()
        assert done.succeeded
        assert isinstance(done.metadata["seconds"], float)
        assert done.check("rows_transformed_in_time").metadata["rows_waiting"].value == 0
        assert kind.sites.waiting() == 0
    assert kind.sites.shared_rows() == before


def test_before_the_first_load_there_is_nothing_to_do(kind: Kind) -> None:
    assert kind.run().succeeded


@pytest.mark.long
def test_d2_a_failure_is_one_sentence_and_undoes_and_blocks_no_load(kind: Kind) -> None:
    sites = kind.sites
    sites.load_some_rows()
    before = sites.shared_rows()
    failed = kind.run_broken()
    assert not failed.succeeded
    assert kind.remedy in failed.failure
    assert "Traceback" not in failed.failure
    assert sites.two.receiver not in failed.failure
    assert failed.check("rows_transformed_in_time").metadata["rows_waiting"].value == 10
    assert sites.shared_rows() == before

    execute(sites.two.sender, 'DELETE FROM "AndroidRequests_report" WHERE id > 3')
    sites.two.complete()
    assert [len(archive.tables) for archive in sites.two.load().loaded] == [24]
    assert len(sites.shared_rows()) == 6
    assert kind.run().succeeded
    assert sites.waiting() == 0


@pytest.mark.long
def test_it_ends_after_its_timeout_with_all_that_it_started(kind: Kind) -> None:
    kind.sites.load_some_rows()
    started = time.monotonic()
    failed = kind.run_hanging(1)
    assert time.monotonic() - started < 10
    assert "ran longer than" in failed.failure
    assert "AR_SYNC_TRANSFORM_TIMEOUT" in failed.failure
    assert not kind.is_still_at_work()
