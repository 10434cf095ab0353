"""A sender and a receiver in one folder: two databases, two media folders, one SFTP server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from ar_sync_pipeline.demo.city import fill_city
from ar_sync_pipeline.demo.embedded_postgres import EmbeddedPostgres
from ar_sync_pipeline.demo.instance import write_instance
from ar_sync_pipeline.demo.pictures import make_pictures
from ar_sync_pipeline.demo.receiver_city import fill_receiver
from ar_sync_pipeline.demo.schema import create_receiver_schema, create_sender_schema
from ar_sync_pipeline.demo.sftp_server import LoopbackSftpServer
from ar_sync_pipeline.spool.layout import prepare_spool


@dataclass(frozen=True)
class TwoServers:
    """Running servers of a demo.

    Attributes:
        folder: Folder with all their files.
        sender_url, receiver_url: URLs of their databases.
        sftp: SFTP server, the only link between them.
        interval_minutes: Length of a window.
    """

    folder: Path
    sender_url: str
    receiver_url: str
    sftp: LoopbackSftpServer
    interval_minutes: int

    @property
    def dagster_home(self) -> Path:
        """Home folder of the Dagster instance of both servers."""
        return self.folder / "dagster_home"

    @property
    def sender_media(self) -> Path:
        """Media folder of the sender."""
        return self.folder / "sender" / "media"

    @property
    def receiver_media(self) -> Path:
        """Media folder of the receiver."""
        return self.folder / "receiver" / "media"

    @property
    def spool(self) -> Path:
        """Path of the spool at the receiver."""
        return self.folder / "receiver" / "sftp" / "spool"

    def sender_environment(self) -> dict[str, str]:
        """Return the settings of the sender."""
        return self._shared() | {
            "AR_SYNC_SENDER_DATABASE_URL": self.sender_url,
            "AR_SYNC_SENDER_MEDIA_FLDR": str(self.sender_media),
            "AR_SYNC_MEDIA_PATTERNS": "*.jpeg",
            "AR_SYNC_TMP_BKP_FLDR": str(self.folder / "sender" / "tmp"),
            "AR_SYNC_REMOTE_HOST": self.sftp.host,
            "AR_SYNC_REMOTE_PORT": str(self.sftp.port),
            "AR_SYNC_REMOTE_USER": self.sftp.user,
            "AR_SYNC_PRIVATE_KEY": str(self.sftp.private_key),
            "AR_SYNC_KNOWN_HOSTS": str(self.sftp.known_hosts),
            "AR_SYNC_REMOTE_BKP_FLDR": str(self.sftp.remote_path(self.spool)),
        }

    def receiver_environment(self) -> dict[str, str]:
        """Return the settings of the receiver."""
        return self._shared() | {
            "AR_SYNC_RECEIVER_DATABASE_URL": self.receiver_url,
            "AR_SYNC_RECEIVER_MEDIA_FLDR": str(self.receiver_media),
            "AR_SYNC_REMOTE_BKP_FLDR": str(self.spool),
            "AR_SYNC_TRANSFORM": "builtin:transapp",
        }

    def _shared(self) -> dict[str, str]:
        return {
            "AR_SYNC_PARTIAL_INTERVAL": str(self.interval_minutes),
            "AR_SYNC_TIME": str(3 * self.interval_minutes),
            # No mail server: the incidents of a demo stay in its folder.
            "AR_SYNC_STATE_FLDR": str(self.folder / "state"),
        }


@contextmanager
def two_servers(folder: Path, *, interval_minutes: int) -> Iterator[TwoServers]:
    """Start both servers: the sender with fake data, the receiver with empty tables.

    Args:
        folder: Empty folder (see `demo_folder`).
        interval_minutes: Length of a window in minutes.
    """
    for name in ("sender/media", "sender/tmp", "receiver/media", "receiver/sftp/spool"):
        (folder / name).mkdir(mode=0o700, parents=True)
    for name in ("dagster_home", "keys", "state"):
        (folder / name).mkdir(mode=0o700)
    write_instance(folder / "dagster_home")
    with ExitStack() as running:
        # Every account of this machine can reach the port, so the database needs a password.
        password = secrets.token_urlsafe()
        postgres = running.enter_context(EmbeddedPostgres(folder / "postgres", password=password))
        keys = folder / "keys"
        root = folder / "receiver" / "sftp"
        sftp = running.enter_context(LoopbackSftpServer(root, keys))
        servers = TwoServers(
            folder,
            postgres.create_database("production"),
            postgres.create_database("visualization"),
            sftp,
            interval_minutes,
        )
        prepare_spool(servers.spool)
        _fill(servers)
        yield servers


def _fill(servers: TwoServers) -> None:
    with psycopg.connect(servers.sender_url) as sender:
        create_sender_schema(sender)
        fill_city(sender, now=datetime.now(UTC))
        make_pictures(sender, servers.sender_media)
    with psycopg.connect(servers.receiver_url) as receiver:
        create_receiver_schema(receiver)
        fill_receiver(receiver)
