"""The receiver of a history: its spool, its database, and what people there call their own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ar_sync_pipeline.settings.model import ReceiverSettings, load_receiver_settings
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.layout import prepare_spool
from ar_sync_pipeline.spool.states import SpooledArchive, list_applied, list_waiting
from ar_sync_pipeline.sync.dump.last_view import current
from ar_sync_pipeline.sync.dump.receiver_view import ReceiverView
from ar_sync_pipeline.sync.load.admit import admit_archives
from ar_sync_pipeline.sync.load.load_archives import LoadReport, load_archives
from ar_sync_pipeline_tests.convergence.application import CATALOG, TABLES
from ar_sync_pipeline_tests.convergence.row_images import (
    Connection,
    Saved,
    State,
    put_back,
    read_state,
    save,
)
from ar_sync_pipeline_tests.convergence.sender_side import Dumped, VirtualClock
from ar_sync_pipeline_tests.waiting import until

RECEIVER_ONLY_TABLES = ("app_note", "app_remark", "app_pin")


@dataclass
class OwnData:
    """What people set at the receiver, as the test remembers it.

    Attributes:
        seen: receiver-only column of parents, by id.
        stars: receiver-only column of children, by id.
        notes: parents of own rows, by id.
        remarks: notes of own rows, by id.
        pins: accounts of own rows, by id.
    """

    seen: dict[int, int] = field(default_factory=dict)
    stars: dict[int, int] = field(default_factory=dict)
    notes: dict[int, int] = field(default_factory=dict)
    remarks: dict[int, int] = field(default_factory=dict)
    pins: dict[int, int] = field(default_factory=dict)

    def copy(self) -> OwnData:
        return OwnData(
            dict(self.seen),
            dict(self.stars),
            dict(self.notes),
            dict(self.remarks),
            dict(self.pins),
        )


@dataclass(frozen=True)
class Backup:
    """A backup of the receiver's database."""

    tables: dict[str, Saved]
    own: OwnData


@dataclass
class ReceiverSide:
    """A receiving server.

    Attributes:
        folder: holds its media and the spool.
    """

    url: str
    connection: Connection
    folder: Path
    clock: VirtualClock
    own: OwnData = field(default_factory=OwnData)
    damaged: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for path in (self.media, self.spool):
            path.mkdir()
        prepare_spool(self.spool)
        self.run(f"TRUNCATE {', '.join((*TABLES, *RECEIVER_ONLY_TABLES))}")
        self.run("DROP SCHEMA IF EXISTS ar_sync CASCADE")

    @property
    def media(self) -> Path:
        return self.folder / "received"

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AR_SYNC_RECEIVER_DATABASE_URL": self.url,
            "AR_SYNC_RECEIVER_MEDIA_FLDR": str(self.media),
            "AR_SYNC_REMOTE_BKP_FLDR": str(self.spool),
            "AR_SYNC_TRANSFORM": "none",
            "AR_SYNC_ADMINS": "operator@example.org",
            # These histories delete freely; the guard has tests of its own.
            "AR_SYNC_DELETE_GUARD": "100",
        }

    @property
    def settings(self) -> ReceiverSettings:
        return load_receiver_settings(self.environ)

    def run(self, statement: str) -> list[tuple[object, ...]]:
        cursor = self.connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []

    def values(self, query: str) -> dict[object, object]:
        """The second column by the first."""
        return {row[0]: row[1] for row in self.run(query)}

    def state(self) -> State:
        with self.connection.transaction():
            self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            return read_state(self.connection)

    def unchanged_state(self) -> State:
        """The state once the sessions of a killed load have ended."""
        sessions = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'ar_sync%'"
        )
        until(lambda: not self.run(sessions), "the sessions have ended", every=0.005)
        return self.state()

    def load(self) -> LoadReport:
        admission = admit_archives(self.settings, CATALOG, self.clock)
        return load_archives(self.settings, CATALOG, admission.names, self.clock)

    def deliver(self, dumped: Dumped, content: bytes | None = None) -> Path:
        """Put an archive into the spool, as it was made or with other bytes."""
        target = self.file_of(dumped)
        if content is None:
            shutil.copyfile(dumped.file, target)
        else:
            target.write_bytes(content)
            self.damaged.add(dumped.name.applied)
        return target

    def file_of(self, dumped: Dumped) -> Path:
        """Where an archive waits in the spool."""
        return self.spool / dumped.name.kind / dumped.name.waiting

    def seen_from_sender(self) -> ReceiverView:
        waiting = frozenset(archive.name.applied for archive in list_waiting(self.spool))
        checkpoint = self.checkpoint()
        can_read = current(Capabilities.read(self.spool, signing_keys=()), checkpoint)
        return ReceiverView(checkpoint, waiting, capabilities=can_read)

    def checkpoint(self) -> Checkpoint | None:
        return Checkpoint.read(self.spool, signing_keys=())

    def spooled(self) -> Sequence[SpooledArchive]:
        """Archives that wait or were applied, and are still there."""
        return [*list_waiting(self.spool), *list_applied(self.spool)]

    def backup(self) -> Backup:
        return Backup(save(self.connection, self._tables()), self.own.copy())

    def restore(self, backup: Backup) -> None:
        newer = [name for name in self._tables() if name not in backup.tables]
        put_back(self.connection, backup.tables)
        for name in newer:
            self.run(f"DELETE FROM {name}")
        self.own = backup.own.copy()

    def _tables(self) -> list[str]:
        found = self.run(
            "SELECT schemaname || '.' || tablename FROM pg_tables"
            " WHERE schemaname = 'ar_sync' OR tablename LIKE 'app%' ORDER BY 1"
        )
        return [str(name) for (name,) in found]

    # What people do there.

    def transform(self) -> None:
        """As the transform does: rewrite a shared column of rows that have changed."""
        self.run(
            "UPDATE app_parent SET transformed = true, label = 'rewritten '"
            " || regexp_replace(label, '^rewritten ', '') WHERE transformed IS NOT TRUE"
        )

    def rate_everything(self, value: int) -> None:
        """Set the receiver-only columns of every row."""
        for (parent,) in self.run(f"UPDATE app_parent SET seen = {value} RETURNING id"):
            self.own.seen[as_integer(parent)] = value
        for (child,) in self.run(f"UPDATE app_child SET stars = {value} RETURNING id"):
            self.own.stars[as_integer(child)] = value

    def pin_every_account(self) -> None:
        """A row of the receiver's own for each account, which goes with it and not before."""
        first = max((*self.own.pins, 0)) + 1
        made = self.run(
            f"INSERT INTO app_pin SELECT {first} + row_number() OVER (), id FROM app_account"
            " RETURNING id, account_id"
        )
        self.own.pins |= {as_integer(pin): as_integer(account) for pin, account in made}

    def take_note(self, parent: int, child: int) -> None:
        """A row of the receiver's own that needs a parent and may name a child, and back."""
        note = max((*self.own.notes, 0)) + 1
        made = self.run(
            f"INSERT INTO app_note SELECT {note}, id, (SELECT id FROM app_child WHERE id = {child})"
            f" FROM app_parent WHERE id = {parent} RETURNING id"
        )
        if made:
            self.own.notes[note] = parent
            self.own.remarks[note] = note
            self.run(f"INSERT INTO app_remark VALUES ({note}, {note})")
            self.run(f"UPDATE app_child SET note_id = {note} WHERE id = {child}")


def as_integer(value: object) -> int:
    assert isinstance(value, int)
    return value
