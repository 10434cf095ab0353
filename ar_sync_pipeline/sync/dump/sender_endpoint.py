"""The sender's access to the receiver, and its bandwidth, by the settings."""

from __future__ import annotations

from ar_sync_pipeline.settings.model import SenderSettings
from ar_sync_pipeline.sftp.endpoint import SftpEndpoint
from ar_sync_pipeline.sftp.publish import TransferLimits

_BYTES_PER_MEGABIT = 1_000_000 / 8


def endpoint(settings: SenderSettings) -> SftpEndpoint:
    """Return the server, account and keys with which the sender logs in."""
    passphrase = settings.private_key_passphrase
    return SftpEndpoint(
        host=settings.remote_host,
        port=settings.remote_port,
        user=settings.remote_user,
        private_key=settings.private_key,
        known_hosts=settings.known_hosts,
        passphrase=passphrase.get_secret_value() if passphrase else None,
        agent=settings.private_key is None,
    )


def transfer_limits(settings: SenderSettings) -> TransferLimits:
    """Return how much of the bandwidth an upload may use."""
    limit = settings.bandwidth_limit
    return TransferLimits(
        max_connections=settings.max_connections,
        bytes_per_second=limit * _BYTES_PER_MEGABIT if limit else None,
    )
