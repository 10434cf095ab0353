"""The old system's own data, at two times: what it lost or broke is replicated here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.reader import verify_archive
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.equality import TableComparison, prove_equal_tables
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows

EVENTS = '"AndroidRequests_eventforbusv2"'
# What the old system's partial of stage B contained with TIME = 60.
OLD_PARTIAL = {
    "report": 40,
    "eventforbusstop": 71,
    "stadisticdatafromregistrationbusstop": 71,
    "eventforbusv2": 123,
    "stadisticdatafromregistrationbus": 123,
    "busassignment": 116,
    "busv2": 105,
}


@pytest.fixture
def sites(
    sample_sender_a: str, sample_sender_b: str, receiver_db: str, tmp_path: Path
) -> tuple[TwoSites, TwoSites]:
    """Return the sender at stage A and at stage B, under one name, before one receiver."""
    environ = {"AR_SYNC_SENDER_NAME": "production"}
    catalog = load_catalog()
    made = [
        TwoSites(url, receiver_db, catalog, tmp_path, environ, sender_name="production")
        for url in (sample_sender_a, sample_sender_b)
    ]
    with psycopg.connect(receiver_db) as connection:
        # The dumps of the sample do not contain the table of Django's migrations.
        connection.execute("DELETE FROM django_migrations")
    return made[0], made[1]


def differences(sites: TwoSites) -> list[TableComparison]:
    return [t for t in prove_equal_tables(sites.sender, sites.receiver) if not t.equal]


def become_one_database(after: TwoSites) -> None:
    """Record that the receiver has rows of the database at stage B: both are one, at two times."""
    execute(
        after.receiver,
        "UPDATE ar_sync.applied_archive SET sender = jsonb_set(sender, '{database}',"
        f" to_jsonb('{after.sender.rpartition('/')[2]}'::text))",
    )


@pytest.mark.long
def test_receiver_ends_equal_in_every_shared_column_and_keeps_fixed(
    sites: tuple[TwoSites, TwoSites], sample_folder: Path
) -> None:
    """D6, D20, D21, D22 and D31: a second complete over a receiver that is in use."""
    before, after = sites
    before.complete()
    before.load()
    assert differences(before) == []
    fixed = json.loads((sample_folder / "fixed.json").read_text())
    ids = sorted(key for keys in fixed.values() for key in keys)
    execute(
        after.receiver,
        f"UPDATE {EVENTS} SET fixed = true WHERE id = ANY ('{{{ids}}}')".replace("[", "").replace(
            "]", ""
        ),
    )
    after.complete()
    after.load()
    assert differences(after) == []
    kept = rows(after.receiver, f"SELECT id FROM {EVENTS} WHERE fixed ORDER BY id")
    assert [key for (key,) in kept] == ids


@pytest.mark.long
def test_d9_partial_brings_new_buses_with_their_events(sites: tuple[TwoSites, TwoSites]) -> None:
    before, after = sites
    before.complete()
    before.load()
    become_one_database(after)
    end = datetime(2017, 9, 25, 13, 0, tzinfo=UTC)
    path = after.partial(Window(start=end.replace(hour=12, minute=55), end=end), minutes=60)
    sent = {
        table.name.removeprefix("AndroidRequests_"): table.row_count
        for table in verify_archive(path, signing_keys=()).tables
    }
    assert {name: sent[name] >= count for name, count in OLD_PARTIAL.items()} == dict.fromkeys(
        OLD_PARTIAL, True
    )
    after.load()
    new = rows(after.receiver, f"SELECT count(*) FROM {EVENTS} WHERE id BETWEEN 2501 AND 2560")
    assert new == [(60,)]
