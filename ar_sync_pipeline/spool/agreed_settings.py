"""Receiver settings that must be equal on both sides, in one small file for the sender.

They are not in the checkpoint file, because a sender of an earlier version would reject it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from ar_sync_pipeline.spool.errors import ReceiptError
from ar_sync_pipeline.spool.receiver_files import ReceiverFile, read_small

_Minutes = Annotated[int, Field(ge=1, lt=2**31)]


class AgreedSettings(ReceiverFile):
    """Settings that the receiver expects of its sender.

    Attributes:
        pair: Name of the pair of servers; empty: it has none.
        sender_name: Name of the only accepted sender; empty: its database identifies it.
        partial_interval: Length of a window in minutes.
        time: Minutes that a partial looks back.
    """

    FILE: ClassVar[str] = "agreed_settings.json"
    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"pair"})

    pair: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{0,63}$")] = ""
    sender_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{0,63}$")] = ""
    partial_interval: _Minutes
    time: _Minutes

    def write(self, spool: Path, *, signing_keys: Sequence[bytes]) -> None:
        """Write the file unless it already contains these settings.

        Raises:
            SpoolMissingError: The spool does not exist.
            SpoolAccessError: The operating system refuses.
        """
        try:
            written = read_small(spool, self.FILE)
        except ReceiptError:
            written = None
        if written != self.signed(signing_keys).to_bytes():
            super().write(spool, signing_keys=signing_keys)
