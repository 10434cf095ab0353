"""What the sender can see of the receiver over SFTP: its position, and what waits in its spool."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ar_sync_pipeline.archive.names import WAITING_PREFIX, ArchiveName
from ar_sync_pipeline.errors import TransientError
from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.settings import SenderSettings
from ar_sync_pipeline.sftp.errors import RemoteFileMissingError
from ar_sync_pipeline.sftp.session import SessionLimits, SftpSession, open_session
from ar_sync_pipeline.sftp.spool_folders import (
    ARCHIVE_FOLDERS,
    RECEIPTS,
    list_names,
    prepare_spool,
    read_small_file,
)
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.position import POSITION_FILE, Position, parse_position
from ar_sync_pipeline.spool.receipts import RECEIPT_SUFFIX
from ar_sync_pipeline.spool.signed_json import MAX_BYTES
from ar_sync_pipeline.sync.dump.publish import endpoint

_CACHED_POSITION = "ar_sync_position.json"
# The look only makes a partial smaller; a dead line is left to the publication to wait for.
LIMITS = SessionLimits(silence_seconds=20, whole_seconds=30)


@dataclass(frozen=True)
class ReceiverView:
    """The receiver as the sender sees it.

    Attributes:
        position: up to where it holds the sender's data; None: it never said.
        waiting: applied-form names of the archives that wait in the spool; None: the link is down
            and the position is the last one that was seen.
        receipts: applied-form names of the archives of which the receiver has said something.
    """

    position: Position | None
    waiting: frozenset[str] | None
    receipts: frozenset[str] = frozenset()


def look_at_receiver(settings: SenderSettings) -> ReceiverView:
    """Look into the spool; with the link down, remember what was seen last.

    An old position only makes a partial larger, so a cut line is no reason not to dump: the
    archive is sent as soon as the line is back.

    Raises:
        TerminalError: the host key, the login or the spool is wrong; publishing would fail too.
    """
    key = settings.signing_key.get_secret_value().encode() if settings.signing_key else None
    cache = settings.tmp_bkp_fldr / _CACHED_POSITION
    try:
        with open_session(endpoint(settings), LIMITS) as session:
            prepare_spool(session, settings.remote_bkp_fldr)
            waiting = _waiting(session, settings)
            receipts = _receipts(session, settings)
            content = _position_file(session, settings)
    except TransientError:
        return ReceiverView(_read_cache(cache, key), None)
    position = _read_cache(cache, key)
    if content is not None:
        with suppress(ReceiptError):
            position = parse_position(content, signing_key=key)
            write_atomically(cache, content)
    return ReceiverView(position, waiting, receipts)


def _waiting(session: SftpSession, settings: SenderSettings) -> frozenset[str]:
    names = (
        name
        for folder in ARCHIVE_FOLDERS
        for name in list_names(session, settings.remote_bkp_fldr / folder)
        if name.startswith(WAITING_PREFIX)
    )
    return frozenset(parsed.applied for name in names if (parsed := ArchiveName.parse(name)))


def _receipts(session: SftpSession, settings: SenderSettings) -> frozenset[str]:
    names = list_names(session, settings.remote_bkp_fldr / RECEIPTS)
    parsed = (ArchiveName.parse(name.removesuffix(RECEIPT_SUFFIX)) for name in names)
    return frozenset(name.applied for name in parsed if name)


def _position_file(session: SftpSession, settings: SenderSettings) -> bytes | None:
    path = settings.remote_bkp_fldr / RECEIPTS / POSITION_FILE
    try:
        return read_small_file(session, path, MAX_BYTES)
    except RemoteFileMissingError:
        return None


def _read_cache(cache: Path, key: bytes | None) -> Position | None:
    try:
        return parse_position(cache.read_bytes(), signing_key=key)
    except (FileNotFoundError, ReceiptError):
        return None
