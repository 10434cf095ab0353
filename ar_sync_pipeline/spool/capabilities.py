"""What the receiver can read, in one small file for the sender.

It is not in the checkpoint file, because a sender of an earlier version would reject it. A receiver
of an earlier version writes no such file, and a stale one is older than its checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ar_sync_pipeline.archive.manifest_fields import Instant, Label
from ar_sync_pipeline.archive.spool_names import RECEIPTS
from ar_sync_pipeline.spool.receipts import write_small
from ar_sync_pipeline.spool.signed_json import SignedJson, parse_signed

CAPABILITIES_FILE = "capabilities.json"


class Capabilities(SignedJson):
    """What the receiver can read.

    Attributes:
        at: Time of the checkpoint that was written with it.
        archive_formats: Numbers of the archive formats that it loads.
        digest_probe: Digest of a fixed test row; a sender that computes another one cannot know
            what the receiver has.
    """

    at: Instant
    archive_formats: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(max_length=20)
    ]
    digest_probe: Label


def parse_capabilities(content: bytes, *, signing_keys: Collection[bytes] = ()) -> Capabilities:
    """Read capabilities from bytes of any origin.

    Raises:
        ReceiptError: The bytes are not capabilities, or not signed with an accepted key.
    """
    what = f"{RECEIPTS}/{CAPABILITIES_FILE}"
    return parse_signed(Capabilities, content, what=what, keys=signing_keys)


def write_capabilities(
    spool: Path, capabilities: Capabilities, *, signing_keys: Sequence[bytes] = ()
) -> None:
    """Write or replace the file atomically; call it before the checkpoint is written.

    Raises:
        SpoolMissingError: The spool does not exist.
        SpoolAccessError: The operating system refuses.
    """
    write_small(spool, CAPABILITIES_FILE, capabilities.signed(signing_keys))
