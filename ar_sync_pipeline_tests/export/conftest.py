from __future__ import annotations

from pathlib import Path

import pytest

from ar_sync_pipeline_tests.export.source import Source


@pytest.fixture
def source(empty_database: str, tmp_path: Path) -> Source:
    """Return an empty sender's database and the catalog of its tables ``t_*``."""
    return Source(empty_database, tmp_path)
