"""Atomic write of a small file into ``.incoming`` of the spool."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import PurePosixPath

from ar_sync_pipeline.archive.spool_names import INCOMING
from ar_sync_pipeline.errors import ArSyncError
from ar_sync_pipeline.sftp import protocol
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sftp.spool_folders import safe_child


def replace_small_file(
    session: SftpSession, spool: PurePosixPath, name: str, content: bytes
) -> None:
    """Write or replace a file of at most one block.

    Raises:
        ArSyncError: The server refuses, or the connection broke.
    """
    target = safe_child(spool / INCOMING, name)
    temporary = safe_child(spool / INCOMING, f"{name}.{secrets.token_hex(4)}.part")
    try:
        with (
            session.handle(temporary, protocol.NEW) as handle,
            session.operation("writing", temporary),
        ):
            pipe = protocol.RequestPipe(session.client)
            protocol.send_write(pipe, handle, 0, content)
            protocol.confirm_write(pipe)
        # The rename of SFTP version 3 does not replace a file.
        session.remove(target)
        session.rename(temporary, target)
    except ArSyncError:
        with suppress(ArSyncError):
            session.remove(temporary)
        raise
