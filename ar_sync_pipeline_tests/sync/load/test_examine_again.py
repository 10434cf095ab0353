"""Why parked archives wait now: what was remedied since they were parked counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ar_sync_pipeline.archive.errors import NewerFormatError
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.errors import FutureArchiveError
from ar_sync_pipeline.sync.load.examine_again import examine_again
from ar_sync_pipeline_tests.fix_sites import TwoSites


@pytest.mark.parametrize("code", [FutureArchiveError.code, NewerFormatError.code, "load-refused"])
def test_archive_whose_remedy_shows_without_a_load_fits_at_once(
    filled: TwoSites, code: str
) -> None:
    filled.complete()
    filled.clock = lambda: datetime.now(UTC) - timedelta(days=1)
    filled.admit()
    parked = list_parked(filled.spool)
    (reason,) = (filled.spool / "parked").glob("*.reason.json")
    written = json.loads(reason.read_text())
    assert written["error"] == FutureArchiveError.code
    reason.write_text(json.dumps(written | {"error": code}))

    def found(now: datetime) -> str:
        (one,) = examine_again(filled.settings, filled.catalog, parked, now)
        return one.problem

    assert "is dated" in found(filled.clock())
    fits = "fits the receiver now" in found(datetime.now(UTC))
    assert fits is (code != "load-refused")
