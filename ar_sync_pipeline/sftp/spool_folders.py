"""The spool over SFTP: its folders, and which names are allowed in it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.names import WAITING_PREFIX
from ar_sync_pipeline.archive.spool_names import ARCHIVE_FOLDERS, INCOMING, RECEIPTS
from ar_sync_pipeline.sftp.errors import (
    RemoteFileTooLargeError,
    RemoteNameError,
    RemoteSpoolMissingError,
)
from ar_sync_pipeline.sftp.protocol import READ, read_range
from ar_sync_pipeline.sftp.session import SftpSession

SPOOL_FOLDERS = (INCOMING, *ARCHIVE_FOLDERS, RECEIPTS)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]{0,199}", re.ASCII)


def is_safe_name(name: str) -> bool:
    """Return whether a file name is safe: one component, ASCII, no leading dot or dash."""
    return _NAME.fullmatch(name) is not None


def safe_child(folder: PurePosixPath, name: str) -> PurePosixPath:
    """Return ``folder/name``.

    Raises:
        RemoteNameError: The name is not safe.
    """
    if not is_safe_name(name):
        raise RemoteNameError(
            f"{name!r} is not allowed as a file name in {folder}",
            remedy="use letters, digits and . _ + = @ - only, at most 200 of them",
        )
    return folder / name


def applied_name(filename: str) -> str:
    """Return the name of an archive after the receiver applied it."""
    return filename.removeprefix(WAITING_PREFIX)


def check_spool(session: SftpSession, spool: PurePosixPath) -> None:
    """Check that the spool exists; it is never made, because its path may have a typing error.

    Raises:
        RemoteSpoolMissingError: The spool does not exist, or is not a folder.
    """
    found = session.is_folder(spool)
    if found:
        return
    what = "does not exist" if found is None else "is not a folder"
    raise RemoteSpoolMissingError(
        f"the spool {spool} at {session.endpoint.host} {what}",
        remedy=f"make it at the receiver for the account {session.endpoint.user!r}, or correct"
        " AR_SYNC_REMOTE_BKP_FLDR (a chrooted account sees another path)",
    )


def prepare_spool(
    session: SftpSession, spool: PurePosixPath, made: list[PurePosixPath] | None = None
) -> None:
    """Make the missing subfolders of an existing spool; none may be a link.

    Args:
        session: Open session.
        spool: Path of the spool.
        made: List to which created folders are added, also if a later one fails.

    Raises:
        RemoteSpoolMissingError: The spool does not exist or is inside another one, or a subfolder
            is a link or a file.
        SpoolNotWritableError: The account may not make a folder.
    """
    check_spool(session, spool)
    made = [] if made is None else made
    for name in SPOOL_FOLDERS:
        found = session.is_folder(spool / name, follow=False)
        if found is None:
            if not made:
                _check_not_inside(session, spool)
            session.make_folder(spool / name)
            made.append(spool / name)
        elif not found:
            raise RemoteSpoolMissingError(
                f"{spool / name} at {session.endpoint.host} is a symbolic link or a file, not a"
                " folder",
                remedy="move it away at the receiver; the spool needs folders of its own",
            )


def check_made_by_receiver(session: SftpSession, spool: PurePosixPath) -> None:
    """Reject a folder with another use; an empty one may become a spool.

    Raises:
        RemoteSpoolMissingError: The folder is not empty, and lacks the subfolders of a spool.
    """
    lacking = [
        name
        for name in (INCOMING, RECEIPTS)
        if session.is_folder(spool / name, follow=False) is None
    ]
    if lacking:
        _check_not_inside(session, spool)
    if lacking and not session.is_empty(spool):
        raise RemoteSpoolMissingError(
            f"{spool} at {session.endpoint.host} is not a spool that the receiver has prepared, it"
            f" has no folder {' and no '.join(lacking)}",
            remedy="correct AR_SYNC_REMOTE_BKP_FLDR (a chrooted account sees another path), or make"
            " the folders at the receiver with the install commands of docs/receiver_account.md",
        )


def _check_not_inside(session: SftpSession, spool: PurePosixPath) -> None:
    outer = spool.parent
    if outer != spool and all(session.is_folder(outer / name) for name in (INCOMING, RECEIPTS)):
        raise RemoteSpoolMissingError(
            f"{spool} at {session.endpoint.host} is a folder inside the spool {outer}",
            remedy=f"set AR_SYNC_REMOTE_BKP_FLDR={outer}",
        )


def list_names(session: SftpSession, folder: PurePosixPath) -> list[str]:
    """Return the sorted names of the regular files of a folder, without unsafe names.

    Raises:
        RemoteFileMissingError: The folder does not exist.
    """
    return sorted(name for name in session.file_names(folder) if is_safe_name(name))


def read_small_file(session: SftpSession, path: PurePosixPath, max_bytes: int) -> bytes:
    """Read a file of at most ``max_bytes``, such as a receipt.

    Raises:
        RefusedByServerError: The file is not a regular file, for example a link.
        RemoteFileMissingError: The file does not exist.
        RemoteFileTooLargeError: The file is larger.
    """
    session.size_bytes(path)
    with session.handle(path, READ) as handle, session.operation("reading", path):
        data = read_range(session.client, handle, 0, max_bytes + 1)
    if len(data) > max_bytes:
        raise RemoteFileTooLargeError(
            f"{path} at {session.endpoint.host} is larger than {max_bytes:,} bytes",
            remedy="check the file at the receiver; a receipt is a small JSON file",
        )
    return data
