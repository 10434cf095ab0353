"""Media files and rows of a load: both are installed, or neither is.

Files get their names just before the rows are committed. The ledger is written in the same
transaction as the rows. It decides whether the files stay or the earlier files are restored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

import psycopg

from ar_sync_pipeline.media.errors import (
    MediaFolderError,
    MediaOfAnotherError,
    MediaSpaceError,
)
from ar_sync_pipeline.media.install import clean_leftovers, finish_or_undo
from ar_sync_pipeline.media.journal import read_journal
from ar_sync_pipeline.media.pair_mark import claim_folder
from ar_sync_pipeline.media.stage import MediaStage, explained
from ar_sync_pipeline.media.web_content import exclusion_reason
from ar_sync_pipeline.postgres.connect import Connection, connect
from ar_sync_pipeline.postgres.errors import LoadInProgressError
from ar_sync_pipeline.postgres.ledger import read_ledger
from ar_sync_pipeline.postgres.ledger_tables import check_load_lock, load_lock, open_existing_ledger
from ar_sync_pipeline.settings.model import ReceiverSettings
from ar_sync_pipeline.sync.load.lost_media import check_mounted
from ar_sync_pipeline.visible_text import counted, quoted

_SHOWN = 5
# Zero would be no limit.
_AT_ONCE = "1ms"


def recover_media(
    connection: Connection, settings: ReceiverSettings, catalog: str, *, cleans: bool
) -> None:
    """Finish or undo what a killed load left in the media folder; under the load lock.

    Args:
        cleans: Whether to search the whole folder also for files that no journal names.

    Raises:
        MediaOfAnotherError: The folder is that of another pair.
        MediaNotMountedError: Its disk is not mounted: what is installed now would be hidden later.
        MediaFolderError: A file cannot be renamed or removed.
    """
    folder, owner = settings.receiver_media_fldr, _owner(connection, catalog)
    check_mounted(connection, folder)
    claim_folder(folder, settings.pair)
    finish_or_undo(folder, owner, lambda archives: _is_committed(connection, archives))
    if cleans:
        clean_leftovers(folder, owner)


def recover_by_itself(settings: ReceiverSettings, catalog: str) -> None:
    """Do what `recover_left` does, without a run; what cannot be recovered a run reports.

    Raises:
        DatabaseUnreachableError: The receiver's database cannot be reached.
    """
    with connect(settings.database_url, application="recover media") as connection:
        if open_existing_ledger(connection):
            recover_left(connection, settings, catalog)


def recover_left(connection: Connection, settings: ReceiverSettings, catalog: str) -> str | None:
    """Finish or undo what a killed load left in the media folder, unless a load is at work.

    The next load does so, too, but there is none if the archive is gone or no longer fits.

    Returns:
        A message about what cannot be finished or undone; None: nothing is left.
    """
    folder = settings.receiver_media_fldr
    try:
        with explained(folder):
            journal = read_journal(folder, _owner(connection, catalog))
        if journal is not None:
            with load_lock(connection, wait=_AT_ONCE):
                recover_media(connection, settings, catalog, cleans=False)
    except LoadInProgressError:
        return None
    except (MediaFolderError, MediaSpaceError, MediaOfAnotherError, OSError) as error:
        return f"a killed load's media files are not taken back yet: {error}"
    return None


@contextmanager
def staged_media(
    connection: Connection, settings: ReceiverSettings, catalog: str, archives: Sequence[UUID]
) -> Iterator[MediaStage]:
    """Stage the media files of one load; at the end of the block install or undo them.

    If the connection broke during the commit, the outcome is unknown: the next load decides it.

    Args:
        catalog: Name of the catalog; each catalog has its own ledger.
        archives: All archives that the load applies.
    """
    stage = MediaStage(
        settings.receiver_media_fldr,
        _owner(connection, catalog),
        archives,
        settings.receiver_media_allow,
    )
    try:
        yield stage
    finally:
        try:
            stage.close()
        finally:
            _end(stage, connection)


def _end(stage: MediaStage, connection: Connection) -> None:
    """Finish or undo what a load did with its files; `recover_media` does what fails here.

    A load that has lost its session has lost its lock, too: another load may use the folder.
    """
    with suppress(LoadInProgressError, MediaFolderError, MediaSpaceError, OSError, psycopg.Error):
        check_load_lock(connection)
        finish_or_undo(
            stage.folder,
            stage.owner,
            lambda ids: stage.is_renamed_into_place and _is_committed(connection, ids),
            stage.journal.load,
        )


def left_out_warning(
    paths: Iterable[str], allowed: Sequence[str], *, count: int | None = None
) -> str | None:
    """Return a message about files that are not installed: which, why, the remedy; None if all are.

    Args:
        paths: Paths of media files that archives list.
        allowed: Value of ``AR_SYNC_RECEIVER_MEDIA_ALLOW``.
        count: Number of files that are left out, if ``paths`` are only some of them.
    """
    shown, found = list[str](), 0
    for path in paths:
        reason = exclusion_reason(path, allowed)
        if reason is not None:
            found += 1
            if len(shown) < _SHOWN:
                shown.append(f"{quoted(path)} ({reason})")
    if not found:
        return None
    return (
        f"{counted(count or found, 'media file is', 'media files are')} left out, such as"
        f" {'; '.join(shown)}: if they are wanted, name them in AR_SYNC_RECEIVER_MEDIA_ALLOW, and"
        " the next complete installs them."
    )


def _is_committed(connection: Connection, archives: frozenset[UUID]) -> bool:
    """Return whether the ledger has all archives of a load.

    Before the load it lacked at least one of them.
    """
    return archives <= {line.archive_id for line in read_ledger(connection) if not line.superseded}


def _owner(connection: Connection, catalog: str) -> str:
    """Return the mark of one ledger's files, since several ledgers may share a media folder."""
    row = connection.execute(
        "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"
    ).fetchone()
    return hashlib.sha256(f"{row}/{catalog}".encode()).hexdigest()[:8]
