"""Databases and folders from an environment whose settings may be incomplete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ar_sync_pipeline.errors import TerminalError

SENDER_URL, RECEIVER_URL = "AR_SYNC_SENDER_DATABASE_URL", "AR_SYNC_RECEIVER_DATABASE_URL"

SENDER_MEDIA, CATALOG = "AR_SYNC_SENDER_MEDIA_FLDR", "AR_SYNC_CATALOG"


class MissingDatabaseError(TerminalError):
    """A database or folder is not set, or its value cannot be used."""


@dataclass(frozen=True)
class GivenDatabases:
    """Databases and folders in an environment whose settings may be incomplete.

    A value is validated when it is used, so that a command needs only its own.

    Attributes:
        environ: The environment.
    """

    environ: Mapping[str, str]

    @property
    def sender_url(self) -> str | None:
        """URL of the sender's database; None if not set."""
        return _url(self.environ, SENDER_URL)

    @property
    def receiver_url(self) -> str | None:
        """URL of the receiver's database; None if not set."""
        return _url(self.environ, RECEIVER_URL)

    @property
    def media_folder(self) -> Path | None:
        """Media folder of the sender, which exists; None if not set."""
        return _media_folder(self.environ)

    @property
    def catalog(self) -> Path | None:
        """File of the catalog; None if not set."""
        return _path(self.environ, CATALOG)

    def sender(self) -> str:
        """Return the URL of the sender's database.

        Raises:
            MissingDatabaseError: It is not set.
        """
        return _required(self.sender_url, SENDER_URL, "sender")

    def receiver(self) -> str:
        """Return the URL of the receiver's database.

        Raises:
            MissingDatabaseError: It is not set.
        """
        return _required(self.receiver_url, RECEIVER_URL, "receiver")

    def one_or_both(self) -> tuple[str | None, str | None]:
        """Return the URLs of the sender's and the receiver's database.

        Raises:
            MissingDatabaseError: Neither is set.
        """
        if self.sender_url is None and self.receiver_url is None:
            raise MissingDatabaseError(
                f"neither {SENDER_URL} nor {RECEIVER_URL} is set",
                remedy="set one of them or both, in the environment or in .env",
            )
        return self.sender_url, self.receiver_url


def _media_folder(environ: Mapping[str, str]) -> Path | None:
    media = _path(environ, SENDER_MEDIA)
    if media is None:
        return None
    try:
        is_folder = media.is_dir()
    except OSError as error:
        raise MissingDatabaseError(
            f"{SENDER_MEDIA}={media} cannot be looked up ({error.strerror})",
            remedy="run the command as an account that may enter the folders above it, or unset the"
            " variable to look for no media columns",
        ) from error
    if not is_folder:
        raise MissingDatabaseError(
            f"{SENDER_MEDIA}={media} is no folder",
            remedy="correct it, or unset it to look for no media columns",
        )
    return media


def _path(environ: Mapping[str, str], variable: str) -> Path | None:
    text = environ.get(variable, "").strip()
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:
        raise MissingDatabaseError(
            f"{variable}={text} has an unknown user after ~", remedy="write the whole path"
        ) from None


def _required(url: str | None, variable: str, side: str) -> str:
    if url is None:
        raise MissingDatabaseError(
            f"{variable} is not set",
            remedy=f"set it to the URL of the {side}'s database, in the environment or in .env",
        )
    return url


def _url(environ: Mapping[str, str], variable: str) -> str | None:
    text = environ.get(variable, "").strip()
    if not text:
        return None
    try:
        conninfo_to_dict(text)
    except (psycopg.Error, UnicodeError):
        # The message of libpq may quote the password.
        raise MissingDatabaseError(
            f"{variable} is no connection string that libpq can read",
            remedy="write it as postgresql://user@host:5432/database",
        ) from None
    return text
