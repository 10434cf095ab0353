"""Owner of a scratch folder: its journal and cached checkpoint belong to one receiver only.

Two senders with one folder would take the archives of one receiver for those of the other, and
start a partial at the wrong receiver's checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from ar_sync_pipeline.files import write_atomically
from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.limits import SessionLimits
from ar_sync_pipeline.sftp.open_session import open_session
from ar_sync_pipeline.sftp.session import SftpSession
from ar_sync_pipeline.sync.dump.sender_journal_file import locked, read_content
from ar_sync_pipeline.sync.errors import ScratchOfAnotherError

OWNER_FILE = "ar_sync_receiver.json"


class ScratchOwner(BaseModel):
    """A receiver's spool, as the sender reaches it.

    Attributes:
        host_key: Fingerprint of the SFTP server's key.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    user: str
    spool: str
    host_key: str

    @classmethod
    def of(cls, settings: SenderSettings, session: SftpSession) -> Self:
        """Return the owner for an open session."""
        return cls(
            host=settings.remote_host,
            port=settings.remote_port,
            user=settings.remote_user,
            spool=str(settings.remote_bkp_fldr),
            host_key=session.transport.get_remote_server_key().fingerprint,
        )

    def is_at(self, settings: SenderSettings) -> bool:
        """Return whether these settings have exactly its address."""
        account = (settings.remote_host, settings.remote_port, settings.remote_user)
        return (self.host, self.port, self.user, self.spool) == (
            *account,
            str(settings.remote_bkp_fldr),
        )

    def is_same(self, other: ScratchOwner) -> bool:
        """Return whether it is the same spool; a server that keeps its key may have moved."""
        same_place = (self.user, self.spool) == (other.user, other.spool)
        same_server = (self.host, self.port) == (other.host, other.port)
        return same_place and (same_server or self.host_key == other.host_key)

    def __str__(self) -> str:
        """Return its address."""
        return f"sftp://{self.user}@{self.host}:{self.port}{self.spool}"


def claim_scratch(
    settings: SenderSettings, endpoint: SftpEndpoint, limits: SessionLimits | None = None
) -> None:
    """Mark the scratch folder as that of the receiver, or refuse that of another one.

    The receiver's host key is requested only if its address differs from the one in the mark.

    Raises:
        ScratchOfAnotherError: The folder is marked with another receiver.
        ArSyncError: The receiver cannot be reached.
    """
    scratch = settings.tmp_bkp_fldr
    owner = _read(scratch)
    if owner is not None and owner.is_at(settings):
        return
    with open_session(endpoint, limits) as session:
        found = ScratchOwner.of(settings, session)
    with locked(scratch):
        owner = _read(scratch)
        if owner is not None and not owner.is_same(found):
            raise ScratchOfAnotherError(
                f"the scratch folder {scratch} holds the journal of the receiver {owner}, and this"
                f" sender sends to {found}",
                remedy="if that is the right receiver, correct AR_SYNC_REMOTE_HOST, _PORT, _USER or"
                " AR_SYNC_REMOTE_BKP_FLDR; give each receiver its own AR_SYNC_TMP_BKP_FLDR; if this"
                f" receiver took the place of that one, delete {scratch / OWNER_FILE}",
            )
        write_atomically(scratch / OWNER_FILE, found.model_dump_json().encode())


def _read(scratch: Path) -> ScratchOwner | None:
    return read_content(scratch / OWNER_FILE, ScratchOwner)
