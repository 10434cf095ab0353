"""A load that is killed after its commit is reported by the next one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.operations.pair_names import ALONE
from ar_sync_pipeline.receiver.load_checks import load_check_results
from ar_sync_pipeline.receiver.load_metadata import load_metadata, rows_by_table
from ar_sync_pipeline.sync.load.load_archives import LoadReport
from ar_sync_pipeline_tests.fix_sites import TwoSites, recent_window, watermark_of


@dataclass
class Drifted:
    """Two servers whose sender makes completes that find what the receiver has lost."""

    sites: TwoSites
    base: Watermark

    def complete(self, *, rows: int) -> Path:
        """Change some rows of the receiver, and dump the complete that repairs them."""
        self.sites.at_receiver(f"UPDATE app_child SET amount = -1 WHERE id <= {rows}")
        return self.sites.complete(self.base)


@pytest.fixture
def drifted(filled: TwoSites) -> Drifted:
    base = watermark_of(filled.complete())
    filled.load()
    return Drifted(filled, base)


def kill_before_renaming(applied: Path) -> None:
    """Leave what a load leaves that was killed after its commit."""
    applied.with_name(applied.name.removeprefix("NEW_")).rename(applied)


def no_drift(report: LoadReport, before: dg.AssetCheckResult | None = None) -> dg.AssetCheckResult:
    results = load_check_results(report, 5, ALONE, before)
    return next(result for result in results if result.check_name == "no_drift")


def is_about(found: dg.AssetCheckResult, rows: str) -> bool:
    """Return whether a result is a sentence that says which complete has repaired these rows."""
    complete = str((found.metadata or {})["newest_complete"].value)
    name = ArchiveName.parse(complete)
    assert name is not None
    return found.description == (
        f"The complete of {name.snapshot_at:%Y-%m-%d %H:%M} UTC has repaired {rows} that differed"
        " from the sender: partials should have brought them, or somebody changed them here."
    )


def test_the_next_load_reports_what_the_killed_one_did(drifted: Drifted) -> None:
    path, sites = drifted.complete(rows=8), drifted.sites
    killed = sites.load()
    kill_before_renaming(path)
    report = sites.load()
    assert [archive.recovered for archive in report.loaded] == [True]
    assert rows_by_table(report) == rows_by_table(killed)
    assert report.net == killed.net
    shown = load_metadata(report, sites.catalog, sites.clock())
    assert (shown["archives_applied"], shown["rows_changed"]) == (1, 8)
    assert path.name.removeprefix("NEW_") in shown["not_counted"]
    failed = [one.check_name for one in load_check_results(report, 5, ALONE) if not one.passed]
    assert failed == ["no_drift"]
    assert is_about(no_drift(report), "8 rows of app_child")
    assert sites.load().loaded == ()


def test_repaired_drift_is_shown_whenever_the_load_was_killed(drifted: Drifted) -> None:
    sites = drifted.sites
    drifted.complete(rows=8)
    before = no_drift(sites.load())
    assert is_about(before, "8 rows of app_child")
    assert no_drift(sites.load(), before) == before
    drifted.complete(rows=3)
    sites.load()
    sites.partial(recent_window(), since=drifted.base)
    found = no_drift(sites.load(), before)
    assert is_about(found, "3 rows of app_child")
    assert no_drift(sites.load(), found) == found


def test_second_copy_of_an_applied_archive_was_reported_before(filled: TwoSites) -> None:
    path = filled.complete()
    filled.load()
    path.write_bytes(path.with_name(path.name.removeprefix("NEW_")).read_bytes())
    assert filled.load().loaded == ()
