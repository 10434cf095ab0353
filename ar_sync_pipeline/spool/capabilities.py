"""What the receiver can read, in one small file for the sender.

It is not in the checkpoint file, because a sender of an earlier version would reject it. A receiver
of an earlier version writes no such file, and a stale one is older than its checkpoint.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from ar_sync_pipeline.archive.manifest_fields import Instant, Label
from ar_sync_pipeline.spool.receiver_files import ReceiverFile


class Capabilities(ReceiverFile):
    """What the receiver can read; it is written before the checkpoint.

    Attributes:
        at: Time of the checkpoint that was written with it.
        archive_formats: Numbers of the archive formats that it loads.
        digest_probe: Digest of a fixed test row; a sender that computes another one cannot know
            what the receiver has.
    """

    FILE: ClassVar[str] = "capabilities.json"

    at: Instant
    archive_formats: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(max_length=20)
    ]
    digest_probe: Label
