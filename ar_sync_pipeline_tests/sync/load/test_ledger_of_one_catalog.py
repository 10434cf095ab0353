"""Two catalogs that load into one database do not share a ledger by accident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ar_sync_pipeline.postgres.checks.findings import Level
from ar_sync_pipeline.postgres.errors import LedgerOfAnotherCatalogError
from ar_sync_pipeline.sync.watch.database_findings import check_receiver
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import TwoSites, equal, rows


def test_a_second_catalog_is_refused_by_name(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    other = replace(filled, catalog=filled.catalog.model_copy(update={"name": "other"}))
    with pytest.raises(LedgerOfAnotherCatalogError, match=r"catalog small.*the catalog other"):
        other.load()


def test_its_archives_are_left_where_they_are(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    waiting = filled.complete()
    other = replace(filled, catalog=filled.catalog.model_copy(update={"name": "other"}))
    with pytest.raises(LedgerOfAnotherCatalogError):
        other.admit()
    assert waiting.exists()


def test_preflight_and_status_name_the_other_catalog(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    other = replace(filled, catalog=filled.catalog.model_copy(update={"name": "other"}))
    errors = [
        one for one in check_receiver(other.receiver, other.catalog) if one.level is Level.ERROR
    ]
    assert ["catalog small" in one.problem for one in errors] == [True]
    assert all(
        one.level is not Level.ERROR for one in check_receiver(filled.receiver, filled.catalog)
    )
    assert receiver_status(filled.settings, filled.catalog, filled.clock()).lag.data_until
    with pytest.raises(LedgerOfAnotherCatalogError):
        receiver_status(other.settings, other.catalog, other.clock())


def test_a_renamed_catalog_continues_as_the_message_says(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    renamed = replace(filled, catalog=filled.catalog.model_copy(update={"name": "renamed"}))
    renamed.at_receiver("UPDATE ar_sync.replicated_catalog SET name = 'renamed'")
    renamed.complete()
    assert renamed.load().loaded
    assert equal(renamed)


def test_a_ledger_of_an_earlier_version_is_claimed(filled: TwoSites) -> None:
    filled.complete()
    filled.load()
    filled.at_receiver("DROP TABLE ar_sync.replicated_catalog")
    filled.complete()
    assert filled.load().loaded
    assert rows(filled.receiver, "SELECT name FROM ar_sync.replicated_catalog") == [("small",)]
