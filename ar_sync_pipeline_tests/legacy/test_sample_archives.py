"""Two real archives of the old system, loaded as they are: the receiver is replaced first."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.catalog.loader import load_catalog
from ar_sync_pipeline.demo.equality import prove_equal_tables
from ar_sync_pipeline.postgres.connect import connect
from ar_sync_pipeline.postgres.ledger import read_sender
from ar_sync_pipeline_tests.fix_sites import TwoSites, execute, rows

COMPLETE = "backup_2017-09-25__03_30_00.tar.gz"
PARTIAL = "backup_2017-09-25__10_00_00.tar.gz"
EVENTS = '"AndroidRequests_eventforbusv2"'
# What the archive is known to hold.
EXPORTED = {
    "report": 40,
    "eventforbusstop": 71,
    "stadisticdatafromregistrationbusstop": 71,
    "eventforbusv2": 123,
    "stadisticdatafromregistrationbus": 123,
    "busassignment": 116,
    "busv2": 105,
}


class Migration:
    """One receiver, the sender at stages A and B, and the old sender's archives of both."""

    def __init__(self, before: TwoSites, after: TwoSites, samples: Path) -> None:
        self.before = before
        self.after = after
        self._samples = samples

    def sample(self, kind: str, name: str) -> Path:
        return self._samples / "archives" / f"{kind}_NEW_{name}"

    def arrives(self, kind: str, name: str) -> Path:
        """Put a sample archive into the spool, as the old sender's upload does."""
        target = self.before.spool / kind / f"NEW_{name}"
        shutil.copyfile(self.sample(kind, name), target)
        os.utime(target, (0, 0))
        return target

    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """What the partial holds, by table, read without the product."""
        database = inner(self.sample("partial", PARTIAL), "database.tar.gz")
        found = [json.loads(content) for content in database.values()]
        return {rows_[0]["model"].replace(".", "_"): rows_ for rows_ in found}

    def pictures(self, kind: str, name: str) -> dict[str, bytes]:
        return inner(self.sample(kind, name), "images.tar.gz")

    def installed(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.before.receiver_media.iterdir()}

    def spooled(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.before.spool / folder).iterdir())


def inner(archive: Path, member: str) -> dict[str, bytes]:
    """The files of a tar.gz inside a tar.gz."""
    with tarfile.open(archive) as outer:
        packed = outer.extractfile(member)
        assert packed is not None
        content = io.BytesIO(gzip.decompress(packed.read()))
    with tarfile.open(fileobj=content) as files:
        return {m.name: f.read() for m in files if (f := files.extractfile(m)) is not None}


@pytest.fixture
def migration(
    sample_sender_a: str,
    sample_sender_b: str,
    receiver_db: str,
    sample_folder: Path,
    tmp_path: Path,
) -> Migration:
    environ = {"AR_SYNC_OLD_ARCHIVES": "accept", "AR_SYNC_TIME": "60"}
    before, after = (
        TwoSites(url, receiver_db, load_catalog(), tmp_path, environ)
        for url in (sample_sender_a, sample_sender_b)
    )
    with psycopg.connect(receiver_db) as connection:
        # The dumps of the sample leave out the table of Django.
        connection.execute("DELETE FROM django_migrations")
    return Migration(before, after, sample_folder)


def differences(sites: TwoSites) -> list[str]:
    return [t.table for t in prove_equal_tables(sites.sender, sites.receiver) if not t.equal]


@pytest.mark.long
def test_receiver_is_replaced_first_and_the_sender_later(migration: Migration) -> None:
    complete_makes_the_receiver_equal(migration)
    a_complete_that_comes_twice_is_taken_once(migration)
    people_work_at_the_receiver(migration)
    partial_brings_its_rows_and_takes_nothing(migration)
    first_archive_of_the_new_sender_takes_over(migration)


def complete_makes_the_receiver_equal(migration: Migration) -> None:
    migration.arrives("complete", COMPLETE)
    (loaded,) = migration.before.load().loaded
    assert loaded.manifest.name.applied == "backup_complete_20170925T063000.000000Z.tar"
    assert differences(migration.before) == []
    assert migration.installed() == migration.pictures("complete", COMPLETE)
    assert len(migration.installed()) == 24
    assert migration.spooled("complete") == [COMPLETE, loaded.manifest.name.applied]
    assert migration.spooled("parked") == []
    last = 'SELECT last_value, is_called FROM public."AndroidRequests_busstop_id_seq"'
    assert rows(migration.before.receiver, last) == rows(migration.before.sender, last)


def a_complete_that_comes_twice_is_taken_once(migration: Migration) -> None:
    before = ledger(migration)
    migration.arrives("complete", COMPLETE)
    admission = migration.before.admit()
    assert (admission.admitted, admission.parked, admission.quarantined) == ((), (), ())
    assert ledger(migration) == before
    assert COMPLETE in migration.spooled("complete")
    assert not [name for name in migration.spooled("complete") if name.startswith("NEW_")]


def people_work_at_the_receiver(migration: Migration) -> None:
    ids = ", ".join(str(row["pk"]) for row in migration.objects()[EVENTS.strip('"')])
    execute(
        migration.before.receiver,
        f"UPDATE {EVENTS} SET fixed = true WHERE id % 2 = 0 OR id IN ({ids})",
        f"UPDATE {EVENTS} SET transformed = true",
    )


def partial_brings_its_rows_and_takes_nothing(migration: Migration) -> None:
    fixed = rows(migration.before.receiver, f"SELECT id FROM {EVENTS} WHERE fixed ORDER BY id")
    migration.arrives("partial", PARTIAL)
    (loaded,) = migration.before.load().loaded
    assert loaded.manifest.name.applied == "backup_partial_20170925T130000.000000Z.tar"
    nine, ten = (datetime(2017, 9, 25, hour, tzinfo=UTC) for hour in (12, 13))
    assert loaded.manifest.window == Window(start=nine, end=ten)
    exported = {
        t.name.removeprefix("AndroidRequests_"): t.row_count for t in loaded.manifest.tables
    }
    assert exported == EXPORTED
    for table, objects in migration.objects().items():
        assert_rows_are_those_of_stage_b(migration, table, [row["pk"] for row in objects])
    kept = rows(migration.before.receiver, f"SELECT id FROM {EVENTS} WHERE fixed ORDER BY id")
    assert kept == fixed
    brought = migration.pictures("partial", PARTIAL)
    assert len(brought) == 11
    assert brought.items() <= migration.installed().items()


def assert_rows_are_those_of_stage_b(migration: Migration, table: str, keys: list[int]) -> None:
    """To the millisecond; a time that was there before keeps its microseconds (D20, D22)."""
    names = rows(
        migration.after.sender,
        "SELECT column_name, data_type FROM information_schema.columns"
        f" WHERE table_name = '{table}' ORDER BY 1",
    )
    times = [f'"{name}"' for name, kind in names if str(kind).startswith("timestamp")]
    cut = [f"date_trunc('milliseconds', {name})" for name in times]
    others = [f'"{name}"' for name, _ in names if f'"{name}"' not in times]
    where = f"id IN ({', '.join(map(str, keys))})"

    def of(url: str, columns: list[str]) -> list[tuple[object, ...]]:
        query = f'SELECT id, {", ".join(columns)} FROM "{table}" WHERE {where} ORDER BY id'
        return rows(url, query)

    receiver, old, new = (
        site for site in (migration.after.receiver, migration.before.sender, migration.after.sender)
    )
    assert of(receiver, others + cut) == of(new, others + cut)
    if times:
        before = {row[0]: row[1:] for row in of(old, times)}
        exact = {row[0]: row[1:] for row in of(new, times)}
        for key, *found in of(receiver, times):
            for position, value in enumerate(found):
                if key in before and before[key][position] == exact[key][position]:
                    assert value == before[key][position]


def first_archive_of_the_new_sender_takes_over(migration: Migration) -> None:
    assert sender_of(migration) == "old-system"
    migration.after.complete()
    migration.after.load()
    assert differences(migration.after) == []
    assert sender_of(migration) != "old-system"
    late = migration.arrives("partial", PARTIAL)
    late.rename(late.with_name("NEW_backup_2017-09-25__10_05_00.tar.gz"))
    (refused,) = migration.after.admit().quarantined
    assert "this receiver follows the new sender" in str(refused)
    assert differences(migration.after) == []


def sender_of(migration: Migration) -> str:
    with connect(migration.after.receiver, application="test") as connection:
        sender = read_sender(connection)
    assert sender is not None
    return sender.system_identifier


def ledger(migration: Migration) -> list[tuple[object, ...]]:
    return rows(
        migration.before.receiver, "SELECT archive_id, applied_at FROM ar_sync.applied_archive"
    )
