"""The SFTP endpoint of the receiver: host, user, key, pinned host keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from paramiko import PKey, SSHException
from paramiko.pkey import UnknownKeyType

from ar_sync_pipeline.sftp.errors import EndpointError, PrivateKeyError

_LAST_PORT = 65535


@dataclass(frozen=True)
class SftpEndpoint:
    """SFTP account at the receiver.

    Attributes:
        host: Name or address of the host.
        port: TCP port.
        user: Name of the account.
        private_key: File of the private key; None: only the agent is used.
        known_hosts: File of pinned host keys.
        passphrase: Passphrase of the private key; never shown.
        agent: Whether to try the keys of a running ssh-agent, too.
    """

    host: str
    port: int
    user: str
    private_key: Path | None
    known_hosts: Path
    passphrase: str | None = field(default=None, repr=False)
    agent: bool = False

    def __post_init__(self) -> None:
        """Reject an endpoint that could never connect."""
        if not self.host or not self.user:
            raise EndpointError(
                "the SFTP endpoint has no host or no user",
                remedy="set AR_SYNC_REMOTE_HOST and AR_SYNC_REMOTE_USER",
            )
        if not 1 <= self.port <= _LAST_PORT:
            raise EndpointError(
                f"{self.port} is not a TCP port", remedy="set AR_SYNC_REMOTE_PORT to 1..65535"
            )
        if self.private_key is None and not self.agent:
            raise EndpointError(
                f"there is no private key to log in to {self.label}",
                remedy="set AR_SYNC_PRIVATE_KEY",
            )

    @property
    def label(self) -> str:
        """``user@host:port``, for messages."""
        return f"{self.user}@{self.host}:{self.port}"

    def load_private_key(self) -> PKey | None:
        """Read the private key (Ed25519, ECDSA or RSA); return None if only the agent is used.

        Raises:
            PrivateKeyError: The key is missing, unreadable, locked or of another type.
        """
        if self.private_key is None:
            return None
        return _load_key(self.private_key, self.passphrase)


def _load_key(path: Path, passphrase: str | None) -> PKey:
    # paramiko needs bytes. It reports a locked key by a TypeError, a wrong passphrase by a
    # ValueError or an SSHException, depending on the file format.
    password = None if passphrase is None else passphrase.encode()
    try:
        return PKey.from_path(path, password=password)  # type: ignore[arg-type]
    except OSError as error:
        raise PrivateKeyError(
            f"the private key {path} cannot be read ({error.strerror})",
            remedy="let AR_SYNC_PRIVATE_KEY name a file that this account can read",
        ) from error
    except UnknownKeyType as error:
        raise PrivateKeyError(
            f"the private key {path} is neither Ed25519, ECDSA nor RSA",
            remedy="make one with ssh-keygen -t ed25519",
        ) from error
    except (TypeError, ValueError, SSHException, UnsupportedAlgorithm) as error:
        raise _unusable(path, locked=_is_locked(path), passphrase=passphrase) from error


def _is_locked(path: Path) -> bool:
    """Return whether the key needs a passphrase: only a missing one raises a TypeError."""
    try:
        PKey.from_path(path)
    except TypeError:
        return True
    except (OSError, ValueError, SSHException, UnknownKeyType, UnsupportedAlgorithm):
        return False
    return False


def _unusable(path: Path, *, locked: bool, passphrase: str | None) -> PrivateKeyError:
    if not locked and passphrase is None:
        return PrivateKeyError(
            f"{path} is not a private key, or it is damaged",
            remedy="let AR_SYNC_PRIVATE_KEY name the private key, not the .pub file",
        )
    if passphrase is None:
        return PrivateKeyError(
            f"the private key {path} is locked with a passphrase and none was given",
            remedy="set AR_SYNC_PRIVATE_KEY_PASSPHRASE",
        )
    if not locked:
        return PrivateKeyError(
            f"the private key {path} is damaged, or it has no passphrase though one was given",
            remedy="unset AR_SYNC_PRIVATE_KEY_PASSPHRASE, or replace the key",
        )
    return PrivateKeyError(
        f"the passphrase of the private key {path} is wrong",
        remedy="correct AR_SYNC_PRIVATE_KEY_PASSPHRASE",
    )
