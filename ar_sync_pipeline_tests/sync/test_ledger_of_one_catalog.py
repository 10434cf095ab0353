"""Two catalogs that load into one database do not share a ledger by accident."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ar_sync_pipeline.postgres.errors import LedgerOfAnotherCatalogError
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


def test_a_renamed_catalog_goes_on_as_the_message_says(filled: TwoSites) -> None:
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
