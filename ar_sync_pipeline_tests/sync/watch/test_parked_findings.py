"""``ar-sync check`` at the receiver names the causes for which archives are parked."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.spool.reasons import REASON_SUFFIX
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.watch.parked_findings import parked_findings
from ar_sync_pipeline.sync.watch.preflight import preflight
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of


@pytest.fixture
def parked(filled: TwoSites) -> TwoSites:
    """Two archives that are parked, since the receiver has lost a column."""
    filled.complete()
    filled.load()
    filled.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
    for _ in range(2):
        filled.at_sender("UPDATE app_child SET changed = now() WHERE id = 7")
        filled.partial(recent_window())
        filled.load()
    return filled


def test_archives_are_not_only_said_to_be_loaded(parked: TwoSites) -> None:
    found = preflight(parked.settings, parked.catalog, parked.clock)
    (warning,) = [one for one in found.findings if one.area == "parked"]
    assert warning.level is Level.WARNING
    assert warning.problem.startswith("2 archives are parked: the archive waits for")
    assert "app_child.amount" in warning.problem
    assert "migrate the receiver" in warning.remedy
    assert found.ok, "a parked archive has its own incident"
    assert found.verdict.startswith("Archives can be loaded, with ")


@pytest.mark.long
def test_each_cause_is_named(parked: TwoSites) -> None:
    parked.environ["AR_SYNC_DELETE_GUARD"] = "1"
    (finding,) = parked_findings(parked.settings, parked.catalog, parked.clock)
    parked.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    parked.load()
    assert list(parked_findings(parked.settings, parked.catalog, parked.clock)) == []
    parked.at_sender("DELETE FROM app_child WHERE id > 100")
    name = parked.complete().name.removeprefix("NEW_")
    parked.load()
    (guard,) = parked_findings(parked.settings, parked.catalog, parked.clock)
    assert guard.problem.startswith("1 archive is parked: the archive is kept from loading")
    assert f"ar-sync allow {name}" in guard.remedy
    parked.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
    parked.partial(recent_window())
    parked.load()
    assert [
        one.remedy for one in parked_findings(parked.settings, parked.catalog, parked.clock)
    ] == [
        guard.remedy,
        finding.remedy,
    ]


def test_what_is_asked_after_the_remedy_and_before_the_next_load_knows_of_it(
    parked: TwoSites,
) -> None:
    before = [one.read_text() for one in reasons(parked)]
    parked.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    (finding,) = parked_findings(parked.settings, parked.catalog, parked.clock)
    assert finding.problem == (
        "2 archives are parked: the archive fits the receiver now, and waits for the next load"
    )
    assert finding.remedy == "no action is needed: the next load takes it from there"
    shown = receiver_status(parked.settings, parked.catalog, parked.clock())
    assert "fits the receiver now, and waits for the next load" in shown.lag.because
    parked.at_receiver("ALTER TABLE app_child ALTER COLUMN amount TYPE text")
    shown = receiver_status(parked.settings, parked.catalog, parked.clock())
    assert "waits for the receiver's schema (app_child.amount" in shown.lag.because
    assert [one.read_text() for one in reasons(parked)] == before, "nothing is written"


def test_parked_partial_is_why_data_is_late_and_an_overtaken_complete_is_not_all(
    parked: TwoSites,
) -> None:
    hours_later = parked.clock() + timedelta(hours=3)
    because = receiver_status(parked.settings, parked.catalog, hours_later).lag.because
    assert "app_child.amount" in because
    assert "no newer archive has arrived" not in because

    parked.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    base = watermark_of(parked.complete())
    parked.load()
    parked.environ["AR_SYNC_DELETE_GUARD"] = "1"
    parked.at_sender("DELETE FROM app_child WHERE id > 100")
    parked.complete()
    parked.load()
    because = receiver_status(parked.settings, parked.catalog, hours_later).lag.because
    assert "is kept from loading" in because
    assert "no newer archive has arrived" not in because, "it is newer than the data"
    parked.partial(recent_window(), since=base)
    parked.load()
    because = receiver_status(parked.settings, parked.catalog, hours_later).lag.because
    assert "is kept from loading" in because
    assert because.endswith(", and no newer archive has arrived")


def test_reason_stays_as_it_was_written_while_nothing_can_be_compared(parked: TwoSites) -> None:
    parked.at_receiver("ALTER TABLE app_child ADD COLUMN amount double precision")
    for archive in list_parked(parked.spool):
        archive.path.write_bytes(b"no archive")
    (finding,) = parked_findings(parked.settings, parked.catalog, parked.clock)
    assert "app_child.amount" in finding.problem


def test_reason_file_is_hostile_or_absent(parked: TwoSites) -> None:
    first, second = (_reason(archive.path) for archive in list_parked(parked.spool))
    first.write_text(first.read_text().replace("waits for", "\\u001b[31m waits\\u202e for"))
    second.unlink()
    bad, none = parked_findings(parked.settings, parked.catalog, parked.clock)
    assert not {"\x1b", "\u202e"} & set(bad.problem)
    assert none.problem == "1 archive is parked: no reason is written beside the archive"


def reasons(sites: TwoSites) -> list[Path]:
    return [_reason(archive.path) for archive in list_parked(sites.spool)]


def _reason(archive: Path) -> Path:
    return archive.with_name(archive.name + REASON_SUFFIX)
