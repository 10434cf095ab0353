"""Chunks that a complete does not read are read again every few days: no error lives longer."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import dagster as dg
import pytest
from psycopg import sql

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.export import chunk_totals, table_export
from ar_sync_pipeline.sender.site import SenderSite
from ar_sync_pipeline.sender.unchanged_chunks_check import (
    evaluate_unchanged_chunks,
    unchanged_chunks_check,
)
from ar_sync_pipeline.sync.dump.journal_of_tables import digests_of
from ar_sync_pipeline.sync.dump.sender_journal_file import SENT_FILE, DigestsOf
from ar_sync_pipeline_tests.fix_sites import CHILDREN, equal
from ar_sync_pipeline_tests.sync.fix_differential import (
    assert_applied,
    carried,
    load,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

EDIT = "UPDATE app_child SET amount = {} WHERE id = 7"


def verify_days(pair: MediaSender, days: int) -> None:
    pair.settings = pair.settings.model_copy(update={"complete_verify_days": days})


def digests(pair: MediaSender, manifest: Manifest) -> DigestsOf:
    found = digests_of(pair.scratch, manifest.snapshot_at)
    assert found is not None
    return found


def complete_with_a_lie(pair: MediaSender, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Change a row whose version, as a damaged server would have it, looks old."""
    pair.sites.at_sender(EDIT.format(-1))
    with monkeypatch.context() as patch:
        for module in (chunk_totals, table_export):
            patch.setattr(module, "unseen_by", lambda _: sql.SQL("false"))
        return pair.complete()


def finding(pair: MediaSender, manifest: Manifest) -> dg.AssetCheckResult:
    site = SenderSite(pair.settings, pair.sites.catalog, pair.sites.clock)
    result = evaluate_unchanged_chunks(site, digests(pair, manifest))
    assert result.check_name == unchanged_chunks_check(site).name
    return result


@pytest.mark.long
def test_digests_are_those_of_the_first_complete_until_some_days_have_passed(
    pair: MediaSender,
) -> None:
    first = digests(pair, pair.complete()).computed_at
    for _ in range(2):
        manifest = pair.complete()
        assert digests(pair, manifest).computed_at == first < manifest.snapshot_at
        assert_applied(pair, manifest)
    verify_days(pair, 0)
    manifest = pair.complete()
    assert digests(pair, manifest).computed_at == manifest.snapshot_at


def test_all_are_computed_if_the_journal_is_lost(pair: MediaSender) -> None:
    (pair.scratch / SENT_FILE).unlink()
    manifest = pair.complete()
    assert digests(pair, manifest).computed_at == manifest.snapshot_at


@pytest.mark.long
def test_error_is_found_repaired_and_reported(
    pair: MediaSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = complete_with_a_lie(pair, monkeypatch)
    assert carried(wrong) == []
    assert load(pair).refused == ()
    assert not equal(pair.sites, CHILDREN)
    assert finding(pair, wrong).passed
    verify_days(pair, 0)
    pair.sites.at_sender("DELETE FROM app_parent WHERE id = 0")
    found = pair.complete()
    assert carried(found) == [0]
    assert digests(pair, found).misjudged == {"app_child": 1}
    assert_applied(pair, found)
    result = finding(pair, found)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.description is not None
    assert "1 chunk of app_child had other rows than their row versions showed" in (
        result.description
    )
    assert "set AR_SYNC_COMPLETE_VERIFY_DAYS=0" in result.description
    # Until all are computed again.
    verify_days(pair, 7)
    later = pair.complete()
    assert not finding(pair, later).passed
    assert_applied(pair, later)
    verify_days(pair, 0)
    last = pair.complete()
    assert finding(pair, last).passed
    assert digests(pair, last).misjudged == {}
    assert_applied(pair, last)


@pytest.mark.long
def test_daily_complete_is_verified_on_the_seventh_day(pair: MediaSender) -> None:
    """Although it is made some seconds earlier on that day."""
    clock = pair.sites.clock
    first = digests(pair, pair.complete()).computed_at
    for days, is_computed in ((6, False), (7, True)):
        moment = first + timedelta(days=days) - timedelta(seconds=5)
        pair.sites.clock = partial(datetime.fromisoformat, moment.isoformat())
        manifest = pair.complete()
        assert (digests(pair, manifest).computed_at == manifest.snapshot_at) == is_computed
        pair.waiting(manifest).unlink()
    pair.sites.clock = clock
