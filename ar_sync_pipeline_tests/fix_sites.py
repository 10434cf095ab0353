"""A sender and a receiver without Dagster and SFTP: only the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ar_sync_pipeline.archive.manifest import Watermark, Window
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.archive.reader import open_archive, verify_archive
from ar_sync_pipeline.archive.writer import ArchiveSource
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.clock import Clock
from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.sync.dump.assemble import assemble
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete, dump_partial
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest
from ar_sync_pipeline.sync.load.admit import Admission, admit_archives
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline_tests.fix_postgres import DatabaseFactory
from ar_sync_pipeline_tests.open_sessions import session


@dataclass
class TwoSites:
    """Operations of a test on two servers."""

    sender: str
    receiver: str
    catalog: Catalog
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    clock: Clock = lambda: datetime.now(UTC)
    sender_name: str = ""
    pseudonym_key: str | None = None

    def __post_init__(self) -> None:
        for name in ("sender_media", "receiver_media", "scratch", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        prepare_spool(self.spool)

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def sender_media(self) -> Path:
        return self.folder / "sender_media"

    @property
    def receiver_media(self) -> Path:
        return self.folder / "receiver_media"

    @property
    def database(self) -> SenderDatabase:
        """The sender's database, as dumps read it."""
        return SenderDatabase(
            self.sender, self.catalog, self.clock, pseudonym_key=self.pseudonym_key
        )

    @property
    def settings(self) -> ReceiverSettings:
        return load_receiver_settings(
            {
                "AR_SYNC_RECEIVER_DATABASE_URL": self.receiver,
                "AR_SYNC_RECEIVER_MEDIA_FLDR": str(self.receiver_media),
                "AR_SYNC_REMOTE_BKP_FLDR": str(self.spool),
                "AR_SYNC_TRANSFORM": "none",
                "AR_SYNC_STATE_FLDR": str(self.folder / "state"),
                # Most tests delete many rows; those of the guard set it.
                "AR_SYNC_DELETE_GUARD": "100",
                **self.environ,
            }
        )

    def complete(self, since: Watermark | None = None) -> Path:
        """Dump a complete directly into the spool; return the waiting file."""
        build = open_build(self.folder / "scratch", uuid4().hex)
        dump_complete(self.database, build, CompleteRequest(since))
        return self.seal(build)

    def partial(self, window: Window, *, minutes: int = 15, since: Watermark | None = None) -> Path:
        """Dump a partial directly into the spool; return the waiting file."""
        build = open_build(self.folder / "scratch", uuid4().hex)
        request = PartialRequest(window, timedelta(minutes=minutes), since)
        dump_partial(self.database, build, request)
        return self.seal(build)

    def load(self, kinds: Sequence[ArchiveKind] = tuple(ArchiveKind)) -> LoadReport:
        """Admit and load the waiting archives."""
        return load_archives(self.settings, self.catalog, self.admit(kinds).names, self.clock)

    def admit(self, kinds: Sequence[ArchiveKind] = tuple(ArchiveKind)) -> Admission:
        return admit_archives(self.settings, self.catalog, self.clock, kinds)

    def at_sender(self, *statements: str) -> None:
        execute(self.sender, *statements)

    def at_receiver(self, *statements: str) -> None:
        execute(self.receiver, *statements)

    def seal(self, build: BuildFolder) -> Path:
        bundle_media(build, self.database, self.sender_media, ["*.jpeg"])
        source = assemble(build, self.sender_media, self.sender_name, None)
        manifest = source.manifest
        target = self.spool / str(manifest.kind) / manifest.name.waiting
        source.write_to(target)
        build.remove()
        return target


PARENTS = "SELECT id, code, label FROM app_parent ORDER BY id"
CHILDREN = "SELECT id, parent_id, changed, amount, picture FROM app_child ORDER BY id"


def equal(sites: TwoSites, query: str = CHILDREN) -> bool:
    """Return whether the tables of both servers are equal."""
    return rows(sites.sender, query) == rows(sites.receiver, query)


def watermark_of(path: Path) -> Watermark:
    """Return the watermark of an archive."""
    return verify_archive(path, signing_keys=()).watermark


def remake(path: Path, folder: Path, **changes: object) -> None:
    """Rebuild an archive with changes in its manifest."""
    folder.mkdir()
    members: dict[str, Path] = {}
    with open_archive(path) as reader:
        manifest = reader.manifest.model_copy(update=changes)
        for number, (name, stream) in enumerate(reader.members()):
            members[name] = folder / str(number)
            members[name].write_bytes(stream.read() or b"")
    path.unlink()
    ArchiveSource(manifest, members).write_to(path)


def recent_window(minutes_back: float = 5) -> Window:
    """Return a window that ends in five seconds, so that it contains the newest changes."""
    end = datetime.now(UTC) + timedelta(seconds=5)
    return Window(start=end - timedelta(minutes=minutes_back), end=end)


def execute(url: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with session(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Return all rows of a small query."""
    with session(url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def small_catalog() -> Catalog:
    """Return a catalog of two tables of a fake application, parents and children.

    It uses all features.
    """
    return Catalog.model_validate(
        {
            "name": "small",
            "tables": ["app_*"],
            "receiver_tables": ["app_note"],
            "table": {
                "app_parent": {
                    "receiver_columns": ["seen", "transformed"],
                    "reset_on_change": {"transformed": False},
                    "rewritten_by_transform": ["label"],
                },
                "app_child": {"changed_at": "changed", "media_columns": ["picture"]},
            },
        }
    )


SMALL_SENDER = (
    "CREATE TABLE app_parent (id serial PRIMARY KEY, code text UNIQUE, label text)",
    (
        "CREATE TABLE app_child (id serial PRIMARY KEY, parent_id integer NOT NULL"
        " REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED, changed timestamptz NOT NULL"
        " DEFAULT clock_timestamp(), amount double precision, picture text)"
    ),
)
SMALL_RECEIVER = (
    *SMALL_SENDER,
    "ALTER TABLE app_parent ADD seen boolean, ADD transformed boolean",
    (
        "CREATE TABLE app_note (id serial PRIMARY KEY, parent_id integer NOT NULL"
        " REFERENCES app_parent DEFERRABLE INITIALLY DEFERRED, maybe_id integer"
        " REFERENCES app_child DEFERRABLE INITIALLY DEFERRED, text text)"
    ),
)


@pytest.fixture
def small_sites(
    database_factory: DatabaseFactory, small_catalog: Catalog, tmp_path: Path
) -> TwoSites:
    """Two servers of the small application, both empty."""
    sender, receiver = database_factory(), database_factory()
    execute(sender, *SMALL_SENDER)
    execute(receiver, *SMALL_RECEIVER)
    return TwoSites(sender, receiver, small_catalog, tmp_path)


@pytest.fixture
def filled(small_sites: TwoSites) -> TwoSites:
    """Two servers of the small application; the sender has 50 parents with 2,000 old children."""
    small_sites.at_sender(
        "INSERT INTO app_parent (code, label) SELECT 'c' || n, 'label ' || n"
        " FROM generate_series(1, 50) n",
        "INSERT INTO app_child (parent_id, amount, changed)"
        " SELECT 1 + n % 50, n / 3.0, now() - interval '1 day' FROM generate_series(1, 2000) n",
    )
    return small_sites
