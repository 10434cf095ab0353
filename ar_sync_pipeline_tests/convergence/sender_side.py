"""The sender of a history: traffic, transactions that stay open, dumps with the real watermark."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg

from ar_sync_pipeline.archive.manifest import Window
from ar_sync_pipeline.archive.names import ArchiveName
from ar_sync_pipeline.catalog.model import Catalog
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.receipts import read_receipt
from ar_sync_pipeline.sync.dump.assemble import assemble
from ar_sync_pipeline.sync.dump.build_folder import BuildFolder, open_build
from ar_sync_pipeline.sync.dump.bundle_media import bundle_media
from ar_sync_pipeline.sync.dump.choose_base import choose_base
from ar_sync_pipeline.sync.dump.dump_tables import SenderDatabase, dump_complete, dump_partial
from ar_sync_pipeline.sync.dump.kept_manifests import keep_manifest
from ar_sync_pipeline.sync.dump.media_journal import open_journal, versions_of
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView, unsettled
from ar_sync_pipeline.sync.dump.sender_journal import read_sent, remember_receipts, remember_sent
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive
from ar_sync_pipeline.sync.dump.starting_point import believable, newest_joined, newest_snapshot
from ar_sync_pipeline.sync.dump.table_dump import CompleteRequest, PartialRequest
from ar_sync_pipeline_tests.convergence.application import CATALOG, TABLES
from ar_sync_pipeline_tests.convergence.model import Shipment
from ar_sync_pipeline_tests.convergence.row_images import (
    Connection,
    State,
    read_state,
    rows_in_archive,
)
from ar_sync_pipeline_tests.convergence.traffic import Write
from ar_sync_pipeline_tests.convergence.true_digests import assert_digests_are_true

INTERVAL, LOOK_BACK = timedelta(minutes=1), timedelta(minutes=3)
_REFUSALS = (
    psycopg.IntegrityError,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UnsafeNewEnumValueUsage,
)


class VirtualClock:
    """A clock that a test moves on; no two looks at it are equal."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def pass_time(self, span: timedelta) -> None:
        self.now += span


class WrongClock(VirtualClock):
    """A clock that may be ahead of the true one, or behind."""

    def __init__(self, true: VirtualClock) -> None:
        super().__init__(true.now)
        self.true = true
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return self.true() + self.ahead

    def pass_time(self, span: timedelta) -> None:
        self.true.pass_time(span)


@dataclass(frozen=True)
class Dumped:
    """An archive on its way, with what the test knows of it.

    Attributes:
        since: the snapshot from which it carries every change.
        at_sender: the sender's committed state at the archive's snapshot.
        ahead: how far the sender's clock was ahead.
    """

    name: ArchiveName
    since: datetime | None
    file: Path = field(repr=False)
    shipment: Shipment = field(repr=False)
    at_sender: State = field(repr=False)
    ahead: timedelta = timedelta(0)


@dataclass
class SenderSide:
    """A sending server.

    Attributes:
        folder: holds its media, its scratch folder and the archives that it has made.
        tell: who wants to hear of every statement.
        dumped: every archive ever made, oldest first.
        role: the role that dumps, if another one than the application's.
        pseudonym_key: the secret of the catalog's pseudonyms.
        as_sent: makes of rows what the catalog's column rules make of them.
    """

    url: str
    connection: Connection
    folder: Path
    clock: VirtualClock
    tell: Callable[[str], object] = str
    catalog: Catalog = CATALOG
    dumped: list[Dumped] = field(default_factory=list)
    open_transactions: list[Connection] = field(default_factory=list)
    role: str = ""
    pseudonym_key: str | None = None
    as_sent: Callable[[State], State] = dict
    _dropped: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for path in (self.media, self.scratch, self.outbox):
            path.mkdir()
        tables = ", ".join((*TABLES, "deleted_row"))
        self.connection.execute(f"TRUNCATE {tables}".encode())

    @property
    def media(self) -> Path:
        return self.folder / "media"

    @property
    def scratch(self) -> Path:
        return self.folder / "scratch"

    @property
    def outbox(self) -> Path:
        return self.folder / "outbox"

    @property
    def dump_url(self) -> str:
        address = urlsplit(self.url)
        netloc = f"{self.role}@{address.hostname}:{address.port}"
        return address._replace(netloc=netloc).geturl() if self.role else self.url

    @property
    def database(self) -> SenderDatabase:
        return SenderDatabase(
            self.dump_url, self.catalog, self.clock, pseudonym_key=self.pseudonym_key
        )

    @property
    def ahead(self) -> timedelta:
        return self.clock.ahead if isinstance(self.clock, WrongClock) else timedelta(0)

    def note_definitions(self, *, dropped: frozenset[str]) -> None:
        """What archives are made without from now on."""
        self._dropped = dropped

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def write(self, writes: Sequence[Write]) -> None:
        """One transaction; one that a constraint or a lock refuses did not happen."""
        with suppress(*_REFUSALS), self.connection.transaction():
            self._write(self.connection, writes)

    def begin(self, writes: Sequence[Write]) -> None:
        """A transaction that stays open; what is refused of it is left out."""
        connection = psycopg.connect(self.url, options="-c lock_timeout=20ms")
        connection.execute("SELECT 1")  # else the first block of `go_on` would be the transaction
        self.open_transactions.append(connection)
        self.go_on(connection, writes)

    def go_on(self, connection: Connection, writes: Sequence[Write]) -> None:
        for write in writes:
            with suppress(*_REFUSALS), connection.transaction():
                self._write(connection, [write])

    def end(self, number: int, *, commit: bool) -> None:
        connection = self.open_transactions.pop(number)
        with connection, suppress(*_REFUSALS):
            if commit:
                connection.commit()
            else:
                connection.rollback()

    def _write(self, connection: Connection, writes: Sequence[Write]) -> None:
        for write in writes:
            statement = write.sql(self.clock())
            self.tell(statement)
            connection.execute(statement.encode())

    def change_picture(self, number: int, content: bytes, *, named: bool) -> None:
        """A picture file, and, as applications do, afterwards the row that names it."""
        name = f"{number}.jpeg"
        self.put_picture(name, content)
        if named:
            update = f"UPDATE app_child SET picture = '{name}' WHERE id = {number}"
            self.write([Write(update)])

    def put_picture(self, name: str, content: bytes) -> None:
        path = self.media / name
        path.write_bytes(content)
        stamp = int(self.clock().timestamp() * 1e6) * 1000
        os.utime(path, ns=(stamp, stamp))

    def state(self) -> State:
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return self.as_sent(read_state(self.connection))

    def deleted(self) -> set[tuple[str, str]]:
        """Tables and keys of all rows that were ever deleted."""
        found = self.connection.execute("SELECT DISTINCT name, key FROM deleted_row").fetchall()
        return {(str(name), str(key)) for name, key in found}

    def partial(
        self, view: ReceiverView, *, published: bool = True, window: Window | None = None
    ) -> Dumped:
        """A partial that starts where the real rule says.

        Args:
            published: whether the sender believes that it reached the spool.
            window: the window or range of windows; None: the last minute.
        """
        now = self.clock()
        request = PartialRequest(
            window or Window(start=now - INTERVAL, end=now),
            LOOK_BACK if window is None else 3 * (window.end - window.start),
            newest_joined(view, self._sent(view, now)),
            self._after(view, now),
        )
        build = open_build(self.scratch, uuid4().hex)
        dump_partial(self.database, build, request)
        return self._seal(build, published)

    def hear(self, spool: Path) -> None:
        """Read the receipts in the receiver's spool."""
        archives = unsettled(read_sent(self.scratch), Checkpoint.read(spool, signing_keys=()))
        names = {a.name: ArchiveName.parse(a.name) for a in archives}
        found = {
            text: name and read_receipt(spool, name, signing_keys=())
            for text, name in names.items()
        }
        remember_receipts(self.scratch, {name: said for name, said in found.items() if said})

    def complete(
        self,
        checkpoint: Checkpoint | None,
        *,
        published: bool = True,
        view: ReceiverView | None = None,
    ) -> Dumped:
        """A complete.

        Args:
            published: whether the sender believes that it reached the spool.
            view: what the sender has seen of the receiver, for what it need not carry; None: it
                carries everything.
        """
        request = CompleteRequest(
            since=checkpoint.watermark if checkpoint else None,
            base=choose_base(self.scratch, view) if view is not None else None,
            after=self._after(ReceiverView(checkpoint, None), self.clock()),
        )
        build = open_build(self.scratch, uuid4().hex)
        dump = dump_complete(self.database, build, request)
        assert_digests_are_true(dump, self.dump_url, self.catalog, self.pseudonym_key)
        assert dump.digests is not None
        assert dump.digests.misjudged == {}
        return self._seal(build, published)

    def forget_states(self, *, keep: int) -> None:
        """Keep the states at the last snapshots only: a long run would not fit into memory."""
        for number, dumped in enumerate(self.dumped[:-keep]):
            if dumped.at_sender:
                emptied = replace(dumped.shipment, rows={})
                self.dumped[number] = replace(dumped, shipment=emptied, at_sender={})

    def close(self) -> None:
        for connection in self.open_transactions:
            connection.close()
        self.open_transactions.clear()

    def _sent(self, view: ReceiverView, now: datetime) -> tuple[SentArchive, ...]:
        return believable(read_sent(self.scratch), view, now)

    def _after(self, view: ReceiverView, now: datetime) -> datetime | None:
        """By the real rule, and after archives that only the test knows to be on their way.

        A sender whose journal is lost does not notice that its clock was set back beyond these.
        """
        known = newest_snapshot(view, self._sent(view, now), now)
        dates = [d.name.snapshot_at for d in self.dumped if not d.ahead]
        right = [at for at in dates if at <= now + timedelta(minutes=5)]
        return max((*right, *([known] if known else [])), default=None)

    def _seal(self, build: BuildFolder, published: bool) -> Dumped:
        bundle_media(build, self.database, self.media, ["*.jpeg"])
        source = assemble(build, self.media, "", None)
        manifest = source.manifest
        file = self.outbox / manifest.name.applied
        source.write_to(file)
        keep_manifest(self.scratch, manifest)
        build.remove()
        if published:
            with open_journal(self.scratch) as journal:
                journal.remember(manifest, lambda: versions_of(manifest, source.stamps))
            remember_sent(self.scratch, manifest, source.size_bytes, self.clock())
        rows, at_sender = rows_in_archive(file), self.state()
        complete = manifest.window is None
        if manifest.base is not None:
            # It describes all rows, and carries some of them.
            assert all(at_sender[t].get(k) == row for t in rows for k, row in rows[t].items())
            rows = at_sender
        shipment = Shipment(complete, manifest.snapshot_at, rows, self._dropped)
        since = manifest.since.snapshot_at if manifest.since else None
        dumped = Dumped(manifest.name, since, file, shipment, at_sender, self.ahead)
        self.dumped.append(dumped)
        return dumped
