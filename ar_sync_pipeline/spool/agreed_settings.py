"""Receiver settings that must be equal on both sides, in one small file for the sender.

They are not in the checkpoint file, because a sender of an earlier version would reject it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.receipts import read_small, write_small
from ar_sync_pipeline.spool.signed_json import SignedJson, parse_signed

AGREED_SETTINGS_FILE = "agreed_settings.json"
_Minutes = Annotated[int, Field(ge=1, lt=2**31)]


class AgreedSettings(SignedJson):
    """Settings that the receiver expects of its sender.

    Attributes:
        pair: Name of the pair of servers; empty: it has none.
        sender_name: Name of the only accepted sender; empty: its database identifies it.
        partial_interval: Length of a window in minutes.
        time: Minutes that a partial looks back.
    """

    pair: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{0,63}$")] = ""
    sender_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")] = ""
    partial_interval: _Minutes
    time: _Minutes

    @model_serializer(mode="wrap")
    def _without_an_empty_pair(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A sender of an earlier version refuses the whole file for a field that it lacks."""
        return {name: value for name, value in write(self).items() if name != "pair" or value}


def parse_agreed_settings(
    content: bytes, *, signing_keys: Collection[bytes] = ()
) -> AgreedSettings:
    """Read the settings from bytes of any origin.

    Raises:
        ReceiptError: The bytes are not such settings, or not signed with an accepted key.
    """
    what = f"{RECEIPTS}/{AGREED_SETTINGS_FILE}"
    return parse_signed(AgreedSettings, content, what=what, keys=signing_keys)


def write_agreed_settings(
    spool: Path, settings: AgreedSettings, *, signing_keys: Sequence[bytes] = ()
) -> None:
    """Write the file unless it already contains these settings.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    signed = settings.signed(signing_keys)
    try:
        written = read_small(spool, AGREED_SETTINGS_FILE)
    except ReceiptError:
        written = None
    if written != signed.to_bytes():
        write_small(spool, AGREED_SETTINGS_FILE, signed)
