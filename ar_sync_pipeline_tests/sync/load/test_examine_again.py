"""Why parked archives wait now: what was remedied since they were parked counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ar_sync_pipeline.archive.errors import NewerFormatError
from ar_sync_pipeline.archive.manifest import NEWEST_FORMAT
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.spool.reasons import read_reason
from ar_sync_pipeline.spool.receipts import read_receipt
from ar_sync_pipeline.spool.states import list_parked
from ar_sync_pipeline.sync.errors import FutureArchiveError
from ar_sync_pipeline.sync.load.delete_guard import held_by_guard
from ar_sync_pipeline.sync.load.examine_again import examine_again
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, remake


def test_load_of_partials_writes_why_a_complete_waits_after_the_upgrade(
    filled: TwoSites, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check, and the receipt that the sender shows, have the reason that is written."""
    remake(filled.complete(), tmp_path / "remade", format=NEWEST_FORMAT + 1)
    filled.load()
    (parked,) = list_parked(filled.spool)
    before = read_reason(parked.path)
    assert before is not None
    (still,) = filled.admit([ArchiveKind.PARTIAL]).waiting_for_schema
    assert "made by a newer version" in still.problem
    monkeypatch.setattr("ar_sync_pipeline.archive.manifest_reader.NEWEST_FORMAT", NEWEST_FORMAT + 1)
    (now,) = filled.admit([ArchiveKind.PARTIAL]).waiting_for_schema
    assert (
        now.problem == f"{parked.name.applied} fits the receiver now, and waits for the next load"
    )
    assert now.since == before.since
    receipt = read_receipt(filled.spool, parked.name, signing_keys=())
    assert receipt is not None
    assert "fits the receiver now" in receipt.reason
    filled.at_receiver("ALTER TABLE app_child DROP amount")
    (later,) = filled.admit([ArchiveKind.PARTIAL]).waiting_for_schema
    assert "the receiver lacks column app_child.amount" in later.problem
    filled.at_receiver("ALTER TABLE app_child ADD amount double precision")
    assert len(filled.load().loaded) == 1
    assert equal(filled)


@pytest.mark.long
def test_load_of_partials_leaves_what_waits_for_an_approval(filled: TwoSites) -> None:
    filled.environ["AR_SYNC_DELETE_GUARD"] = "5"
    filled.complete()
    filled.load()
    filled.at_sender("DELETE FROM app_child")
    filled.complete()
    filled.load()
    (parked,) = list_parked(filled.spool)
    before = read_reason(parked.path)
    filled.admit([ArchiveKind.PARTIAL])
    assert held_by_guard(parked)
    assert read_reason(parked.path) == before


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
