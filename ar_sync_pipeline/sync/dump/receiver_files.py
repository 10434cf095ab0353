"""Files of the receiver's spool that the sender reads over SFTP.

The receiver writes all of them: what is damaged, badly signed or impossible is a problem, not an
error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.manifest import Watermark
from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveKind, ArchiveName
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, RECEIPTS
from ar_sync_pipeline.errors import ArSyncError, TransientError
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.errors import (
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileMissingError,
    RemoteFileTooLargeError,
    SpoolNotWritableError,
)
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import list_names, read_small_file
from ar_sync_pipeline.spool.capabilities import Capabilities
from ar_sync_pipeline.spool.checkpoint import Checkpoint
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.load_at_work import LoadAtWork
from ar_sync_pipeline.spool.receipts import RECEIPT_SUFFIX, Receipt, ReceiptState, parse_receipt
from ar_sync_pipeline.spool.signed_json import MAX_BYTES
from ar_sync_pipeline.sync.dump.believed_checkpoint import (
    checkpoint_problem,
    is_of_old_system,
    receipt_problem,
)
from ar_sync_pipeline.sync.dump.sender_journal_file import SentArchive

# A receipt is read once, so there are as many as archives since the last dump.
MOST_RECEIPTS = 50
_REFUSED = (
    ReceiptError,
    ReceiverDiskFullError,
    RefusedByServerError,
    RemoteFileTooLargeError,
    SpoolNotWritableError,
)


class ReceiverFiles:
    """What a sender reads of the receiver's files, and the problems found in them.

    Attributes:
        problems: What is not accepted, one sentence each.
        claimed: Point of a checkpoint that is not accepted.
        has_no_checkpoint: Whether there is no checkpoint in the spool, and not only none to read.
    """

    def __init__(self, settings: SenderSettings, now: datetime) -> None:
        self._keys = settings.signing_keys.accepted(now)
        self._spool = settings.remote_bkp_fldr
        self._folder = self._spool / RECEIPTS
        self.problems: list[str] = []
        self.claimed: Watermark | None = None
        self.has_no_checkpoint = False
        self._in_folders = set[datetime]()
        self._with_receipts = dict[datetime, ArchiveName]()

    @property
    def dates(self) -> frozenset[datetime]:
        """Snapshots of the archives that are in the spool or have a receipt, by their names."""
        return frozenset(self._in_folders | self._with_receipts.keys())

    def checkpoint_file(self, session: SftpSession) -> bytes | None:
        """Return the bytes of the checkpoint in the spool."""
        refused = len(self.problems)
        content = self._read(session, self._folder / Checkpoint.FILE)
        self.has_no_checkpoint = content is None and len(self.problems) == refused
        return content

    def is_lost(self, before: Checkpoint | None, sent: Sequence[SentArchive]) -> bool:
        """Return whether the spool has no checkpoint any more, or nothing of what was sent.

        It is called after the folders and the checkpoint were read.

        Args:
            before: Checkpoint that was accepted last.
        """
        left = any(archive.watermark.snapshot_at in self.dates for archive in sent)
        return self.has_no_checkpoint and (before is not None or (bool(sent) and not left))

    def believed(
        self, content: bytes, known: Sequence[Watermark], now: datetime
    ) -> Checkpoint | None:
        """Return the checkpoint if it is the receiver's and possible."""
        try:
            checkpoint = Checkpoint.parse(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(_clause(error))
            return None
        point = checkpoint.watermark
        if point is None:
            return checkpoint
        if is_of_old_system(point):
            return checkpoint.model_copy(update={"watermark": None})
        problem = checkpoint_problem(point, known, now)
        if problem is None:
            return checkpoint
        self.claimed = point
        self.problems.append(
            f"the receiver's checkpoint is not believed, because it {problem}: if another sender"
            " publishes into this spool, stop it; if none does, delete"
            f" {RECEIPTS}/{Checkpoint.FILE} at the receiver, whose next run writes it again; then"
            " start a complete_dump"
        )
        return None

    def capabilities(self, session: SftpSession) -> Capabilities | None:
        """Return what the receiver can read; None if it does not say so in an accepted file."""
        content = self._read(session, self._folder / Capabilities.FILE)
        if content is None:
            return None
        try:
            return Capabilities.parse(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(_clause(error))
            return None

    def is_loading(self, session: SftpSession, now: datetime) -> bool:
        """Return whether the receiver says in an accepted file that a load is at work."""
        content = self._read(session, self._folder / LoadAtWork.FILE)
        # What is wrong with this file delays no alert, and is wrong with the others, too.
        with suppress(ReceiptError):
            if content is not None:
                return LoadAtWork.parse(content, signing_keys=self._keys).is_recent(now)
        return False

    def receipts(self, session: SftpSession, archives: Sequence[SentArchive]) -> dict[str, Receipt]:
        """Return accepted receipts by archive name; completes and the newest are read first.

        If the link breaks or the time is up, the others are left to the next dump: after a backlog
        they need more round trips than a slow link allows.
        """
        found = dict[str, Receipt]()
        with suppress(TransientError):
            there = self.receipt_names(session)
            newest = [a for a in reversed(archives) if a.name + RECEIPT_SUFFIX in there]
            newest.sort(key=lambda archive: archive.kind is not ArchiveKind.COMPLETE)
            for archive in newest[:MOST_RECEIPTS]:
                receipt = self._receipt(session, archive)
                if receipt is not None:
                    found[archive.name] = receipt
        return found

    def receipt_names(self, session: SftpSession) -> set[str]:
        """Return the names of the files in the folder of the receipts."""
        there = set(self._names(session, self._folder))
        for archive in _archives(name.removesuffix(RECEIPT_SUFFIX) for name in there):
            self._with_receipts[archive.snapshot_at] = archive
        return there

    def leave_out_quarantined(
        self, session: SftpSession, own: Collection[datetime], since: Watermark | None
    ) -> None:
        """Leave out of `dates` what the receiver refused for good, as of another sender.

        It says nothing of what this sender has sent. Only receipts of unknown archives are read.

        Args:
            own: Snapshots of the archives that this sender knows.
            since: Point of the receiver's checkpoint.
        """
        after = [at for at in self._with_receipts if since is None or at > since.snapshot_at]
        with suppress(TransientError):
            for at in sorted({*after}.difference(own), reverse=True)[:MOST_RECEIPTS]:
                path = self._folder / (self._with_receipts[at].applied + RECEIPT_SUFFIX)
                content = self._read(session, path)
                with suppress(ReceiptError):
                    if content is not None and self._is_quarantined(content):
                        del self._with_receipts[at]

    def _is_quarantined(self, content: bytes) -> bool:
        receipt = parse_receipt(content, signing_keys=self._keys)
        return receipt.state is ReceiptState.QUARANTINED

    def waiting(self, session: SftpSession) -> frozenset[str]:
        """Return the applied-form names of the waiting archives in folders that can be listed.

        What is in the others counts as lost, so that a partial is only larger. So does an archive
        in the folder of the other kind, which old receivers do not load.
        """
        names = {folder: self._names(session, self._spool / folder) for folder in ARCHIVE_FOLDERS}
        self._in_folders |= {a.snapshot_at for a in _archives(chain.from_iterable(names.values()))}
        found = (
            (folder, ArchiveName.parse(name))
            for folder in ARCHIVE_FOLDERS
            for name in names[folder]
            if name.startswith(WAITING_PREFIX)
        )
        return frozenset(
            name.applied for folder, name in found if name is not None and name.kind == folder
        )

    def _names(self, session: SftpSession, folder: PurePosixPath) -> list[str]:
        try:
            return list_names(session, folder)
        except _REFUSED as error:
            self.problems.append(_clause(error))
            return []

    def _receipt(self, session: SftpSession, archive: SentArchive) -> Receipt | None:
        path = self._folder / (archive.name + RECEIPT_SUFFIX)
        content = self._read(session, path)
        if content is None:
            return None
        try:
            receipt = parse_receipt(content, signing_keys=self._keys)
        except ReceiptError as error:
            self.problems.append(f"{archive.name}: {_clause(error)}")
            return None
        problem = receipt_problem(receipt, archive)
        if problem is not None:
            self.problems.append(
                f"the receipt of {archive.name} is not believed, because it {problem}: delete"
                f" {RECEIPTS}/{path.name} at the receiver, whose next run writes it again"
            )
        return receipt if problem is None else None

    def _read(self, session: SftpSession, path: PurePosixPath) -> bytes | None:
        try:
            return read_small_file(session, path, MAX_BYTES)
        except RemoteFileMissingError:
            return None
        except _REFUSED as error:
            self.problems.append(_clause(error))
            return None


def _archives(names: Iterable[str]) -> Iterator[ArchiveName]:
    return (name for name in map(ArchiveName.parse, names) if name is not None)


def _clause(error: ArSyncError) -> str:
    """Return problem and remedy without a full stop: it is added where problems are shown."""
    return f"{error.problem}: {error.remedy}"
