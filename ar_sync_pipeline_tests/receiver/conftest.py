from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.receiver.sites import PostprocessedSites


@pytest.fixture
def sites(sender_db: str, receiver_db: str, tmp_path: Path) -> PostprocessedSites:
    """Both servers of AndroidRequests, empty."""
    return PostprocessedSites(TwoSites(sender_db, receiver_db, load_catalog(), tmp_path))
