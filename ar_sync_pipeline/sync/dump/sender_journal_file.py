"""The file of the sender's journal: what it contains, and how it is read and replaced."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import ArchiveKind
from ar_sync_pipeline.disk_errors import disk_error
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.spool.lacking import Lacking
from ar_sync_pipeline.spool.receipts import ReceiptState
from ar_sync_pipeline.sync.errors import ScratchFileError

Content = TypeVar("Content", bound=BaseModel)

SENT_FILE = "ar_sync_sent.json"


class SentArchive(BaseModel):
    """An archive that was published.

    Attributes:
        name: Name without the prefix of waiting archives.
        since: Point from which a partial contains every change; None: unknown.
        heard: Whether a verified receipt reported its state.
        state: State in the newest verified receipt; None: unknown.
        lacking: What the receiver lacks of a parked archive, or could not verify of an applied
            complete.
        differential: Whether it is a complete that does not carry everything, so that the receiver
            may be unable to apply it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: ArchiveKind
    size_bytes: int
    since: Watermark | None
    watermark: Watermark
    sent_at: AwareDatetime
    heard: bool = False
    state: ReceiptState | None = None
    lacking: Lacking | None = None
    differential: bool = False

    @property
    def is_lacking(self) -> bool:
        """Whether it is parked because it does not carry enough."""
        return self.state is ReceiptState.PARKED and self.lacking is not None


class RulesFrom(BaseModel):
    """The tables of the archives from a snapshot on, and their rules.

    Attributes:
        digests: As returned by `rule_digests`.
        every_table: Whether tables without column rules are listed; earlier versions left them out.
    """

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    digests: dict[str, str]
    every_table: bool = False


class UnreadTables(BaseModel):
    """What a partial, or several in a row, did not read for its watermark.

    Attributes:
        first_at: Snapshot of the first partial.
        last_at: Snapshot of the last one.
        names: Tables that they neither read nor carried whole.
        made_up: Tables that the partial carried whole, of which the receiver lacked changes before.
    """

    model_config = ConfigDict(frozen=True)

    first_at: AwareDatetime
    last_at: AwareDatetime
    names: tuple[str, ...]
    made_up: tuple[str, ...] = ()


class DigestsOf(BaseModel):
    """When the digests of all chunks of a complete were computed, and not taken from its base.

    Attributes:
        snapshot_at: Snapshot of the complete.
        computed_at: Time at which a complete last computed every digest.
        misjudged: Number of chunks by table that differed then although row versions showed no
            change.
    """

    model_config = ConfigDict(frozen=True)

    snapshot_at: AwareDatetime
    computed_at: AwareDatetime
    misjudged: dict[str, int] = {}


class JournalContent(BaseModel):
    """Content of the journal.

    Attributes:
        archives: Archives of the last days.
        completes: Newest completes from before; the points between them are forgotten.
        rules: One for each change of the tables or of their column rules, oldest first.
        unread: What partials did not read, oldest first; none of a partial that read everything.
        digests: One for each of the last completes, oldest first.
        announced: Points of archives whose upload has begun: the receiver may apply one although
            the sender was killed before it could record the archive as sent.
        arriving: Snapshots of announced archives that are not recorded as sent, and may have got
            their final name.
        begun: Snapshots of dumps whose archives are not recorded as sent: a complete takes long,
            and a partial that is dumped meanwhile must be dated after it.
    """

    archives: tuple[SentArchive, ...] = ()
    completes: tuple[SentArchive, ...] = ()
    announced: tuple[Watermark, ...] = ()
    arriving: tuple[AwareDatetime, ...] = ()
    rules: tuple[RulesFrom, ...] = ()
    unread: tuple[UnreadTables, ...] = ()
    digests: tuple[DigestsOf, ...] = ()
    begun: tuple[AwareDatetime, ...] = ()


def read_scratch_file(path: Path) -> bytes:
    """Return the content of a small file in the scratch folder; nothing if there is none.

    One that is there and cannot be read may be whole: it is not replaced by an empty one.

    Raises:
        ScratchFileError: The operating system refuses.
        DiskFailedError: The disk fails.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):  # a folder is moved away by the next write
        return b""
    except OSError as error:
        raise disk_error(error) or ScratchFileError(path, error.strerror or error) from error


def read_content(path: Path, content: type[Content]) -> Content | None:
    """Return the content of a small file in the scratch folder; None if it is missing or damaged.

    Raises:
        ScratchFileError: The operating system refuses.
        DiskFailedError: The disk fails.
    """
    try:
        return content.model_validate_json(read_scratch_file(path))
    except ValueError:
        return None


def read_journal(scratch: Path) -> JournalContent:
    """Read the journal of a scratch folder; one that is missing or damaged is empty."""
    return read_content(scratch / SENT_FILE, JournalContent) or JournalContent()


def write_journal(scratch: Path, journal: JournalContent) -> None:
    """Replace the journal; the caller holds the lock."""
    write_atomically(scratch / SENT_FILE, journal.model_dump_json().encode())


@contextmanager
def locked(scratch: Path) -> Iterator[None]:
    """Lock the folder: a complete and a partial may be published at the same time."""
    folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
