"""A preview is a verdict on the archive only if the archive is why it could not be loaded."""

from __future__ import annotations

import pytest

from ar_sync_pipeline.postgres.errors import DatabaseRefusedError
from ar_sync_pipeline.sync.load import examine, preview
from ar_sync_pipeline.sync.load.preview import Verdict, preview_load
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.sync.load.test_one_bad_archive import damage


def refuse(*_arguments: object) -> None:
    raise DatabaseRefusedError("the role may not read it", remedy="GRANT SELECT")


@pytest.mark.parametrize("step", ["read_migrations", "read_lock_table"])
def test_missing_right_is_no_verdict_on_the_archive(
    filled: TwoSites, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled.complete()
    module = examine if step == "read_migrations" else preview
    monkeypatch.setattr(module, step, refuse)
    with pytest.raises(DatabaseRefusedError):
        preview_load(filled.settings, filled.catalog, path, filled.clock)


def test_damaged_archive_would_be_quarantined(filled: TwoSites) -> None:
    path = filled.complete()
    damage(path)
    found = preview_load(filled.settings, filled.catalog, path, filled.clock)
    assert found.verdict is Verdict.QUARANTINED


def test_archive_without_its_column_would_be_parked(filled: TwoSites) -> None:
    path = filled.complete()
    filled.at_receiver("ALTER TABLE app_child DROP COLUMN amount")
    found = preview_load(filled.settings, filled.catalog, path, filled.clock)
    assert found.verdict is Verdict.PARKED
    assert "app_child.amount" in found.reason


def test_archive_that_the_receiver_refuses_would_be_parked(filled: TwoSites) -> None:
    path = filled.complete()
    filled.at_receiver("ALTER TABLE app_child ADD CHECK (amount < 0)")
    found = preview_load(filled.settings, filled.catalog, path, filled.clock)
    assert found.verdict is Verdict.PARKED
