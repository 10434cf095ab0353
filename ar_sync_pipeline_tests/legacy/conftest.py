"""A receiver that is offered archives of the old system."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline_tests.fix_shared_databases import SharedDatabases
from ar_sync_pipeline_tests.fix_sites import TwoSites
from ar_sync_pipeline_tests.legacy.building import complete

STAMP = "2017-09-25__03_30_00"


class OldReceiver(TwoSites):
    """A receiver without a sender of its own."""

    def offer(self, content: bytes, kind: str = "complete", stamp: str = STAMP) -> Path:
        """Put an archive into the spool, as the old sender's upload does."""
        path = self.spool / kind / f"NEW_backup_{stamp}.tar.gz"
        path.write_bytes(content)
        hours_ago = datetime.now(UTC) - timedelta(hours=2)
        os.utime(path, (hours_ago.timestamp(), hours_ago.timestamp()))
        return path

    def files(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.spool / folder).iterdir())


@pytest.fixture
def receiver(shared_databases: SharedDatabases, tmp_path: Path) -> OldReceiver:
    """A receiver with empty AndroidRequests tables, which accepts old archives."""
    url = shared_databases.clean("receiver")
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM django_migrations")
    environ = {"AR_SYNC_OLD_ARCHIVES": "accept", "AR_SYNC_TIME": "60"}
    return OldReceiver("", url, load_catalog(), tmp_path, environ)


@pytest.fixture
def filled_receiver(receiver: OldReceiver) -> OldReceiver:
    """One that has loaded a small complete."""
    receiver.offer(complete())
    assert len(receiver.load().loaded) == 1
    return receiver
