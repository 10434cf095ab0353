"""Another database or schema under the name of the sender's, in the same cluster.

Its rows and its system catalogs have the transaction ids with which they were written, all of which
the last archive's snapshot has seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

import pytest

from ar_sync_pipeline.archive.manifest import Manifest
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.sync.dump.known_objects import OBJECTS_FILE
from ar_sync_pipeline.sync.watch.receiver_status import receiver_status
from ar_sync_pipeline_tests.fix_sites import execute
from ar_sync_pipeline_tests.open_sessions import close_sessions
from ar_sync_pipeline_tests.sync.fix_differential import (
    assert_applied,
    assert_equal,
    carried,
    load,
)
from ar_sync_pipeline_tests.sync.fix_media_sender import MediaSender

CHANGE = (
    "UPDATE app_child SET amount = -1 WHERE id < 100",
    "UPDATE app_parent SET label = 'new' WHERE id = 3",
)
SWAP_SCHEMAS = "BEGIN; ALTER SCHEMA public RENAME TO old; ALTER SCHEMA next RENAME TO public; END"


class Databases:
    """The databases of the sender's cluster."""

    def __init__(self, url: str) -> None:
        self._address: SplitResult = urlsplit(url)
        self.name = self._address.path.lstrip("/")

    def url(self, name: str) -> str:
        return self._address._replace(path=f"/{name}").geturl()

    def copy(self, name: str) -> None:
        """Copy the sender's database with the ids of its transactions."""
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{self.name}"')

    def put_in_place(self, name: str) -> None:
        """Give another database the name of the sender's, whose rows are lost."""
        self._run(f'DROP DATABASE "{self.name}"', f'ALTER DATABASE "{name}" RENAME TO {self.name}')

    def drop(self, name: str) -> None:
        self._run(f'DROP DATABASE IF EXISTS "{name}"')

    def _run(self, *statements: str) -> None:
        close_sessions(self.url(self.name))
        execute(self.url("postgres"), *statements)


@pytest.fixture
def databases(pair: MediaSender) -> Iterator[Databases]:
    databases = Databases(pair.sites.sender)
    yield databases
    databases.drop(f"{databases.name}_copy")


def data_until(pair: MediaSender) -> object:
    checkpoint = Checkpoint.read(pair.sites.spool, signing_keys=())
    assert checkpoint is not None
    assert checkpoint.watermark is not None
    return checkpoint.watermark.snapshot_at


def status(pair: MediaSender) -> str:
    sites = pair.sites
    return str(receiver_status(sites.settings, sites.catalog, sites.clock()).lag)


def loaded(pair: MediaSender, manifest: Manifest) -> Manifest:
    assert [archive.manifest.archive_id for archive in load(pair).loaded] == [manifest.archive_id]
    return manifest


@pytest.mark.long
def test_copy_of_the_database_is_another_history(pair: MediaSender, databases: Databases) -> None:
    copy = f"{databases.name}_copy"
    databases.copy(copy)
    pair.sites.at_sender(*CHANGE)
    assert_applied(pair, pair.complete())
    reached = data_until(pair)
    databases.put_in_place(copy)
    partial = loaded(pair, pair.partial())
    assert (partial.since, partial.new_history) == (None, True)
    # The rows of before are not in this partial: the receiver knows that it has a gap.
    assert data_until(pair) == reached
    assert "the sender's database was restored, failed over or replaced" in status(pair)
    complete = pair.complete()
    assert complete.base is None
    assert_applied(pair, complete)
    assert data_until(pair) == complete.snapshot_at
    assert "all is well" in status(pair)
    assert loaded(pair, pair.partial()).since is not None
    assert_applied(pair, pair.complete())


@pytest.mark.long
def test_complete_that_comes_first_carries_the_rows_of_the_copy(
    pair: MediaSender, databases: Databases
) -> None:
    copy = f"{databases.name}_copy"
    databases.copy(copy)
    pair.sites.at_sender(*CHANGE)
    assert_applied(pair, pair.complete())
    databases.put_in_place(copy)
    assert_applied(pair, pair.complete())


@pytest.fixture
def swapped(pair: MediaSender) -> MediaSender:
    """The sender's tables are replaced by tables of as many rows, by names of schemas."""
    pair.sites.at_sender(
        "CREATE SCHEMA next",
        "CREATE TABLE next.app_parent (LIKE app_parent INCLUDING ALL)",
        "INSERT INTO next.app_parent SELECT id, code, upper(label) FROM app_parent",
        "CREATE TABLE next.app_child (LIKE app_child INCLUDING ALL)",
        "INSERT INTO next.app_child SELECT id, parent_id, changed, amount + 1 FROM app_child",
        "ALTER TABLE next.app_child ADD FOREIGN KEY (parent_id) REFERENCES next.app_parent"
        " DEFERRABLE INITIALLY DEFERRED",
    )
    for table in ("app_parent", "app_child"):
        pair.sites.at_sender(
            f"CREATE SEQUENCE next.{table}_id_seq OWNED BY next.{table}.id",
            f"ALTER TABLE next.{table} ALTER id SET DEFAULT nextval('next.{table}_id_seq')",
        )
    # The receiver has this snapshot, which has seen the other tables too.
    assert_applied(pair, pair.complete())
    pair.sites.at_sender(SWAP_SCHEMAS)
    return pair


@pytest.mark.long
def test_tables_of_another_schema_come_whole(swapped: MediaSender) -> None:
    partial = loaded(swapped, swapped.partial())
    assert {table.name for table in partial.tables if table.whole} == {"app_parent", "app_child"}
    assert_equal(swapped)
    assert loaded(swapped, swapped.partial()).tables == ()
    assert_applied(swapped, swapped.complete())


def test_complete_reads_the_tables_of_another_schema(swapped: MediaSender) -> None:
    manifest = swapped.complete()
    assert (carried(manifest), carried(manifest, "app_parent")) == ([0], [0])
    assert_applied(swapped, manifest)


def test_rights_and_a_lost_file_send_nothing(pair: MediaSender) -> None:
    """Neither is a sign of another database."""
    name = Databases(pair.sites.sender).name
    pair.sites.at_sender(
        "GRANT USAGE ON SCHEMA public TO pg_monitor",
        f"GRANT CONNECT ON DATABASE {name} TO pg_monitor",
        "ALTER SCHEMA public RENAME TO aside",
        "ALTER SCHEMA aside RENAME TO public",
    )
    assert loaded(pair, pair.partial()).tables == ()
    (pair.scratch / OBJECTS_FILE).unlink()
    partial = loaded(pair, pair.partial())
    assert (partial.tables, partial.since is None) == ((), False)
