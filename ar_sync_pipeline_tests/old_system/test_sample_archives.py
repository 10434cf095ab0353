"""Two real archives of the old system, loaded as they are: the receiver is replaced first."""

from __future__ import annotations

import json
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.equality import compare_databases
from ar_sync_pipeline.sync.admit import Admission
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows

COMPLETE = "NEW_backup_2017-09-25__03_30_00.tar.gz"
PARTIAL = "NEW_backup_2017-09-25__10_00_00.tar.gz"
NEW_COMPLETE = "backup_complete_20170925T063000.000000Z.tar"
NEW_PARTIAL = "backup_partial_20170925T130000.000000Z.tar"
EVENTS = '"AndroidRequests_eventforbusv2"'
SHIPPED = {
    "report": 40,
    "eventforbusstop": 71,
    "stadisticdatafromregistrationbusstop": 71,
    "eventforbusv2": 123,
    "stadisticdatafromregistrationbus": 123,
    "busassignment": 116,
    "busv2": 105,
}
ACCEPTS = {"AR_SYNC_OLD_ARCHIVES": "accept", "AR_SYNC_TIME": "60"}


class Sample:
    """One receiver, and the sender at stages A and B."""

    def __init__(self, before: TwoSites, after: TwoSites, archives: Path) -> None:
        self.before = before
        self.after = after
        self._archives = archives

    def put(self, kind: str, name: str) -> Path:
        """Copy a sample archive into the spool, as the old sender's upload does."""
        target = self.before.spool / kind / name
        shutil.copyfile(self._archives / f"{kind}_{name}", target)
        return target


@pytest.fixture
def sample(
    sample_sender_a: str,
    sample_sender_b: str,
    receiver_db: str,
    sample_folder: Path,
    tmp_path: Path,
) -> Sample:
    sites = [
        TwoSites(url, receiver_db, load_catalog(), tmp_path, dict(ACCEPTS))
        for url in (sample_sender_a, sample_sender_b)
    ]
    with psycopg.connect(receiver_db) as connection:
        # The dumps of the sample leave out Django's own table.
        connection.execute("DELETE FROM django_migrations")
    return Sample(sites[0], sites[1], sample_folder / "archives")


def differing(sites: TwoSites) -> dict[str, int]:
    return {
        t.table: t.differing_rows
        for t in compare_databases(sites.sender, sites.receiver)
        if not t.equal
    }


def test_first(sample):
    sample.put("complete", COMPLETE)
    print(sample.before.admit())
    print(sample.before.load())
    print(differing(sample.before))
    sample.put("partial", PARTIAL)
    print(sample.before.load())
    print(differing(sample.after))
