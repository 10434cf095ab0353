from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.receiver.sites import PostprocessedSites


@pytest.fixture
def sites(shared_databases: SharedDatabases, tmp_path: Path) -> PostprocessedSites:
    """Return both servers of AndroidRequests, empty."""
    sender, receiver = shared_databases.clean("sender"), shared_databases.clean("receiver")
    return PostprocessedSites(TwoSites(sender, receiver, load_catalog(), tmp_path))
